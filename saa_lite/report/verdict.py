"""What stands in a row of the scorecard, computed from records and never typed.

The first part is the gates of protocols as a reader meets them, asked and measured.

A statement of a source has a verdict only where a protocol fixed the comparison before its first
run; the rules are in :mod:`saa_lite.report.protocols`. Until then the row says why it cannot be
tested here.

One kind needs no seeds: a statement about what is done to one network (quantised in two ways, or
before and after), tested image by image on the one that comes with the package. Its row, older than
its records, has the smallest difference that matters, and the verdict follows the same rules, from
the interval over the test images and McNemar's exact p, times the number of such statements of the
item (Bonferroni). It holds for that network. A statement about two networks, such as an adder and a
convolutional one, would need several of each; there the interval over images is shown, and no
verdict. A statement without chance in it (an equation, a count) *holds* or *fails*. Everything
else, our own comparisons and those that no protocol fixed, has an estimate and no verdict.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from saa_lite.items.claims import Claim
from saa_lite.items.contrasts import GateResult, Trainings
from saa_lite.items.interval import t_interval
from saa_lite.items.select import ENOUGH, Exact, Samples, budget
from saa_lite.protocols import Protocol, list_protocols, load_protocol
from saa_lite.records import Record
from saa_lite.report.protocols import NO_VERDICT, NOT_YET, OPEN, YES, Judged, decide, judge_item


def tests_of(item_id: str) -> list[Protocol]:
    """The item's protocols that judge, those with primary contrasts first."""
    protocols = [load_protocol(name) for name in list_protocols(item_id)]
    return sorted((p for p in protocols if p.role == "test"), key=_primary_first)


