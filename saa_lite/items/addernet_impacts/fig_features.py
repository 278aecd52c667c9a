"""Feature clouds: what LeNet++ with CNN and with adder layers makes of digits in two dimensions.

Everything is measured in the two-dimensional bottleneck itself. Class means come from the training
images, accuracies and ratios from the test images. Batch-norm statistics are estimated afresh after
training: an adder network's running means lag far behind (notebook 01), and the clouds would be
drawn in the wrong place.

The source shows the clouds and prints no number. So there are measures of ours, of features of any
dimension, for their shape: told apart by angle, as rays, or by place, as blobs. Angles are taken
about the origin, because that is what a bias-free linear classifier, a scalar product, responds to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.data import Batches, ImageSet
from saa_lite.errors import check_choice
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.items.training import (
    digits_config,
    full_batches,
    load_splits,
    paired_units,
    seeded_model,
    train_unit,
)
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import evaluate, evaluation_mode, reestimate_batch_norm
from saa_lite.viz.features import clouds_figure

DISTANCES = ("cosine", "l1")
METHODS = ("conv", "adder")
DIFFERENCE = "cosine_minus_l1_accuracy"
METRICS = (
    "accuracy", "cosine_accuracy", "l1_accuracy", "angle_ratio", "position_ratio", DIFFERENCE,
)  # fmt: skip
PerChannel = tuple[float, ...]
LOGGED_SEED, LOGGED_POINTS = 0, 300  # the cloud that the figure shows


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of [N, F] features per class, [classes, F]; NaN for a class without an image."""
    return torch.stack([features[labels == c].mean(0) for c in range(classes)])


def nearest_mean_accuracy(features: Tensor, labels: Tensor, means: Tensor, distance: str) -> float:
    """Share of features [N, F] whose nearest class mean is that of their label.

    Args:
        means: [classes, F], best from other images than ``features``.
        distance: ``"cosine"`` (angle about the origin alone) or ``"l1"`` (place).
    """
    check_choice("distance", distance, DISTANCES)
    if distance == "l1":
        nearest = torch.cdist(features, means, p=1).argmin(1)
    else:
        nearest = (F.normalize(features) @ F.normalize(means).T).argmax(1)
    return float((nearest == labels).double().mean())


def variance_ratio(features: Tensor, labels: Tensor) -> float:
    """Variance of the class means over the mean variance within classes, both summed over axes."""
    means = torch.stack([features[labels == c].mean(0) for c in labels.unique()])
    sizes = torch.stack([(labels == c).sum() for c in labels.unique()])
    own = means[torch.searchsorted(labels.unique(), labels)]
    within = (features - own).square().sum(1).mean()
    offsets = (means - features.mean(0)).square().sum(1)
    return float((sizes * offsets).sum() / sizes.sum() / within)


def angle_ratio(features: Tensor, labels: Tensor) -> float:
    """:func:`variance_ratio` of the directions f/‖f‖: the length of a feature plays no part."""
    return variance_ratio(F.normalize(features), labels)


@dataclass(frozen=True)
class Settings:
    """Budget and recipe; everything but ``seeds`` is part of the configuration hash."""

    dataset: str
    image_size: int
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    batch_size: int = 64
    crop_padding: int = 1


PROFILES = {
    "smoke": Settings("digits", 16, 100, 50, epochs=1, seeds=1, batch_size=20),
    # The digits have 8 × 8 pixels; 16 × 16 loses nothing and is four times as fast as 32 × 32.
    "laptop": Settings("digits", 16, 1_297, 500, epochs=15, seeds=5),
    "full": Settings("mnist", 32, 60_000, 10_000, epochs=20, seeds=5, crop_padding=2),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Train and measure both networks, seed by seed."""
    for unit in paired_units(context, settings, "lenet_pp", METHODS):
        if not unit.done(*METRICS):
            yield from _measure(unit, settings)


def _measure(unit: Unit, settings: Settings) -> Iterator[Record]:
    train_set, test_set = load_splits(
        unit.context,
        settings.dataset,
        settings.train_images,
        settings.test_images,
        settings.image_size,
    )
    model, mean, std = trained(unit, settings, train_set, test_set)
    device = unit.context.device
    accuracy = evaluate(model, test_set, device=device, mean=mean, std=std)["accuracy"]
    yield unit.record("accuracy", 100 * accuracy, "%")
    found, cloud = (features(model, s, mean, std, device) for s in (train_set, test_set))
    means = class_means(found, train_set.labels, train_set.num_classes)
    yield from _cloud_records(unit, cloud, test_set.labels, means)


def _cloud_records(unit: Unit, cloud: Tensor, labels: Tensor, means: Tensor) -> Iterator[Record]:
    """What the test images' features [N, 2] say, given the training images' means [classes, 2]."""
    by_angle, by_place = (
        100 * nearest_mean_accuracy(cloud, labels, means, distance) for distance in ("cosine", "l1")
    )
    yield unit.record("cosine_accuracy", by_angle, "%")
    yield unit.record("l1_accuracy", by_place, "%")
    yield unit.record("angle_ratio", angle_ratio(cloud, labels), "between / within")
    yield unit.record("position_ratio", variance_ratio(cloud, labels), "between / within")
    points = _points(cloud, labels) if unit.seed == LOGGED_SEED else None
    yield unit.record(DIFFERENCE, by_angle - by_place, "points", log=points)


def trained(
    unit: Unit, settings: Settings, train_set: ImageSet, test_set: ImageSet
) -> tuple[nn.Module, PerChannel, PerChannel]:
    """A trained LeNet++ with fresh batch-norm statistics, and mean and std of its images."""
    config = digits_config(unit, settings)
    model = seeded_model(unit, train_set)
    train_unit(unit, model, train_set, test_set, config)
    batches = full_batches(unit, train_set, settings.batch_size)
    reestimate_batch_norm(model, batches.epoch(settings.epochs))
    return model, batches.mean, batches.std


@torch.no_grad()
def features(
    model: nn.Module, images: ImageSet, mean: PerChannel, std: PerChannel, device: str
) -> Tensor:
    """Bottleneck of every image, float64 [N, 2] on the CPU."""
    batches = Batches(images, 500, shuffle=False, device=device, mean=mean, std=std)
    with evaluation_mode(model):
        found = [model.forward_features(batch) for _, batch, _ in batches.epoch(0)]  # type: ignore[operator]
    return torch.cat(found).double().cpu()


def _points(found: Tensor, labels: Tensor) -> list[dict[str, float | None]]:
    rows = zip(found.tolist(), labels.tolist(), strict=True)
    points: list[dict[str, float | None]] = [
        {"first": first, "second": second, "label": float(label)} for (first, second), label in rows
    ]
    return points[:LOGGED_POINTS]


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Clouds and nearest-mean accuracies of the largest budget; the source prints no number."""
    return clouds_figure(one_configuration(records, DIFFERENCE, METHODS))


ITEM = built("addernet-impacts/fig-features", profiles=PROFILES, run=run, draw=draw)
