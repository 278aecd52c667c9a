"""Choosing the records that may be compared, for claims and for drawings.

Records of the same data set, model and configuration form a group; within a group, runs of the
same seed differ in the method alone.

**Which accuracies may be compared** between a target trained alone and one trained inside is the
subject of :func:`fair`. The statistics of batch norm that a network keeps while it trains lag
behind its weights. Alone, a target is tested with those; inside an augmented model they are
measured anew before every test, as in NetAug's code, because two passes share them. In a short
training that alone can decide who wins: a ResNet-8 of adder layers that classified 68 % of its
training batches was right on 10 % of the test images with the statistics it had kept. So what is
compared is the accuracy with fresh statistics on both sides: ``accuracy_reestimated`` of a target
trained alone, ``accuracy`` of one trained inside. :func:`setback` says how far such an accuracy
fell back during a training.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from saa_lite.errors import UsageError
from saa_lite.items.base import Unit
from saa_lite.items.recipes import RECIPES
from saa_lite.records import Record

ENOUGH = 3  # seeds
Term = tuple[float, str, str]
"""Factor, metric and method."""
FAIR = "accuracy_reestimated"


@dataclass(frozen=True)
class Samples:
    """One number per seed, and the records behind them.

    For a comparison of two methods each value is the paired difference of one seed. ``reference``
    is the number that the statement is about, mostly 0. Where networks are compared image by image
    (:mod:`saa_lite.items.interval`) ``interval`` is over so many ``images``; ``p`` is McNemar's.
    """

    values: tuple[float, ...]
    unit: str
    records: tuple[Record, ...]
    reference: float = 0.0
    interval: tuple[float, float] | None = None
    images: int = 0
    p: float | None = None


@dataclass(frozen=True)
class Exact:
    """A statement without chance in it: either it holds or it does not."""

    holds: bool
    measured: str
    detail: str


@dataclass(frozen=True)
class Group:
    """Records of one metric in one data set, model and configuration, by method and seed."""

    by_method: dict[str, dict[int, Record]]

    @property
    def records(self) -> list[Record]:
        """All records, methods in name order, seeds ascending."""
        return [runs[seed] for _, runs in sorted(self.by_method.items()) for seed in sorted(runs)]

    def seeds(self, methods: Sequence[str]) -> list[int]:
        """Seeds that every one of the methods has run."""
        runs = [set(self.by_method.get(method, ())) for method in methods]
        return sorted(set.intersection(*runs))


def best_group(records: Iterable[Record], metric: str, methods: Sequence[str]) -> Group | None:
    """The group that says most about ``metric`` of ``methods``; None where none has them all.

    Enough seeds for an interval first, then the longest training. Three are enough: Student's t
    gives two an interval that is three times as wide at the same spread.
    """
    found: dict[tuple[str, str, str], dict[str, dict[int, Record]]] = defaultdict(dict)
    for record in records:
        if record.metric == metric:
            group = found[_configuration(record)]
            group.setdefault(record.method, {})[record.seed] = record
    groups = [Group(by_method) for by_method in found.values()]
    able = [group for group in groups if group.seeds(methods)]
    return max(able, key=lambda group: _weight(group, methods), default=None)


def one_configuration(
    records: Sequence[Record], metric: str, methods: Sequence[str]
) -> list[Record]:
    """Records for a drawing: all metrics of the configuration that says most about ``metric``.

    Raises:
        UsageError: no seed has ``metric`` of every method, as after a run that was interrupted.
    """
    group = best_group(records, metric, methods)
    if group is None:
        raise UsageError(
            f"{records[0].item} cannot be drawn: its records hold no {metric} of "
            f"{' and '.join(methods)} for the same seed and settings"
        )
    chosen = _configuration(group.records[0])
    return [record for record in records if _configuration(record) == chosen]


def configurations(records: Iterable[Record]) -> list[list[Record]]:
    """Records of the same network, data set and configuration, longest training first."""
    found: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=training_length, reverse=True):
        found[_configuration(record)].append(record)
    return list(found.values())


def same_configuration(records: Iterable[Record], terms: Sequence["Term"]) -> list[Record]:
    """Records of the one configuration that says most about the first term's metric."""
    known = list(records)
    of_first = [method for _, metric, method in terms if metric == terms[0][1]]
    group = best_group(known, terms[0][1], of_first)
    if group is None:
        return []
    chosen = _configuration(group.records[0])
    return [record for record in known if _configuration(record) == chosen]


def _configuration(record: Record) -> tuple[str, str, str]:
    return record.dataset, record.model, record.config_hash


def _weight(group: Group, methods: Sequence[str]) -> tuple[int, int, int, str]:
    compared = [record for record in group.records if record.method in methods]
    seeds = len(group.seeds(methods))
    return (
        min(seeds, ENOUGH),
        max(map(training_length, compared)),
        seeds,
        max(record.created for record in compared),
    )


