"""Numbers for the shape of feature clouds: told apart by angle, as rays, or by place, as blobs.

The source shows the clouds and prints no number; these measures are ours (they apply to features
of any dimension, the item uses the two of LeNet++'s bottleneck). Angles are taken about the origin,
because that is what a bias-free linear classifier, a scalar product, responds to.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.errors import check_choice

DISTANCES = ("cosine", "l1")


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
