"""The gain of augmentation on CIFAR-100, and whether it surpasses the multiplicative network.

The abstract prints +4.95 points over direct training and "even surpassing" multiplicative
networks; the points of Figure 5 say where both come from. Six methods, one training each per seed:
Shift, AugShift, Mult, Add, AugAdd and NetAug (augmentation of the multiplicative network, the
control that tells whether augmentation or the mixture of operators helps). Behind them come
controls of ours: adder networks from a calm start, and augmentation whose channels are never
sorted or whose weights are not remapped.

``laptop`` is what two CPU cores train in hours: a class-balanced fifth of the set at its own size,
total stride 16, few epochs. ``full`` is the published setting as far as it is known.

**Figure 1 of the supplement**, ``shiftaddaug-supp/fig1``, draws the training curves of these runs:
the augmented model stays above its target all the way, which explains why the authors do not
distil: the larger model fits the training set better. Whatever this item, or with settings of its
own ``shiftaddaug/fig4``, has trained already is not trained again for it.
"""

from collections.abc import Iterator

from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items import augmented
from saa_lite.items.augmented import METHODS, Settings
from saa_lite.items.base import Context
from saa_lite.items.registry import built
from saa_lite.items.select import FAIR, best_group, fair, train_images
from saa_lite.published import PublishedNumber, find_published
from saa_lite.records import Record
from saa_lite.viz.augmented import gain_figure, lead_figure

PROFILES = {
    "smoke": Settings(
        "digits", "mobilenet_v2_w035", 32, True, 60, 40, epochs=1, seeds=1, batch_size=20,
        crop_padding=2, flip=False, width=(1.0, 1.5), expand=(1.0, 1.5), batch_norm_images=60,
    ),
    "laptop": Settings(
        "cifar100", "mobilenet_v2_w035", 32, True, 10_000, 2_000, epochs=5, seeds=3,
        batch_norm_images=2_000,
    ),
    "full": Settings(
        "cifar100", "mobilenet_v2_w035", 160, False, 50_000, 10_000, epochs=300, seeds=5,
        batch_size=128, warmup_epochs=5, crop_padding=20,
    ),
}  # fmt: skip

CURVES = ("aug-shift", "aug-adder", "netaug")  # of the supplement's Figure 1
SHARED = ("shiftaddaug/claim-cifar100", "shiftaddaug/fig4")

# Points of Figure 5 that Table 2 of the supplement identifies as this network.
PRINTED = {
    "shift": ("shiftaddaug/fig5", "DeepShift point 2", "accuracy"),
    "aug-shift": ("shiftaddaug/fig5", "ShiftAddAug point 2", "accuracy"),
    "conv": ("shiftaddaug/fig5", "Mult point 3", "accuracy"),
    "adder": ("shiftaddaug-supp/tab2", "MobileNetV2-w0.35 Add", "CIFAR100"),
    "aug-adder": ("shiftaddaug-supp/tab2", "MobileNetV2-w0.35 AugAdd", "CIFAR100"),
}


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Accuracies of the longest configuration; an unfinished one is drawn as far as it is."""
    found = [record for record in fair(records) if record.log]
    if not found:
        raise UsageError(f"{records[0].item} cannot be drawn: no record of accuracy with a log")
    group = best_group(found, FAIR, METHODS) or best_group(found, FAIR, METHODS[:1])
    chosen = (group.records if group else found)[0]
    shown = [record for record in found if record.config_hash == chosen.config_hash]
    printed = {method: find_published(*cell).value or 0.0 for method, cell in PRINTED.items()}
    title = (
        f"MobileNetV2-w0.35 on {chosen.dataset}: {train_images(chosen):,} training images at "
        f"{chosen.settings['image_size']}², {chosen.epochs} epochs "
        "(published: 50,000 at 160², 300)"
    )
    return gain_figure(shown, printed, title, METHODS)


def run_curves(settings: Settings, context: Context) -> Iterator[Record]:
    """Train, or take over, the augmented runs."""
    return augmented.run(settings, context, CURVES, SHARED)


def draw_curves(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Both passes of every run of one configuration; the source prints no numbers."""
    found = [record for record in records if record.metric == "accuracy" and record.log]
    group = best_group(found, "accuracy", CURVES) or best_group(found, "accuracy", CURVES[:1])
    if group is None:
        raise UsageError(
            f"{records[0].item} cannot be drawn: its records hold no accuracy with a log per epoch"
        )
    first = group.records[0]
    title = (
        f"{first.model} on {first.dataset}: {train_images(first):,} training images at "
        f"{first.settings['image_size']}², {first.epochs} epochs"
    )
    return lead_figure(group.records, title)


ITEMS = (
    built("shiftaddaug/claim-cifar100", profiles=PROFILES, run=augmented.run, draw=draw),
    built("shiftaddaug-supp/fig1", profiles=PROFILES, run=run_curves, draw=draw_curves),
)
