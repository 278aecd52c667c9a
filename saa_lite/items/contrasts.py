"""What the records of a protocol say, in numbers: are its gates met, and what are its contrasts?

Only records that carry the protocol's label count, only its seeds and arms, and only accuracies
that may be compared, see :mod:`saa_lite.items.select`. A training that diverged counts as chance.
The verdict on the numbers is :mod:`saa_lite.report.verdict`'s.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saa_lite.errors import RecordError
from saa_lite.items.recipes import RECIPES
from saa_lite.items.select import FAIR, fair, of_seeds
from saa_lite.protocols import Contrast, Gate, Protocol
from saa_lite.records import Record, unpack_hits

TRAINED = "train_accuracy_reestimated"
DIVERGED = "diverged_epoch"
CLASSES = {"digits": 10, "mnist": 10, "cifar10": 10, "cifar100": 100, "shapes": 10}
CLASSES |= {"digit-scenes": 11, "camvid": 11}  # of pixels


@dataclass(frozen=True)
class GateResult:
    """A gate and what was measured for it so far.

    Attributes:
        value: mean over the seeds that have it, or how many of them diverged; None without any.
        seeds, asked: how many seeds that is, and of how many.
    """

    gate: Gate
    value: float | None
    seeds: int
    asked: int

    @property
    def met(self) -> bool:
        """Whether the value lies within the gate's bounds; an unmeasured one does not."""
        if self.value is None:
            return False
        least, most = self.gate.least, self.gate.most
        return (least is None or self.value >= least) and (most is None or self.value <= most)

    @property
    def bounds(self) -> str:
        """What was asked, in points."""
        least, most = self.gate.least, self.gate.most
        found = [] if least is None else [f"at least {least:g}"]
        return " and ".join(found + ([] if most is None else [f"at most {most:g}"]))

    @property
    def measured(self) -> str:
        """What was found, and over how many of the seeds as long as some are missing."""
        if self.value is None:
            return ""
        part = of_seeds([self.seeds], self.asked)
        return f"{self.value:.2f}{f' ({part})' if part else ''}"

    def __str__(self) -> str:
        """What was asked and what was found."""
        return f"{self.gate.name}: {self.measured or 'not measured'}, {self.bounds} asked"


@dataclass(frozen=True)
class Difference:
    """A contrast's paired differences.

    Attributes:
        values: accuracy (or the protocol's metric) of the first arm minus that of the second, in
            the protocol's unit, one per seed.
        hits: [seeds, images], right answers of the first minus those of the second; None where a
            record does not hold them or the test sets differ in size.
        diverged: how many of the trainings count as chance.
        records: those that were compared.
    """

    contrast: Contrast
    values: tuple[float, ...]
    hits: NDArray[Any] | None
    diverged: int
    records: tuple[Record, ...]


