"""Verdicts on contrasts that a protocol fixed before its first run.

*Testable here?* comes first:

* a training of its protocol is missing: *not yet*. In place of the verdict stands how far the
  contrast's own two arms are, over the seeds that the protocol gives to both: *not begun*,
  *k of n seeds so far*, or *finished*, where other arms of the protocol are still missing;
* a gate is not met: *no*, and why. A gate of the quantity ``longer`` says that the training has
  not converged (where none stands for a contrast, its row says so), one of ``diverged`` that
  trainings got lost, one that has "control" in its name that
  the positive control failed; any other is a premise that is not met;
* fewer than three seeds: *no*, one spread of two numbers is no spread;
* the verdict would deny an effect of training (*equivalent to none*, *opposite*, *smaller than
  published*), and no gate that stands for the contrast shows that this setting can have one, as a
  positive control does or a wide network that leads: *no: no control*. An effect that is found
  needs none. Contrasts that are the control themselves, and of what is no accuracy, are exempt;
* the verdict is open, and with these seeds an effect would have to be larger than the published
  one to be seen: *no: power*;
* else *yes*.

Where it is testable there is a verdict, from the 95 % interval of the mean difference, turned so
that the published sign is positive. The interval holds Student's t over seeds and, where records
say which test images were right, the bootstrap over seeds and images: it reaches from the lower of
their two lower ends to the higher of their upper ones, so that a verdict holds by both. p is of
Student's t, adjusted: by Holm over the primary contrasts of one item, by Benjamini and Hochberg
over its others. A contrast that was declared and has no p yet counts as p = 1. In this order:

1. *equivalent to none*: the whole interval lies within ± the smallest difference that matters;
2. *supported*: it lies above 0 and adjusted p < 0.05; *supported, but smaller than published*: and
   below the published size;
3. *opposite*: it lies below 0 and adjusted p < 0.05;
4. *smaller than published*: it lies below the published size, and neither 2 nor 3 is said;
5. *open*: else; beside it, how many seeds would show the smallest difference that matters with a
   chance of 0.8, by the spread that was found.

That sizes are excluded (1, 4) is read off the 95 % interval, without adjustment.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from saa_lite.items.contrasts import Difference, Trainings, standing
from saa_lite.items.interval import (
    benjamini_hochberg,
    crossed_bootstrap,
    detectable,
    holm,
    p_value,
    seeds_needed,
    spread,
    t_interval,
)
from saa_lite.protocols import Contrast, Gate, Protocol, list_protocols, load_protocol
from saa_lite.records import Record

SUPPORTED, SMALLER_YET = "supported", "supported, but smaller than published"
OPPOSITE, SMALLER = "opposite", "smaller than published"
NONE, OPEN = "equivalent to none", "open"
NO_VERDICT = "—"
VERDICTS = (SUPPORTED, SMALLER_YET, OPPOSITE, SMALLER, NONE, OPEN)

YES, NOT_YET, FEW = "yes", "not yet", "no: fewer than three seeds"
NOT_BEGUN = "not begun"
DENYING = (OPPOSITE, SMALLER, NONE)
CONTROL, PREMISE = "no: control failed", "no: premise not met"
UNCONTROLLED = "no: no control"
NO_CONTROL = "no gate shows that this setting can have such an effect"
CONVERGED, DIVERGED = "no: not converged", "no: diverged"
POWER = "no: power"
UNASKED = "no gate asks whether a longer training ends elsewhere"
PURE_CONTROLS = ("netaug",)  # arms that are compared to show what the setting can
ENOUGH = 3  # seeds
LEVEL = 0.05
ROUNDING = 12  # decimals: differences that cancel leave 1e-15


@dataclass(frozen=True)
class Judged:
    """A contrast of a protocol, judged.

    Attributes:
        testable, verdict: as this module's docstring says; ``why`` says more about a "no".
        interval: of Student's t; ``images``: of the bootstrap, None without right answers.
        adjusted: p value, None where the contrast may not be looked at.
        needed: seeds that would show what matters; None below three seeds.
    """

    protocol: Protocol
    contrast: Contrast
    difference: Difference
    testable: str
    verdict: str
    why: str = ""
    interval: tuple[float, float] | None = None
    images: tuple[float, float] | None = None
    adjusted: float | None = None
    needed: int | None = None

    @property
    def hull(self) -> tuple[float, float] | None:
        """What the verdict is read off: both intervals together."""
        ends = [interval for interval in (self.interval, self.images) if interval]
        return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def judge_item(item_id: str, records: Iterable[Record]) -> list[Judged]:
    """All contrasts that the protocols of an item fix, in their order."""
    protocols = [load_protocol(name) for name in list_protocols(item_id)]
    return judge_protocols(protocols, records)


def judge_protocols(protocols: Iterable[Protocol], records: Iterable[Record]) -> list[Judged]:
    """The same for given protocols, which are corrected together."""
    known = list(records)
    looked = [
        _looked_at(protocol, contrast, Trainings(protocol, known))
        for protocol in protocols
        for contrast in protocol.contrasts
    ]
    adjusted: dict[int, float] = {}
    for primary, correct in ((True, holm), (False, benjamini_hochberg)):
        family = [i for i, one in enumerate(looked) if one.contrast.primary == primary]
        found = [_p(looked[i]) for i in family]
        adjusted |= dict(zip(family, correct(found), strict=True))
    return [_decided(one, adjusted[i]) for i, one in enumerate(looked)]


def decide(
    low: float, high: float, adjusted: float, matters: float, published: float | None
) -> str:
    """One of :data:`VERDICTS`, from an interval turned so that the published sign is positive."""
    smaller = published is not None and high < published
    if -matters < low and high < matters:
        return NONE
    if low > 0 and adjusted < LEVEL:
        return SMALLER_YET if smaller else SUPPORTED
    if high < 0 and adjusted < LEVEL:
        return OPPOSITE
    return SMALLER if smaller else OPEN


def reason(gate: Gate) -> str:
    """Why a contrast is not testable whose gate is not met."""
    if "control" in gate.name:
        return CONTROL
    return {"longer": CONVERGED, "diverged": DIVERGED}.get(gate.quantity, PREMISE)


def controlled(protocol: Protocol, contrast: Contrast) -> bool:
    """Whether the setting is known to have effects, so that none being there means something."""
    if protocol.unit != "points" or contrast.first in PURE_CONTROLS:
        return True
    gates = standing(protocol, contrast)
    return any("control" in gate.name or gate.quantity.endswith("_lead") for gate in gates)


def stage(trainings: Trainings, difference: Difference) -> str:
    """How far a contrast's own arms are, in an unfinished protocol."""
    arms = difference.contrast.first, difference.contrast.second
    if not trainings.begun(*arms):
        return NOT_BEGUN
    asked, done = len(trainings.seeds(*arms)), len(difference.values)
    if done < asked:
        return f"{done} of {asked} seeds so far"
    return f"finished: {done} of {asked} seeds, waits for other arms"


