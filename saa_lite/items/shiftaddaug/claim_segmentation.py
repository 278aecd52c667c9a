"""Does augmentation improve segmentation? The abstract says so, and prints no number.

It speaks of "consistently noteworthy enhancements" and names neither network nor data that we could
read, so this is no reproduction: the claim is tried on a task of its kind. Two protocols fix what
is compared before the first run (:mod:`saa_lite.protocols`): ``segment-d``, real digits on drawn
grounds, and ``segment-c``, CamVid's street scenes, whose frames stay in the split that its authors
made, since frames of one drive are alike.

Methods are the catalogue's: Mult, Shift, AugShift, Add from the calm start, AugAdd from there. What
is compared is the mean IoU over classes, from one confusion matrix of the whole test set, with
batch norm measured anew for every arm; energy per image stands beside it.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from saa_lite.augment import AugmentedNet, export
from saa_lite.costs import ACCOUNTINGS, count
from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.errors import UsageError, check_choice
from saa_lite.items import augmented, campaign
from saa_lite.items.augmented import DIVERGED, Settings, Trained
from saa_lite.items.base import Context, Unit, built
from saa_lite.protocols import load_protocol
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import SEGMENTATION, DivergenceError, Scores, confusion_matrix, evaluation_mode
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
    """The protocols' trainings, seed by seed; without protocols a tiny one of two methods.

    Raises:
        UsageError: an arm or a seed that no protocol of the run has.
        DivergenceError: some training diverged and says so in its record; the others are done.
    """
    lost: list[DivergenceError] = []
    for unit, training in units(settings, context):
        if unit.done(MIOU, instead=DIVERGED):
            continue
        try:
            yield from measure(unit, training)
        except DivergenceError as error:
            yield unit.record(DIVERGED, error.epoch, "epoch")
            lost.append(error)
    if lost:
        raise DivergenceError("; ".join(map(str, lost)), lost[0].epoch)


def units(settings: campaign.Settings, context: Context) -> Iterator[tuple[Unit, Settings]]:
    """What is asked for: units of work and how each is trained."""
    if not settings.protocols:
        yield from ((unit, TRIED) for unit in augmented.units(context, TRIED, TRIED_METHODS))
        return
    chosen = [load_protocol(name) for name in settings.protocols]
    for arm in settings.arms:
        check_choice("arms", arm, sorted({arm for protocol in chosen for arm in protocol.arms}))
    known = {seed for protocol in chosen for seed in protocol.seeds}
    if strange := set(settings.seeds) - known:
        raise UsageError(f"seeds must be among {sorted(known)}; got {min(strange)}")
    for protocol in chosen:
        for seed, arm, training in campaign.trainings(protocol):
            if arm in (settings.arms or protocol.arms) and seed in (settings.seeds or known):
                yield campaign.unit_of(protocol, context, arm, seed, training), training


def measure(unit: Unit, settings: Settings) -> Iterator[Record]:
    """Train one unit, and score its target on test and training images."""
    run = augmented.trained(unit, settings)
    seconds, last = sum(row["seconds"] for row in run.history), run.history[-1]
    yield unit.record("miou", 100 * last["test_miou"], "%", log=run.history, seconds=seconds)
    augmented.reestimate(run, settings)
    scores = scores_of(run, run.test_set)
    yield unit.record("pixel_accuracy_reestimated", 100 * scores.accuracy, "%")
    for name, share in scores.iou.items():
        yield unit.record(f"iou {name}", 100 * share, "%")
    shown = scores_of(run, run.train_set.part(0, SHOWN_TRAINING_IMAGES))
    yield unit.record(TRAINED_MIOU, 100 * shown.miou, "%")
    target = run.model
    if isinstance(target, AugmentedNet):
        yield unit.record("export_difference", export_difference(target, run.test_set), "")
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


@torch.no_grad()
def export_difference(model: AugmentedNet, test_set: ImageSet) -> float:
    """Largest difference of a logit between exported network and target; 0 is the claim."""
    device = next(model.parameters()).device
    images = test_set.images[:8].to(device).float() / 255
    return float((export(model).eval()(images) - model.eval()(images)).abs().max())


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Mean IoU of every training, and against energy per image."""
    return scores_figure(records, MIOU, "energy_C")


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