def gate_rows(item_id: str, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per gate: what was asked, what was measured over how many seeds, and is it met."""
    known = list(records)
    rows = []
    for protocol in tests_of(item_id):
        trainings = Trainings(protocol, known)
        for gate in protocol.gates:
            result = trainings.gate(gate)
            rows.append(
                {
                    "protocol": protocol.name,
                    "gate": gate.name,
                    "asked": result.bounds,
                    "measured": result.measured or None,
                    "met?": _met(result),
                }
            )
    return rows


def _met(result: GateResult) -> str:
    if result.value is None:
        return "not measured yet"
    return ("yes" if result.met else "**no**") + (", so far" if result.seeds < result.asked else "")


def verdict_rows(item_id: str, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per contrast; while its protocol is unfinished, only how far it is, no number."""
    rows = []
    for judged in _judged(item_id, records):
        values, mean = judged.difference.values, None
        if judged.testable != NOT_YET and judged.hull is not None:
            low, high = judged.hull
            mean = f"{sum(values) / len(values):+.2f} [{low:+.2f}, {high:+.2f}]"
        published = judged.contrast.published
        rows.append(
            {
                "protocol": judged.protocol.name,
                "first − second": judged.contrast.name.replace(" - ", " − "),
                "published": None if published is None else f"{published:+.2f}",
                f"measured, {judged.protocol.unit}": mean,
                "testable here?": judged.testable,
                "verdict": _and_seeds(judged),
            }
        )
    return rows


def _and_seeds(judged: Judged) -> str:
    """The verdict, and of an open question how many seeds would settle it."""
    return with_seeds(judged.verdict, judged.needed if judged.verdict == OPEN else None)


def with_seeds(verdict: str, needed: int | None) -> str:
    """A verdict and the seeds that it would take, where it is known."""
    return verdict + (f", {needed} seeds would settle it" if needed else "")


def said(item_id: str, records: Iterable[Record]) -> str:
    """What the item's protocols let one say now, a sentence per contrast."""
    found = _judged(item_id, records)
    if not found:
        return "No protocol compares these yet: what is drawn is an exploration."
    lines = []
    for judged in found:
        name = f"{judged.contrast.name.replace(' - ', ' − ')} ({judged.protocol.name})"
        why = f" ({judged.why})" if judged.why else ""
        text = _and_seeds(judged) if judged.testable in (NOT_YET, YES) else judged.testable
        lines.append(f"* {name}: **{text}**{why}")
    return "\n".join(lines)


def _judged(item_id: str, records: Iterable[Record]) -> list[Judged]:
    """All contrasts, in the order of :func:`tests_of`; they are corrected together."""
    return sorted(judge_item(item_id, records), key=lambda judged: _primary_first(judged.protocol))


def _primary_first(protocol: Protocol) -> bool:
    return not any(contrast.primary for contrast in protocol.contrasts)


HOLDS, FAILS = "holds", "fails"
ONE_NETWORK, NOT_MEASURED = "yes, on one network", "no: not measured"
ROUNDING = 12  # decimals: differences that cancel leave 1e-15

__all__ = ["FAILS", "HOLDS", "Estimate", "Judgement", "judge", "judge_contrast", "t_interval"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; no interval below three seeds."""

    mean: float
    interval: tuple[float, float] | None
    unit: str
    reference: float = 0.0

    def __str__(self) -> str:
        """Mean and interval, without the unit."""
        sign = "+" if self.reference == 0 else ""
        text = f"{round(self.mean, ROUNDING):{sign}.3g}"
        if self.interval is None:
            return text
        low, high = self.interval
        return f"{text} [{low:{sign}.3g}, {high:{sign}.3g}]"


@dataclass(frozen=True)
class Judgement:
    """One row, ready to print.

    Attributes:
        claim: None where a protocol asks something that is no statement of a source.
        testable: "yes", "no: …" or "not yet"; :data:`NO_VERDICT` where nothing is to be tested.
        why: more about a "no", or about what fails.
        needed: seeds that would settle an open question.
        estimate: None for an exact check, and while a protocol is unfinished.
        key: whether the row stands in the short tables, and not only on its source's page.
        unit: of ``size``, if it is comparable with the estimate.
    """

    id: str
    text: str
    claim: Claim | None
    published: str
    size: float | None
    testable: str
    verdict: str
    why: str = ""
    needed: int | None = None
    estimate: Estimate | None = None
    exact: str = ""
    seeds: int = 0
    images: int = 0
    budget: str = ""
    devices: tuple[str, ...] = ()
    at_published: bool = False
    key: bool = True
    unit: str = "points"

    @property
    def said(self) -> str:
        """The verdict, and of an open question how many seeds would settle it."""
        return with_seeds(self.verdict, self.needed)

    @property
    def measured(self) -> str:
        """The number with its unit, a dash where there is none."""
        if self.estimate is None:
            return self.exact or NO_VERDICT
        mean = Estimate(self.estimate.mean, None, "", self.estimate.reference)
        return f"{mean} {self.estimate.unit}".rstrip()

    @property
    def interval(self) -> str:
        """The interval alone."""
        if self.estimate is None or self.estimate.interval is None:
            return "exact" if self.exact else NO_VERDICT
        return str(self.estimate).partition(" ")[2]

    @property
    def short(self) -> str:
        """Number, interval, unit and seeds in one cell."""
        if self.estimate is None:
            return self.measured
        of = f" ({self.images:,} images)" if self.images else ""
        return f"{self.estimate} {self.estimate.unit}".rstrip() + f", n = {self.seeds}{of}"


def judge(claim: Claim, records: list[Record]) -> Judgement:
    """The row of a claim on which no protocol bears, from tracked records of its item."""
    found = claim.samples(records)
    no = f"no: {claim.untestable}" if claim.untestable else NO_VERDICT
    if claim.matters is not None:
        no = NOT_MEASURED
    row = Judgement(
        claim.id, claim.text, claim, claim.published, claim.size, no, NO_VERDICT, claim.because
    )
    if isinstance(found, Exact):
        verdict = HOLDS if found.holds else FAILS
        return replace(row, verdict=verdict, why=found.detail, exact=found.measured)
    if found is None:
        return row
    row = replace(row, **_measured(found, claim.at))
    if claim.matters is None or found.interval is None or found.p is None:
        return row
    return replace(row, testable=ONE_NETWORK, verdict=_on_one_network(claim, found))


def _on_one_network(claim: Claim, found: Samples) -> str:
    """The protocols' rules, on an interval over test images."""
    assert found.interval is not None
    assert found.p is not None
    assert claim.matters is not None
    (low, high), size = found.interval, claim.size
    if size is not None and size < 0:
        low, high, size = -high, -low, -size
    return decide(low, high, min(1.0, claim.family * found.p), claim.matters, size)


def judge_contrast(judged: Judged, claim: Claim | None) -> Judgement:
    """The row of a contrast; while its protocol is unfinished, no number is shown.

    Where a source prints a size and the protocol names none, since its setting is far from the
    source's, the contrast is no test of that statement: nothing published is shown beside it.
    """
    contrast, difference = judged.contrast, judged.difference
    text, published = contrast.name.replace(" - ", " − "), ""
    if claim and (contrast.published is not None or claim.size is None):
        text, published = claim.text, claim.published
    row = Judgement(
        f"{judged.protocol.name}:{contrast.name}",
        f"{text} ({judged.protocol.name})",
        claim,
        published,
        contrast.published,
        judged.testable,
        judged.verdict,
        judged.why,
        key=bool(published) or contrast.primary,
        unit=judged.protocol.unit,
    )
    if judged.testable == NOT_YET or not difference.values:
        return row
    samples = Samples(difference.values, judged.protocol.unit, difference.records)
    details = _measured(samples, claim.at if claim else {})
    if judged.hull:
        mean = details["estimate"].mean
        details["estimate"] = Estimate(mean, judged.hull, judged.protocol.unit)
    if judged.verdict == OPEN:
        row = replace(row, needed=judged.needed)
    return replace(row, **details)


def _measured(samples: Samples, at: Mapping[str, Any]) -> dict[str, Any]:
    values = samples.values
    interval = samples.interval or (t_interval(values) if len(values) >= ENOUGH else None)
    mean = math.fsum(values) / len(values)
    return {
        "estimate": Estimate(mean, interval, samples.unit, samples.reference),
        "seeds": len(values),
        "images": samples.images,
        "budget": budget(samples.records),
        "devices": tuple(sorted({record.device for record in samples.records})),
        "at_published": bool(at) and all(_reaches(record, at) for record in samples.records),
    }


def _reaches(record: Record, at: Mapping[str, Any]) -> bool:
    """Whether a training was that of the source: the same names, and no number below its own."""
    for name, wanted in at.items():
        found = getattr(record, name, record.settings.get(name))
        if isinstance(wanted, str) and found != wanted:
            return False
        if not isinstance(wanted, str) and not (found is not None and found >= wanted):
            return False
    return True
