"""Verdicts, computed from one number per seed by a Student-t interval.

Rules, in order:

1. no records that bear on the claim, fewer than two seeds (one number has no interval), or a claim
   about the end of the published training and a shorter run: *not run at this scale*;
2. the 95 % interval reaches the threshold: *inconclusive (interval spans yes and no)*, since it
   holds values for which the claim is true and others for which it is not;
3. the interval lies on the wrong side: *contradicted*, at the budget shown beside it;
4. the interval lies on the right side: *reproduced* with at least 5 seeds at the published
   setting, else *direction reproduced*.

A statement without chance (an equation) is *reproduced* or *contradicted* by its checks alone; one
that bears on a single machine reaches *direction reproduced* at most.
"""

import math
from dataclasses import dataclass

from saa_lite.items.base import Claim, Exact, Samples
from saa_lite.items.interval import t_interval
from saa_lite.records import Record

REPRODUCED = "reproduced"
DIRECTION = "direction reproduced"
INCONCLUSIVE = "inconclusive (interval spans yes and no)"
CONTRADICTED = "contradicted"
NOT_RUN = "not run at this scale"
VERDICTS = (REPRODUCED, DIRECTION, INCONCLUSIVE, CONTRADICTED, NOT_RUN)

SEEDS_FOR_REPRODUCED = 5
ROUNDING = 12  # decimals: differences that cancel leave 1e-15


@dataclass(frozen=True)
class Judgement:
    """A claim with what was measured for it; ``measured`` and ``interval`` are ready to print."""

    claim: Claim
    verdict: str
    measured: str
    interval: str
    seeds: int
    budget: str


def judge(claim: Claim, records: list[Record]) -> Judgement:
    """The verdict on ``claim`` from tracked records of its item."""
    found = claim.samples(records)
    if found is None:
        return Judgement(claim, NOT_RUN, "—", "—", 0, "—")
    if isinstance(found, Exact):
        held = REPRODUCED if found.everywhere else DIRECTION
        verdict = held if found.holds else CONTRADICTED
        return Judgement(claim, verdict, found.measured, "exact", 0, found.budget)
    mean = math.fsum(found.values) / len(found.values)
    return Judgement(
        claim,
        decide(found, only_at_published_setting=claim.only_at_published_setting),
        f"{round(mean, ROUNDING):{_style(found)}} {found.unit}",
        _interval_text(found),
        len(found.values),
        found.budget,
    )


def decide(samples: Samples, *, only_at_published_setting: bool = False) -> str:
    """One of :data:`VERDICTS`; the rules stand at the top of this file."""
    if len(samples.values) < 2:
        return NOT_RUN
    if only_at_published_setting and not samples.published_setting:
        return NOT_RUN
    sign = 1 if samples.holds == "above" else -1
    margins = tuple(sign * (value - samples.threshold) for value in samples.values)
    low, high = t_interval(margins)
    if low <= 0 <= high:
        return INCONCLUSIVE
    if high < 0:
        return CONTRADICTED
    enough = len(margins) >= SEEDS_FOR_REPRODUCED and samples.published_setting
    return REPRODUCED if enough else DIRECTION


def _interval_text(samples: Samples) -> str:
    """The interval in the unit of the values, or a dash where one value has none."""
    if len(samples.values) < 2:
        return "—"
    low, high = t_interval(samples.values)
    style = _style(samples)
    return f"[{low:{style}}, {high:{style}}]"


def _style(samples: Samples) -> str:
    """Number format: a sign where the question is on which side of zero."""
    return "+.3g" if samples.threshold == 0 else ".3g"
