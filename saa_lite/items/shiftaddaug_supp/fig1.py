"""Training curves: the augmented model stays above its target all the way (supplement, Figure 1).

The figure explains why the authors do not distil: the larger model fits the training set better.
These are the curves of the runs of ``shiftaddaug/claim-cifar100``; whatever that item, or with
settings of its own ``shiftaddaug/fig4``, has trained already is not trained again.
"""

from collections.abc import Iterator

from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items import augmented
from saa_lite.items.augmented import Settings
from saa_lite.items.base import Context, built
from saa_lite.items.select import best_group, train_images
from saa_lite.items.shiftaddaug import claim_cifar100
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.augmented import lead_figure

SHARED = ("shiftaddaug/claim-cifar100", "shiftaddaug/fig4")
METHODS = ("aug-shift", "aug-adder", "netaug")


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Train, or take over, the augmented runs."""
    return augmented.run(settings, context, METHODS, SHARED)


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Both passes of every run of one configuration; the source prints no numbers."""
    found = [record for record in records if record.metric == "accuracy" and record.log]
    group = best_group(found, "accuracy", METHODS) or best_group(found, "accuracy", METHODS[:1])
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


ITEM = built("shiftaddaug-supp/fig1", profiles=claim_cifar100.PROFILES, run=run, draw=draw)
