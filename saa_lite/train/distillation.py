"""Learning from another network's answers beside the labels, at temperature 1.

With the teacher's distribution p_A and the student's p_T the student's loss is

    (1 − w)·CE(student, labels) + w·D,

where D is Σ p_A·log(p_A/p_T), ``"kl"``, or −Σ p_A·log p_T, ``"ce"``, the mean over images. The two
differ by the entropy of p_A, a constant wherever the teacher is detached: both have the gradient
p_T − p_A at the student's logits, and one seed gives one training, bit for bit. So a difference
between them, such as ShiftAddAug's supplement prints, can come from chance, from a teacher that is
not detached, or from ``KLDivLoss``'s ``"mean"``, which divides by the number of classes, too.

The teacher is a network that does not learn any more, or the augmented pass of the same step, see
:class:`saa_lite.augment.AugmentedTraining`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.errors import UsageError, check_choice
from saa_lite.train.run import (
    Method,
    Run,
    backward_in_pieces,
    backward_pass,
    label_loss,
    outcome,
    weighted,
)

CRITERIA = ("kl", "ce")
REDUCTIONS = ("batchmean", "mean")
Teacher = Callable[[Tensor], Tensor]
"""Images of a micro-batch → logits."""


@dataclass(frozen=True)
class Distillation:
    """What a student learns from a teacher.

    Attributes:
        weight: w, from 0 (training without a teacher, bit for bit) to 1 (without labels).
        criterion: ``"kl"`` or ``"ce"``.
        detach: whether D leaves the teacher alone. Otherwise its gradient moves the teacher, too.
        reduction: ``"batchmean"`` over images, or ``"mean"`` over images and classes, which is
            what ``KLDivLoss`` does unless it is told otherwise: w·D is as many times weaker.
        teacher: a trained network, whose images are normalised as the student's; in evaluation
            mode, never trained. None: the augmented pass.

    Raises:
        UsageError: a value outside its range, or another network that is not detached.
    """

    weight: float
    criterion: str = "kl"
    detach: bool = True
    reduction: str = "batchmean"
    teacher: nn.Module | None = None

    def __post_init__(self) -> None:
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not number or not 0 <= self.weight <= 1:
            raise UsageError(f"weight must be a number from 0 to 1; got {self.weight!r}")
        check_choice("criterion", self.criterion, CRITERIA)
        check_choice("reduction", self.reduction, REDUCTIONS)
        if type(self.detach) is not bool:
            raise UsageError(f"detach must be True or False; got {self.detach!r}")
        if not isinstance(self.teacher, nn.Module | None):
            raise UsageError(f"teacher must be a network or None; got {self.teacher!r}")
        if self.teacher is not None and not self.detach:
            raise UsageError(
                "detach=False is for the augmented pass as teacher: a network given as teacher is "
                "not trained"
            )

    def divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """D, summed over images.

        Args:
            logits: of the student, [B,classes]; ``teacher``: of the teacher, the same shape.

        Raises:
            UsageError: the two differ in shape.
        """
        if logits.shape != teacher.shape:
            raise UsageError(
                f"the teacher's logits must be {list(logits.shape)}, as the student's are; got "
                f"{list(teacher.shape)}"
            )
        exact = torch.promote_types(logits.dtype, torch.float32)
        student = logits.log_softmax(1, dtype=exact)
        wanted = (teacher.detach() if self.detach else teacher).log_softmax(1, dtype=exact)
        if self.criterion == "kl":
            found = F.kl_div(student, wanted, reduction="sum", log_target=True)
        else:
            found = -(wanted.exp() * student).sum()
        return found / logits.shape[1] if self.reduction == "mean" else found

    def loss(
        self, logits: Tensor, teacher: Tensor, labelled: Tensor, answers: int | Tensor
    ) -> Tensor:
        """The student's part of a micro-batch in the mean over the batch.

        Args:
            labelled: cross-entropy against the labels, summed over the micro-batch.
            answers: of the whole batch.
        """
        from_labels = weighted(labelled, 1 - self.weight, answers)
        return from_labels + weighted(self.divergence(logits, teacher), self.weight, answers)

    def make_ready(self, run: Run) -> None:
        """Bring the teacher, if it is a network, to where its student is."""
        if self.teacher is not None:
            self.teacher.to(run.device).eval()

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """Logits of the network that is the teacher."""
        if self.teacher is None:
            raise UsageError("there is no network as teacher; got teacher=None")
        logits: Tensor = self.teacher(images)
        return logits

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON values by field name; of a network, the CRC-32 of its weights."""
        values = {
            "weight": self.weight,
            "criterion": self.criterion,
            "detach": self.detach,
            "reduction": self.reduction,
        }
        return values | {"teacher": None if self.teacher is None else checksum(self.teacher)}


def checksum(network: nn.Module) -> str:
    """CRC-32 of all parameters and buffers, hex."""
    found = 0
    for tensor in network.state_dict().values():
        found = zlib.crc32(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def distilled_pass(
    run: Run, images: Tensor, labels: Tensor, distillation: Distillation, teacher: Teacher
) -> Tensor:
    """:func:`backward_pass` of a student.

    Args:
        teacher: called once per micro-batch, in order.

    Returns:
        float64 [3]: as of a pass without a teacher, so that the loss of all weights and criteria
        is the same: that against the labels.
    """
    answers = run.task.answers(labels)

    def compute(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        wanted, logits = teacher(x), run.model(x)
        labelled = label_loss(run, logits, y)
        loss = distillation.loss(logits, wanted, labelled, answers)
        return loss, outcome(run, logits, labelled, y)

    return backward_in_pieces(run, images, labels, compute)


class DistilledTraining(Method):
    """A network by itself that learns from another one beside the labels.

    Raises:
        UsageError: the distillation has no network as teacher.
    """

    def __init__(self, distillation: Distillation) -> None:
        if not isinstance(distillation, Distillation) or distillation.teacher is None:
            raise UsageError(
                "DistilledTraining needs a Distillation with a network as teacher; got "
                f"{distillation!r}"
            )
        self.distillation = distillation

    def settings(self, model: nn.Module) -> dict[str, Any]:
        return {"distillation": self.distillation.as_settings()}

    def begin_epoch(self, run: Run) -> None:
        super().begin_epoch(run)
        self.distillation.make_ready(run)

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        if not self.distillation.weight:
            return backward_pass(run, images, labels)
        return distilled_pass(run, images, labels, self.distillation, self.distillation.answer)
