"""Choosing the records that may be compared, for claims and for drawings.

Records of the same data set, model and configuration form a group; within a group, runs of the
same seed differ in the method alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from saa_lite.errors import UsageError
from saa_lite.items.base import Exact, Samples
from saa_lite.records import Record

AtPublished = Callable[[Record], bool]
ENOUGH = 3  # seeds


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


def best_group(
    records: Iterable[Record],
    metric: str,
    methods: Sequence[str],
    at_published: AtPublished = lambda record: False,
) -> Group | None:
    """The group that says most about ``metric`` of ``methods``; None where none has them all.

    Published setting first, then enough seeds for an interval, then the longest training. Three
    are enough: Student's t gives two an interval that is three times as wide at the same spread.
    """
    found: dict[tuple[str, str, str], dict[str, dict[int, Record]]] = defaultdict(dict)
    for record in records:
        if record.metric == metric:
            group = found[_configuration(record)]
            group.setdefault(record.method, {})[record.seed] = record
    groups = [Group(by_method) for by_method in found.values()]
    able = [group for group in groups if group.seeds(methods)]
    return max(able, key=lambda group: _weight(group, methods, at_published), default=None)


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


def _configuration(record: Record) -> tuple[str, str, str]:
    return record.dataset, record.model, record.config_hash


def _weight(
    group: Group, methods: Sequence[str], at_published: AtPublished
) -> tuple[bool, int, int, int, str]:
    compared = [record for record in group.records if record.method in methods]
    seeds = len(group.seeds(methods))
    return (
        all(map(at_published, compared)),
        min(seeds, ENOUGH),
        max(map(training_length, compared)),
        seeds,
        max(record.created for record in compared),
    )


def train_images(record: Record) -> int:
    """Training images of the run; 1 where the record's settings do not say."""
    return int(record.settings.get("train_images", 1))


def training_length(record: Record) -> int:
    """How many images the run has seen, repeats counted."""
    return record.epochs * train_images(record)


def budget(records: Sequence[Record]) -> str:
    """What the records cost: epochs, training images, data set, hardware."""
    first = records[0]
    parts = [f"{first.epochs} epochs"] if first.epochs else []
    if "train_images" in first.settings:
        parts.append(f"{train_images(first):,} images")
    devices = sorted({record.device for record in records})
    return ", ".join([*parts, first.dataset, first.model, " and ".join(devices)])


def paired(
    records: Iterable[Record],
    metric: str,
    methods: tuple[str, str],
    holds: Literal["above", "below"],
    *,
    threshold: float = 0.0,
    at_published: AtPublished = lambda record: False,
) -> Samples | None:
    """Difference ``metric(methods[0]) − metric(methods[1])`` per seed, from the best group."""
    group = best_group(records, metric, methods, at_published)
    if group is None:
        return None
    first, second = (group.by_method[method] for method in methods)
    seeds = group.seeds(methods)
    values = tuple(first[seed].value - second[seed].value for seed in seeds)
    used = [runs[seed] for runs in (first, second) for seed in seeds]
    return _samples(values, used, holds, threshold, at_published)


def single(
    records: Iterable[Record],
    metric: str,
    method: str,
    holds: Literal["above", "below"],
    *,
    threshold: float = 0.0,
    at_published: AtPublished = lambda record: False,
) -> Samples | None:
    """``metric`` of one method per seed, from the best group."""
    group = best_group(records, metric, (method,), at_published)
    if group is None:
        return None
    used = [group.by_method[method][seed] for seed in group.seeds((method,))]
    values = tuple(record.value for record in used)
    return _samples(values, used, holds, threshold, at_published)


def combined(
    records: Iterable[Record],
    terms: Sequence[tuple[int, str, str]],
    holds: Literal["above", "below"],
    *,
    threshold: float = 0.0,
    at_published: AtPublished = lambda record: False,
) -> Samples | None:
    """Σ factor · metric(method) per seed; the best group of the first term's metric is taken.

    Args:
        terms: (factor, metric, method), at least two, for differences across metrics.
    """
    known = list(records)
    group = best_group(known, terms[0][1], [method for _, _, method in terms], at_published)
    if group is None:
        return None
    chosen = _configuration(group.records[0])
    found = {(r.metric, r.method, r.seed): r for r in known if _configuration(r) == chosen}
    per_seed = [
        [(factor, found.get((metric, method, seed))) for factor, metric, method in terms]
        for seed in sorted({record.seed for record in group.records})
    ]
    whole = [[(f, r) for f, r in row if r is not None] for row in per_seed]
    whole = [row for row in whole if len(row) == len(terms)]
    if not whole:
        return None
    values = tuple(sum(factor * record.value for factor, record in row) for row in whole)
    used = [record for row in whole for _, record in row]
    return _samples(values, used, holds, threshold, at_published)


def exact(records: Iterable[Record], metric: str, bound: float) -> Exact | None:
    """Whether every record of ``metric`` stays at or below ``bound``; no chance is involved."""
    used = [record for record in records if record.metric == metric]
    if not used:
        return None
    worst = max(record.value for record in used)
    return Exact(worst <= bound, f"at most {worst:.1e}", f"{len(used)} checks")


def _samples(
    values: tuple[float, ...],
    used: Sequence[Record],
    holds: Literal["above", "below"],
    threshold: float,
    at_published: AtPublished,
) -> Samples:
    unit = "points" if used[0].unit == "%" and len(used) > len(values) else used[0].unit
    published = all(map(at_published, used))
    return Samples(values, unit, holds, threshold, published, budget(used))