class Trainings:
    """The records of one protocol by metric, arm and seed.

    Raises:
        RecordError: two records say different things of one training.
    """

    def __init__(self, protocol: Protocol, records: Iterable[Record]) -> None:
        self.protocol = protocol
        self.metric = protocol.metric or FAIR
        self._found: dict[tuple[str, str, int], Record] = {}
        for record in _comparable(_belonging(protocol, records)):
            key = (record.metric, arm_of(record), record.seed)
            if key in self._found:
                raise RecordError(
                    f"protocol {protocol.name} has two records of {record.metric}, arm {key[1]}, "
                    f"seed {record.seed}"
                )
            self._found[key] = record

    def record(self, metric: str, arm: str, seed: int) -> Record | None:
        """The record of a metric; of the one compared, after a divergence, one that says chance."""
        if metric == self.metric and (lost := self._found.get((DIVERGED, arm, seed))):
            chance = 100 / _classes(lost.dataset)
            return replace(lost, metric=metric, value=chance, unit="%", hits=None)
        return self._found.get((metric, arm, seed))

    def seeds(self, *arms: str) -> list[int]:
        """The seeds that the protocol gives to all these arms."""
        own = [self.protocol.seeds_of(arm) for arm in arms]
        return [seed for seed in self.protocol.seeds if all(seed in seeds for seeds in own)]

    def begun(self, *arms: str) -> bool:
        """Whether a training of one of the arms is recorded."""
        return any(self.record(self.metric, arm, seed) for arm in arms for seed in self.seeds(arm))

    @property
    def finished_seeds(self) -> list[int]:
        """Seeds of which every arm that has them is trained to its end or its divergence."""
        asked = [(arm, seed) for arm in self.protocol.arms for seed in self.protocol.seeds_of(arm)]
        missing = {seed for arm, seed in asked if not self.record(self.metric, arm, seed)}
        return [seed for seed in self.protocol.seeds if seed not in missing]

    @property
    def finished(self) -> bool:
        """Whether nothing is missing; before that there is no verdict."""
        return len(self.finished_seeds) == len(self.protocol.seeds)

    def difference(self, contrast: Contrast) -> Difference:
        """The contrast over all its seeds that have both arms."""
        arms = contrast.first, contrast.second
        pairs = []
        for seed in self.seeds(*arms):
            first, second = (self.record(self.metric, arm, seed) for arm in arms)
            if first and second:
                pairs.append((first, second))
        lost = sum(
            (DIVERGED, arm, seed) in self._found for arm in arms for seed in self.seeds(*arms)
        )
        values = tuple(first.value - second.value for first, second in pairs)
        used = tuple(record for pair in pairs for record in pair)
        return Difference(contrast, values, _hits(pairs), lost, used)

    def gate(self, gate: Gate) -> GateResult:
        """A gate's quantity, averaged over the seeds that have it; divergences are counted."""
        terms: list[tuple[int, str, str]] = [(1, gate.quantity, gate.arm)]
        if gate.quantity == "diverged":
            terms = [(1, FAIR, gate.arm)]
        elif gate.quantity == "gap":
            terms = [(1, TRAINED, gate.arm), (-1, FAIR, gate.arm)]
        elif gate.quantity == "longer":
            terms = [(1, FAIR, gate.versus), (-1, FAIR, gate.arm)]
        elif gate.versus:
            terms.append((-1, gate.quantity, gate.versus))
        asked = self.seeds(*(arm for _, _, arm in terms))
        whole: dict[int, float] = {}
        for seed in asked:
            found = [(sign, self.record(_fair(metric), arm, seed)) for sign, metric, arm in terms]
            values = [sign * r.value for sign, r in found if r is not None]
            if len(values) == len(terms):
                whole[seed] = math.fsum(values)
        value = math.fsum(whole.values()) / len(whole) if whole else None
        if whole and gate.quantity == "diverged":
            value = float(sum((DIVERGED, gate.arm, seed) in self._found for seed in whole))
        return GateResult(gate, value, len(whole), len(asked))

    def unmet(self, contrast: Contrast) -> list[GateResult]:
        """Gates that stand for the contrast and are not met."""
        results = map(self.gate, standing(self.protocol, contrast))
        return [result for result in results if not result.met]


def standing(protocol: Protocol, contrast: Contrast) -> list[Gate]:
    """The gates that stand for a contrast."""
    return [
        gate for gate in protocol.gates if not gate.stands_for or contrast.name in gate.stands_for
    ]


def arm_of(record: Record) -> str:
    """The arm of a record: its method, or the variant that its settings name."""
    return str(record.settings.get("arm", record.method))


def protocol_of(record: Record) -> str:
    """Name of the record's protocol, or ""."""
    return str(record.settings.get("protocol", "")).partition(" ")[0]


def _belonging(protocol: Protocol, records: Iterable[Record]) -> list[Record]:
    return [
        record
        for record in records
        if record.settings.get("protocol") == protocol.label
        and record.seed in protocol.seeds
        and arm_of(record) in protocol.arms
    ]


def _comparable(records: list[Record]) -> list[Record]:
    """Records with the accuracy that may be compared as :data:`FAIR`, and no other accuracy."""
    others = [record for record in records if record.metric not in ("accuracy", FAIR)]
    outside = (r for r in records if r.metric == "accuracy" and r.method not in RECIPES)
    return [*fair(records), *(r.under(FAIR) for r in outside), *others]


def _fair(metric: str) -> str:
    return FAIR if metric == "accuracy" else metric


def _hits(pairs: list[tuple[Record, Record]]) -> NDArray[Any] | None:
    texts = [(first.hits, second.hits) for first, second in pairs]
    rows = [unpack_hits(a).astype(np.int8) - unpack_hits(b) for a, b in texts if a and b]
    if not rows or len(rows) < len(pairs) or len({row.shape for row in rows}) > 1:
        return None
    return np.stack(rows)


def _classes(dataset: str) -> int:
    if dataset not in CLASSES:
        raise RecordError(f"the chance of {dataset!r} is not known, so that of a divergence is not")
    return CLASSES[dataset]
