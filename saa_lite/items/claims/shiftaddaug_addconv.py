"""Claims of the AddConv discussion (supplement, section 2).

Metrics: accuracies as in :mod:`saa_lite.items.fairness`; ``accuracy`` with a log per epoch, from
which the setback is taken; ``slowdown`` of a
training step over that of the adder network without adders in depthwise positions. Methods are
explained in :mod:`saa_lite.items.recipes`.
"""

from dataclasses import replace
from typing import Literal

from saa_lite.items.base import Claim, Samples
from saa_lite.items.claims.shiftaddaug_augmented import trained_fully
from saa_lite.items.fairness import FAIR, fair
from saa_lite.items.select import paired
from saa_lite.items.setback import setback
from saa_lite.published import find_published
from saa_lite.records import Record

ITEM = "shiftaddaug-supp/addconv-nas"
SETTING = "networks and data sets of table 2"
GAIN = find_published(ITEM, "first 3 convolutions AddConv", "accuracy gain")

HALVES = {"wide": "widening the weights", "silent": "silencing the branches"}


def _claim(
    name: str,
    text: str,
    metric: str,
    methods: tuple[str, str],
    *,
    published: str = "no number printed",
    setting: str = SETTING,
    holds: Literal["above", "below"] = "above",
) -> Claim:
    """``metric`` of the first method minus that of the second."""

    def samples(records: list[Record]) -> Samples | None:
        found = {"setback": _setbacks, FAIR: fair}.get(metric, list)(records)
        return paired(found, metric, methods, holds, at_published=trained_fully)

    return Claim(f"{ITEM}:{name}", text, ITEM, published, setting, samples)


def _setbacks(records: list[Record]) -> list[Record]:
    """What the logs of the accuracies say of stability."""
    runs = [record for record in records if record.metric == "accuracy"]
    return [replace(r, metric="setback", value=setback(r), unit="points") for r in runs]


ADDCONV = (
    _claim(
        "gain",
        "Adder layers in the first three places that may have them improve a shift network",
        FAIR,
        ("shift-add3", "shift"),
        published=f"+{GAIN.printed} points, and some energy",
        setting=GAIN.setting,
    ),
    _claim(
        "depthwise-slow",
        "Adder layers in depthwise positions slow a training step: the extra time, in such steps "
        "without them, is above 0",
        "slowdown",
        ("adder-calm-depthwise", "adder-calm"),
    ),
    _claim(
        "depthwise-unstable",
        "Adder layers in depthwise positions make training less stable: largest fall, above 0",
        "setback",
        ("adder-calm-depthwise", "adder-calm"),
    ),
    _claim(
        "depthwise-worse",
        "Multiplicative depthwise layers keep an adder network more accurate",
        FAIR,
        ("adder-calm", "adder-calm-depthwise"),
    ),
    _claim(
        "stem",
        "A multiplicative stem keeps an adder network more accurate",
        FAIR,
        ("adder-calm", "adder-calm-stem"),
    ),
    _claim(
        "classifier",
        "A multiplicative classifier keeps an adder network more accurate",
        FAIR,
        ("adder-calm", "adder-calm-classifier"),
    ),
    _claim(
        "stem-unstable",
        "An adder stem makes training less stable: largest fall, above 0",
        "setback",
        ("adder-calm-stem", "adder-calm"),
    ),
    _claim(
        "classifier-unstable",
        "An adder classifier makes training less stable: largest fall, above 0, trainings that "
        "end in NaN left out",
        "setback",
        ("adder-calm-classifier", "adder-calm"),
    ),
    _claim(
        "stability-shift",
        "A shift network trains less stably than the multiplicative one: largest fall, above 0",
        "setback",
        ("shift", "conv"),
    ),
    _claim(
        "stability-adder",
        "An adder network trains less stably than the multiplicative one: largest fall, above 0",
        "setback",
        ("adder-calm", "conv"),
    ),
    _claim(
        "calm",
        "Control, ours: an adder network learns more from a start at which its layers hardly bend",
        FAIR,
        ("adder-calm", "adder"),
        published="not in the source",
    ),
    *(
        _claim(
            f"calm-{half}",
            f"Control, ours: {what} alone is worth less than both halves of the calm start",
            FAIR,
            ("adder-calm", f"adder-{half}"),
            published="not in the source",
        )
        for half, what in HALVES.items()
    ),
    *(
        _claim(
            f"{half}-alone",
            f"Control, ours: {what} alone helps an adder network",
            FAIR,
            (f"adder-{half}", "adder"),
            published="not in the source",
        )
        for half, what in HALVES.items()
    ),
)