def train_images(record: Record | Unit) -> int:
    """Training images of the run; 1 where the record's settings do not say."""
    return int(record.settings.get("train_images", 1))


def training_length(record: Record | Unit) -> int:
    """How many images the run sees, repeats counted."""
    return record.epochs * train_images(record)


def budget(records: Sequence[Record]) -> str:
    """What the records cost: epochs, training images, data set, network."""
    first = records[0]
    parts = [f"{first.epochs} epochs"] if first.epochs else []
    if "train_images" in first.settings:
        parts.append(f"{train_images(first):,} images")
    return ", ".join([*parts, first.dataset, first.model])


def of_seeds(counts: Collection[int], asked: int) -> str:
    """ "2 of 3 seeds", "0 to 2 of 3 seeds": said beside means while some seed is missing.

    Args:
        counts: seeds behind each of the means; ``asked``: how many there are to be.

    Returns:
        Nothing where all are there.
    """
    least, most = min(counts, default=0), max(counts, default=0)
    if least >= asked:
        return ""
    return f"{least} of {asked} seeds" if least == most else f"{least} to {most} of {asked} seeds"


def combined(records: Iterable[Record], terms: Sequence[Term]) -> Samples | None:
    """Σ factor · metric(method) per seed, from the group that says most about the first metric.

    One term is a value, two of opposite sign are a paired difference.
    """
    return _per_seed(
        records,
        terms,
        lambda values: sum(f * v for (f, _, _), v in zip(terms, values, strict=True)),
    )


def ratio(records: Iterable[Record], above: Term, below: Term) -> Samples | None:
    """metric(method) over metric(method) per seed, in times; factors do not count.

    The interval is of the arithmetic mean, so that its lower end may be below 0.
    """
    found = _per_seed(records, (above, below), lambda values: values[0] / values[1])
    return found and replace(found, unit="times", reference=1.0)


def ahead_of_best(
    records: Iterable[Record], metric: str, first: str, others: Sequence[str]
) -> Samples | None:
    """``metric`` of the first method minus that of whichever other is best on that seed."""
    terms = [(1.0, metric, method) for method in (first, *others)]
    return _per_seed(records, terms, lambda values: values[0] - max(values[1:]))


def _per_seed(
    records: Iterable[Record], terms: Sequence[Term], value: Callable[[list[float]], float]
) -> Samples | None:
    """``value`` of the terms' numbers, for every seed that has them all."""
    chosen = same_configuration(records, terms)
    found = {(r.metric, r.method, r.seed): r for r in chosen}
    rows = [
        [found.get((metric, method, seed)) for _, metric, method in terms]
        for seed in sorted({record.seed for record in chosen})
    ]
    whole = [[r for r in row if r is not None] for row in rows if None not in row]
    if not whole:
        return None
    used = [record for row in whole for record in row]
    unit = "points" if used[0].unit == "%" and len(terms) > 1 else used[0].unit
    return Samples(
        tuple(value([record.value for record in row]) for row in whole), unit, tuple(used)
    )


def lags(method: str) -> bool:
    """Whether training tests the method's target with the statistics it kept while it trained."""
    recipe = RECIPES[method]
    return recipe.augmentation is None or recipe.training.get("alpha", 1.0) == 0


def fair(records: Iterable[Record]) -> list[Record]:
    """Records of :data:`FAIR` for every method: measured, or the accuracy where it is the same.

    Runs alone that have not been measured so are left out. Settings that never measure anew
    (``batch_norm_images=0``) compare kept statistics on the augmented side.

    The log of the training comes along, for drawings.
    """
    known = [record for record in records if record.method in RECIPES]
    logs = {_run(r): r.log for r in known if r.metric == "accuracy"}
    found = [r.under(FAIR, logs.get(_run(r))) for r in known if r.metric == FAIR]
    inside = (r for r in known if r.metric == "accuracy" and not lags(r.method))
    return [*found, *(r.under(FAIR) for r in inside)]


def _run(record: Record) -> tuple[str, str, str, int, str]:
    return record.dataset, record.model, record.method, record.seed, record.config_hash


def setback(record: Record) -> float:
    """Largest fall of test accuracy from one epoch to a later one, in points (ours).

    A network trained alone is tested with the statistics of batch norm that it kept, so a fall may
    be of the statistics alone; and a network that never rises cannot fall.

    Args:
        record: of metric "accuracy", with a log per epoch.
    """
    highest, largest = 0.0, 0.0
    for row in record.log or []:
        value = 100 * float(row["test_accuracy"] or 0)
        highest = max(highest, value)
        largest = max(largest, highest - value)
    return largest
