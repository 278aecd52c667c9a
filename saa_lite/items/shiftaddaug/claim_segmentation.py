"""Does augmentation improve segmentation? The abstract says so, and prints no number.

It speaks of "consistently noteworthy enhancements" and names neither network nor data that we could
read, so this is no reproduction: the claim is tried on a task of its kind. Two protocols fix what
is compared before the first run (:mod:`saa_lite.protocols`): ``segment-digits``, real digits on
drawn grounds, and ``segment-camvid``, CamVid's street scenes, whose frames stay in the split that
its authors made, since frames of one drive are alike.

Methods are the catalogue's: Mult, NetAug (the control), Shift, AugShift, Add from the calm start,
AugAdd from there. What is compared is the mean IoU over classes, from one confusion matrix of the
whole test set, with batch norm measured anew for every arm; energy per image stands beside it.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from saa_lite.augment import AugmentedNet, export
from saa_lite.costs import ACCOUNTINGS, count
from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.items import augmented, campaign
from saa_lite.items.augmented import DIVERGED, Settings, Trained
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import SEGMENTATION, Scores, confusion_matrix, evaluation_mode
from saa_lite.train.evaluate import answers
from saa_lite.viz.segmentation import scores_figure

ITEM_ID = "shiftaddaug/claim-segmentation"
MIOU, TRAINED_MIOU = "miou_reestimated", "train_miou_reestimated"
TRIED = replace(
    campaign.TRIED, dataset="digit-scenes", image_size=32, train_images=16, test_images=8, epochs=1,
    batch_size=8, test_every=1, validation_images=0, batch_norm_images=16, task="segmentation",
)  # fmt: skip
TRIED_METHODS = ("conv", "aug-shift")
SHOWN_TRAINING_IMAGES = 500


def run(settings: campaign.Settings, context: Context) -> Iterator[Record]:
    """The protocols' trainings; see :func:`saa_lite.items.campaign.run`."""
    yield from campaign.run(settings, context, TRIED_METHODS, training=TRIED, finish=finish)


def finish(unit: Unit, settings: Settings) -> Iterator[Record]:
    """Train one unit unless records hold it."""
    if not unit.done(MIOU, instead=DIVERGED):
        yield from measure(unit, settings)


def measure(unit: Unit, settings: Settings) -> Iterator[Record]:
    """Train one unit, and score its target on test and training images."""
    run = augmented.trained(unit, settings)
    seconds, last = sum(row["seconds"] for row in run.history), run.history[-1]
    yield unit.record("miou", 100 * last["test_miou"], "%", log=run.history, seconds=seconds)
    augmented.reestimate(run, settings.batch_norm_images)
    scores = scores_of(run, run.test_set)
    yield unit.record("pixel_accuracy_reestimated", 100 * scores.accuracy, "%")
    for name, share in scores.iou.items():
        yield unit.record(f"iou {name}", 100 * share, "%")
    shown = scores_of(run, run.train_set.part(0, SHOWN_TRAINING_IMAGES))
    yield unit.record(TRAINED_MIOU, 100 * shown.miou, "%")
    target = run.model
    if isinstance(target, AugmentedNet):
        difference = augmented.export_difference(target, run.test_set, images=8)
        yield unit.record("export_difference", difference, "")
        target = export(target)
    costs = count(target, (1, *run.test_set.images.shape[1:]))
    for accounting in ACCOUNTINGS:
        priced = costs.energy(accounting)
        assert priced is not None, "every accounting prices convolutions, adders and shifts"
        yield unit.record(f"energy_{accounting}", priced.total, "mJ")
    yield unit.record(MIOU, 100 * scores.miou, "%", seconds=seconds)


@torch.no_grad()
def scores_of(run: Trained, image_set: ImageSet) -> Scores:
    """Scores of the target on a set, from one confusion matrix."""
    mean, std = normalization(run.train_set)
    names = SEGMENTATION.names(image_set)
    batches = Batches(
        image_set, run.config.eval_batch_size, mean=mean, std=std, targets="masks",
        device=next(run.model.parameters()).device, channels_last=augmented.kept_format(run),
    )  # fmt: skip
    matrix = torch.zeros(len(names), len(names), dtype=torch.int64)
    with evaluation_mode(run.model):
        for logits, masks in answers(run.model, batches):
            matrix += confusion_matrix(said(logits, len(names)), masks, len(names)).cpu()
    return Scores(matrix, names)


def said(logits: Tensor, classes: int) -> Tensor:
    """The class of every pixel, [B,H,W]."""
    return logits[:, :classes].argmax(1)


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Mean IoU of every training, and against energy per image."""
    return scores_figure(records, MIOU, "energy_C")


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
