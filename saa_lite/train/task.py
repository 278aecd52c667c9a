"""What a network learns from a set: its labels, or the class of every pixel.

A task is what the one loop in :mod:`saa_lite.train.loop` asks for loss, right answers and test
scores. An *answer* is one image's class, or one labelled pixel's: losses and accuracies are means
over answers, so micro-batches and processes add up to the same.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.data import ImageSet
from saa_lite.data.batches import Targets
from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError
from saa_lite.train.confusion import Scores, confusion_matrix
from saa_lite.train.mixup import hard

Answer = tuple[Tensor, Tensor]
"""Logits of a batch and what they should say."""


@runtime_checkable
class Task(Protocol):
    """What the loop asks of a task.

    Attributes:
        name: what checkpoints call it.
        targets: what of a set is learned.
        metric: the test score that progress bars show.
        counted: what the number of classes is called in errors; ``of_each``: of what they are.
    """

    name: str
    targets: Targets
    metric: str
    counted: str
    of_each: str

    def names(self, image_set: ImageSet) -> tuple[str, ...]:
        """Names of the classes that are learned of a set.

        Raises:
            UsageError: it has nothing for this task.
        """

    def fits(self, images: Tensor, logits: Tensor) -> bool:
        """Whether logits have the shape that this task wants for these images."""

    def answers(self, targets: Tensor) -> int | Tensor:
        """How many answers a batch asks for, at least 1."""

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Cross-entropy, summed over answers, with label smoothing."""

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """How many answers are right, one integer."""

    def score(self, found: Iterable[Answer], classes: int) -> dict[str, float]:
        """Mean loss, accuracy and what else the task measures over all batches."""


class Classification:
    """One label per image, or a mixture of labels."""

    name, metric, counted, of_each = "classification", "accuracy", "num_classes", ""
    targets: Targets = "labels"

    def names(self, image_set: ImageSet) -> tuple[str, ...]:
        """The set's classes."""
        return image_set.class_names

    def fits(self, images: Tensor, logits: Tensor) -> bool:
        """[B,classes]."""
        return logits.ndim == 2

    def answers(self, targets: Tensor) -> int:
        """One per image."""
        return len(targets)

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Against labels int64 [B] or mixtures of them [B,classes], summed over images."""
        if targets.dim() > 1:  # a network may have more logits than the set has classes
            targets = F.pad(targets, (0, logits.shape[1] - targets.shape[1]))
        return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Images whose label, or most of whose mixture, comes first."""
        return (logits.argmax(1) == hard(targets)).sum()

    def score(self, found: Iterable[Answer], classes: int) -> dict[str, float]:
        """Means over images."""
        losses, hits = losses_and_hits(found)
        # Losses are added up in float64, so that 10,000 of them lose nothing.
        return {"loss": losses.double().mean().item(), "accuracy": hits.double().mean().item()}


def losses_and_hits(found: Iterable[Answer]) -> tuple[Tensor, Tensor]:
    """Cross-entropy [N] and right or wrong, bool [N], image by image."""
    losses, hits = [], []
    for logits, labels in found:
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
        hits.append(logits.argmax(1) == labels)
    return torch.cat(losses), torch.cat(hits)


class Segmentation:
    """A class for every pixel; pixels that are ``VOID`` are neither learned nor scored."""

    name, metric, counted = "segmentation", "miou", "number of mask_names"
    of_each = " of every pixel"
    targets: Targets = "masks"

    def names(self, image_set: ImageSet) -> tuple[str, ...]:
        """The mask's classes.

        Raises:
            UsageError: there are no masks, they have no names, or no pixel is labelled.
        """
        which = f"{image_set.name} ({image_set.split})"
        if image_set.masks is None or not image_set.mask_names:
            raise UsageError(f"segmentation needs masks and mask_names; {which} has none")
        if not bool((image_set.masks != VOID).any()):
            raise UsageError(f"segmentation needs labelled pixels; {which} has none")
        return image_set.mask_names

    def fits(self, images: Tensor, logits: Tensor) -> bool:
        """[B,classes,H,W], of the images' height and width."""
        return logits.ndim == 4 and logits.shape[2:] == images.shape[2:]

    def answers(self, targets: Tensor) -> Tensor:
        """One per labelled pixel; on the device, so that nobody waits for it."""
        return (targets != VOID).sum().clamp(min=1)

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Against masks int64 [B,H,W], summed over labelled pixels."""
        return F.cross_entropy(
            logits, targets, ignore_index=VOID, label_smoothing=smoothing, reduction="sum"
        )

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Labelled pixels whose class comes first; VOID is no class."""
        return (logits.argmax(1) == targets).sum()

    def score(self, found: Iterable[Answer], classes: int) -> dict[str, float]:
        """Means over labelled pixels, and mean IoU over classes."""
        loss, matrix = 0.0, torch.zeros(classes, classes, dtype=torch.int64)
        for logits, masks in found:
            loss += self.loss(logits, masks, 0.0).item()
            matrix += confusion_matrix(logits[:, :classes].argmax(1), masks, classes).cpu()
        scores = Scores(matrix, tuple(map(str, range(classes))))
        mean = loss / int(matrix.sum())
        return {"loss": mean, "accuracy": scores.accuracy, "miou": scores.miou}


CLASSIFICATION = Classification()
SEGMENTATION = Segmentation()
TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, SEGMENTATION)}
