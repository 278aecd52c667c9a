"""Where adder layers help and where they do not (supplement, section 2).

Two things are said there. The search gained 0.43 % accuracy and some energy from making the first
three convolutions AddConv: ``shift-add3`` beside ``shift``, on one network instead of a searched
one. And depthwise layers, stem and classifier stay multiplicative, since adder layers there are
slow or unstable: each is tried alone.

Adder networks of this depth hardly learn from AdderNet's own start, so the places are compared
from a calm one (:mod:`saa_lite.models.calm`). Both starts stand beside each other, and so do the
two halves of the calm one: wider weights alone, silent branches alone.

Stability is measured as :func:`saa_lite.items.select.setback`, accuracy as in
:mod:`saa_lite.items.select`; ``slowdown`` is the time of a training step over that of the adder
network without adders in depthwise positions, its seeds are repeats of the timing. Of a training
that ends in NaN there is only ``diverged_epoch``.
"""

from collections import Counter
from collections.abc import Iterator
from statistics import fmean

from matplotlib.figure import Figure

from saa_lite.items import augmented
from saa_lite.items.augmented import Settings
from saa_lite.items.base import Context
from saa_lite.items.registry import built
from saa_lite.items.select import FAIR, fair, one_configuration, setback, train_images
from saa_lite.items.shiftaddaug_supp.step_cost import Stepper, step_seconds
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.augmented import places_figure

METHODS = (
    "conv", "shift", "shift-add3", "adder-calm", "adder-calm-depthwise", "adder-calm-stem",
    "adder-calm-classifier", "adder", "adder-wide", "adder-silent",
)  # fmt: skip
TIMED = ("adder-calm", "adder-calm-depthwise")
STEPS = 6

PROFILES = {
    "smoke": Settings(
        "digits", "mobilenet_v2_w035", 16, True, 60, 40, epochs=2, seeds=1, batch_size=20,
        crop_padding=1, flip=False,
    ),
    "laptop": Settings(
        "digits", "mobilenet_v2_w035", 16, True, 1_297, 500, epochs=15, seeds=5, crop_padding=1,
        flip=False,
    ),
    "full": Settings(
        "cifar100", "mobilenet_v2_w035", 160, False, 50_000, 10_000, epochs=300, seeds=5,
        batch_size=128, warmup_epochs=5, crop_padding=20,
    ),
}  # fmt: skip


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Time a step of two methods in turns, once per seed; then train every method."""
    for seed in range(settings.seeds):
        yield from _timed(settings, context, seed)
    yield from augmented.run(settings, context, METHODS)


def _timed(settings: Settings, context: Context, seed: int) -> Iterator[Record]:
    """A timing belongs to a machine, so the device is part of its configuration."""
    units = {
        method: context.unit(
            method=method,
            model=settings.network,
            dataset="random images",
            seed=seed,
            settings={
                "image_size": settings.image_size,
                "batch_size": settings.batch_size,
                "steps": STEPS,
                "device": context.device,
            },
        )
        for method in TIMED
    }
    if all(unit.done("slowdown") for unit in units.values()):
        return
    steppers = {method: Stepper(method, settings, context.device) for method in TIMED}
    seconds = step_seconds(steppers, list(range(STEPS)), 1, progress=context.progress)
    for method, unit in units.items():
        yield unit.record("slowdown", fmean(seconds[method]) / fmean(seconds[TIMED[0]]), "times")


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Accuracy and setback per method; a point is a seed."""
    found = one_configuration(records, FAIR, METHODS[:1])
    first = found[0]
    lost = Counter(record.method for record in found if record.metric == augmented.DIVERGED)
    title = (
        f"{first.model} on {first.dataset}: {train_images(first):,} training images at "
        f"{first.settings['image_size']}², {first.epochs} epochs"
    )
    runs = [record for record in found if record.metric == "accuracy"]
    accuracies = {m: [r.value for r in fair(found) if r.method == m] for m in METHODS}
    setbacks = {m: [setback(r) for r in runs if r.method == m] for m in METHODS}
    return places_figure(accuracies, setbacks, lost, title)


ITEM = built("shiftaddaug-supp/addconv-nas", profiles=PROFILES, run=run, draw=draw, timed=True)
