"""Tasks: what a network learns from a set, and how well it does.

**Mixup (Zhang et al., 2018): each image a mixture of two, and its label, too.**

λ ~ Beta(α, α) for the whole batch, and a permutation that says who is mixed with whom, as in the
authors' code::

    x ← λ·x + (1 − λ)·x[order],    loss ← λ·CE(f(x), y) + (1 − λ)·CE(f(x), y[order])

It is a regulariser: a network that overfits gains by it, one that underfits loses. NetAug's account
of its own gain rests on that (their figure 2: mixup hurts a tiny network), so it serves as a probe.

**Scores of labelled pixels from one confusion matrix over a whole set.**

Of class c: true positives C[c,c], all that is c in the masks Σⱼ C[c,j], all that is called c
Σᵢ C[i,c], and

    IoU_c = C[c,c] / (Σⱼ C[c,j] + Σᵢ C[i,c] − C[c,c]).

The mean is over classes, each counted once over the set: not over images, whose rare classes would
then weigh by how many images show them. A class that is neither in the masks nor in any answer has
no IoU, and is left out and named.

**What a network learns from a set: its labels, or the class of every pixel.**

A task is what the one loop in :mod:`saa_lite.train.loop` asks for loss, right answers and test
scores. An *answer* is one image's class, or one labelled pixel's: losses and accuracies are means
over answers, so micro-batches and processes add up to the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.data import ImageSet
from saa_lite.data.batches import Targets
from saa_lite.data.image_set import VOID
from saa_lite.data.seeds import generator_for
from saa_lite.errors import UsageError

MIXUP_STREAM = 3  # beside order, augmentation, dropout and configurations


def mixed(
    images: Tensor, labels: Tensor, alpha: float, num_classes: int, place: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Mixed images [B,C,H,W] and the share that each class has in them, float [B,classes].

    Args:
        labels: int64 [B].
        alpha: of the Beta distribution; small ones leave most images nearly alone.
        place: (seed, epoch, step), of which everything drawn here is a function.
    """
    generator = generator_for(*place, MIXUP_STREAM)
    share = draw_share(alpha, generator)
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    shares = F.one_hot(labels, num_classes).to(images.dtype)
    return (
        torch.lerp(images[order], images, share),
        torch.lerp(shares[order], shares, share),
    )


def draw_share(alpha: float, generator: torch.Generator) -> float:
    """One number of Beta(α, α), 0 < α ≤ 1, by Jöhnk's method (1964).

    With u and v uniform it is u^(1/α) / (u^(1/α) + v^(1/α)) where that denominator is at most 1,
    else they are drawn anew. In logarithms, as the powers vanish for small α.
    """
    while True:
        logs = torch.rand(2, generator=generator, dtype=torch.float64).log() / alpha
        if logs.exp().sum() <= 1:
            return float((logs[0] - logs[1]).sigmoid())


def hard(labels: Tensor) -> Tensor:
    """int64 [B]: the label itself, or of a mixture the class that has most of it."""
    return labels if labels.dim() == 1 else labels.argmax(1)


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
