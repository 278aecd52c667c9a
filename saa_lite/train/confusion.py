"""Scores of labelled pixels from one confusion matrix over a whole set.

Of class c: true positives C[c,c], all that is c in the masks Σⱼ C[c,j], all that is called c
Σᵢ C[i,c], and

    IoU_c = C[c,c] / (Σⱼ C[c,j] + Σᵢ C[i,c] − C[c,c]).

The mean is over classes, each counted once over the set: not over images, whose rare classes would
then weigh by how many images show them. A class that is neither in the masks nor in any answer has
no IoU, and is left out and named.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError


def confusion_matrix(answers: Tensor, masks: Tensor, classes: int) -> Tensor:
    """int64 [classes,classes]: labelled pixels by true class (row) and answer (column).

    Args:
        answers: class of every pixel, integers in ``0 .. classes - 1``.
        masks: of the same shape; pixels that are ``VOID`` are left out.

    Raises:
        UsageError: other shapes, or a value that is no class.
    """
    if answers.shape != masks.shape:
        raise UsageError(
            f"answers and masks must have one shape; got {list(answers.shape)} and "
            f"{list(masks.shape)}"
        )
    labelled = masks != VOID
    true, said = masks[labelled].long(), answers[labelled].long()
    for name, values in (("masks", true), ("answers", said)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise UsageError(
                f"{name} must hold 0..{classes - 1}; got {int(values.min())}..{int(values.max())}"
            )
    return torch.bincount(classes * true + said, minlength=classes**2).view(classes, classes)


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says.

    Attributes:
        matrix: int64 [classes,classes], rows are true classes.
        names: of the classes.
    """

    matrix: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.matrix.shape != (len(self.names),) * 2:
            raise UsageError(
                f"a confusion matrix of {len(self.names)} classes must be square; got "
                f"{list(self.matrix.shape)}"
            )
        if not self.matrix.sum():
            raise UsageError("no pixel is labelled, so there is nothing to score")

    @property
    def iou(self) -> dict[str, float]:
        """IoU of every class that occurs in masks or answers, 0..1."""
        matrix = self.matrix.double()
        union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        rows = zip(self.names, matrix.diagonal().tolist(), union.tolist(), strict=True)
        return {name: hits / all_of_it for name, hits, all_of_it in rows if all_of_it}

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that occur in neither, and have no part in the mean."""
        return tuple(name for name in self.names if name not in self.iou)

    @property
    def miou(self) -> float:
        """Mean of :attr:`iou`."""
        return sum(self.iou.values()) / len(self.iou)

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right."""
        return (self.matrix.diagonal().sum().double() / self.matrix.sum()).item()
