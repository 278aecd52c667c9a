"""Does augmentation help? The same small network where it underfits, in between, and overfits.

NetAug explains its gain by underfitting: a tiny network has no capacity to spare, so more
supervision helps and regularisation hurts. ShiftAddAug's own setting (half a million parameters,
300 epochs of CIFAR-100) may rather overfit, so that its gain could be that of a regulariser. The
two accounts predict opposite signs, and a training that has not converged shows neither.

So ResNet-8 of 4, 8 and 16 channels learns CIFAR-100 at 16² for as long as it takes, in three
regimes: U underfits, O overfits a small part of the images, M lies in between. What is compared,
with which seeds, by which gates and when it stops is fixed in :mod:`saa_lite.protocols`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from saa_lite.items import augmented, campaign
from saa_lite.items.base import Context
from saa_lite.items.contrasts import Trainings, protocol_of
from saa_lite.items.interval import slope_bootstrap, t_interval
from saa_lite.items.registry import built
from saa_lite.items.select import FAIR, fair, of_seeds
from saa_lite.protocols import load_protocol
from saa_lite.published import PublishedNumber, find_published
from saa_lite.records import Record
from saa_lite.viz.regimes import Response, response_figure

ITEM_ID = "shiftaddaug/regimes"
REGIMES = {"regime-u": "U", "regime-m": "M", "regime-o": "O"}  # of one data set
PAIRS = (("netaug", "conv"), ("aug-shift", "shift"))
ENOUGH = 3  # seeds of a regime that the slope counts
PRINTED = ("ShiftAddAug point 2", "DeepShift point 2")  # MobileNetV2-w0.35 on CIFAR-100


def run(settings: campaign.Settings, context: Context) -> Iterator[Record]:
    """The protocols' trainings; see :func:`saa_lite.items.campaign.run`."""
    yield from campaign.run(settings, context, tried=("conv", "netaug"))


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Dose and response: the difference that augmentation makes against the generalisation gap."""
    responses = {pair[0]: responses_of(records, *pair) for pair in PAIRS}
    shown = {arm: found for arm, found in responses.items() if found}
    title = "ResNet-8 on CIFAR-100 at 16²: U underfits, M in between, O overfits"
    gains = [find_published("shiftaddaug/fig5", row, "accuracy").value or 0.0 for row in PRINTED]
    notes = {arm: f": {said}" for arm, found in shown.items() if (said := slope_said(found))}
    return response_figure(shown, title, gains[0] - gains[1], notes)


def responses_of(records: list[Record], augmented_arm: str, alone: str) -> list[Response]:
    """One per regime that has both arms, in the order of the gap."""
    found = []
    for name in sorted({name for r in records if (name := regime_of(r))}):
        accuracy = values_of(fair(records), name, FAIR)
        trained = values_of(records, name, augmented.TRAINED)
        seeds = sorted(set(accuracy[augmented_arm]) & set(accuracy[alone]) & set(trained[alone]))
        if not seeds:
            continue
        values = tuple(accuracy[augmented_arm][s] - accuracy[alone][s] for s in seeds)
        gaps = tuple(trained[alone][s] - accuracy[alone][s] for s in seeds)
        protocol = load_protocol(name)
        asked = len(protocol.seeds)
        trainings = Trainings(protocol, records)
        unmet = [
            gate
            for contrast in protocol.contrasts
            if (contrast.first, contrast.second) == (augmented_arm, alone)
            for gate in trainings.unmet(contrast)
            if gate.value is not None
        ]
        # As on the scorecard: no look at the difference before all seeds are there.
        interval = t_interval(values) if len(values) >= max(asked, 2) else None
        found.append(Response(REGIMES[name], gaps, values, interval, asked, not unmet))
    return sorted(found, key=lambda response: response.gap)


def slope_of(responses: Sequence[Response]) -> tuple[float, tuple[float, float]] | None:
    """Points that the difference changes by per point of gap, and the 95 % interval.

    None before two regimes have at least three seeds each; no other regime counts.
    """
    whole = [response for response in responses if len(response.values) >= ENOUGH]
    if len(whole) < 2:
        return None
    return slope_bootstrap([np.column_stack([one.gaps, one.values]) for one in whole])


def slope_said(responses: Sequence[Response]) -> str:
    """The slope in words, or nothing where there is none."""
    if (found := slope_of(responses)) is None:
        return ""
    slope, (low, high) = found
    counted = [one for one in responses if len(one.values) >= ENOUGH]
    part = of_seeds([sum(len(one.values) for one in counted)], sum(one.asked for one in counted))
    return f"{slope:+.3f} [{low:+.3f}, {high:+.3f}] per point of gap" + (
        f", {part}" if part else ""
    )


def regime_of(record: Record) -> str:
    """The regime's protocol, or "" for records of another one and of variants."""
    name = protocol_of(record)
    return name if name in REGIMES and "arm" not in record.settings else ""


def values_of(records: list[Record], regime: str, metric: str) -> dict[str, dict[int, float]]:
    """Method → seed → value; a method without any is empty."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records:
        if record.metric == metric and regime_of(record) == regime:
            found[record.method][record.seed] = record.value
    return found


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