def _looked_at(protocol: Protocol, contrast: Contrast, trainings: Trainings) -> Judged:
    """Whether the contrast may be looked at, and its intervals if so."""
    difference = trainings.difference(contrast)
    if not trainings.finished:
        return Judged(protocol, contrast, difference, NOT_YET, stage(trainings, difference))
    if len(difference.values) < ENOUGH:
        return Judged(protocol, contrast, difference, FEW, NO_VERDICT)
    interval = t_interval(difference.values)
    if unmet := trainings.unmet(contrast):
        why, no = "; ".join(map(str, unmet)), reason(unmet[0].gate)
        return Judged(protocol, contrast, difference, no, NO_VERDICT, why, interval)
    lost = f"{difference.diverged} diverged, counted as chance" if difference.diverged else ""
    asked = protocol.metric or any(g.quantity == "longer" for g in standing(protocol, contrast))
    return Judged(
        protocol,
        contrast,
        difference,
        YES,
        NO_VERDICT,
        "; ".join(filter(None, (lost, "" if asked else UNASKED))),
        interval,
        None if difference.hits is None else _in_points(difference),
        needed=seeds_needed(spread(difference.values), contrast.matters),
    )


def _in_points(difference: Difference) -> tuple[float, float]:
    assert difference.hits is not None
    low, high = crossed_bootstrap(difference.hits)
    return 100 * low, 100 * high


def _p(judged: Judged) -> float:
    return p_value(judged.difference.values) if judged.testable == YES else 1.0


def _decided(judged: Judged, adjusted: float) -> Judged:
    if judged.testable != YES or judged.hull is None:
        return judged
    low, high = judged.hull
    published = judged.contrast.published
    if published is not None and published < 0:
        low, high, published = -high, -low, -published
    verdict = decide(low, high, adjusted, judged.contrast.matters, published)
    if verdict in DENYING and not controlled(judged.protocol, judged.contrast):
        why = "; ".join(filter(None, (judged.why, NO_CONTROL)))
        return replace(judged, testable=UNCONTROLLED, adjusted=adjusted, why=why)
    values = judged.difference.values
    least = detectable(spread(values), len(values))
    if verdict != OPEN or published is None or least <= published:
        return replace(judged, verdict=verdict, adjusted=adjusted)
    unit = judged.protocol.unit
    few = f"{len(values)} seeds show {least:.2g} {unit}, the source prints {published:.2g}"
    why = "; ".join(filter(None, (judged.why, few)))
    return replace(judged, testable=POWER, verdict=verdict, adjusted=adjusted, why=why)
