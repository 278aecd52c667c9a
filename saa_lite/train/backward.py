"""Forward and backward pass over one batch, in micro-batches if asked, on one or more processes."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saa_lite.train import parallel

if TYPE_CHECKING:
    from saa_lite.train.run import Run

Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and labels of a micro-batch → what its gradient is taken of, and what is counted."""


def backward_pass(
    run: "Run",
    images: Tensor,
    labels: Tensor,
    weight: float = 1.0,
    *,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """Add the gradient of ``weight`` times the batch's mean loss to every parameter.

    Of several processes each adds that of its own micro-batches: :mod:`saa_lite.train.parallel`.

    Args:
        labels: int64 [B], or of mixtures the share of each class, [B,classes]. A mixture counts as
            right where the class that has most of it comes first. Of masks, int64 [B,H,W].
        kept: takes the logits of every micro-batch, detached, in order.

    Returns:
        float64 [3]: summed loss (not weighted), right answers, answers; here, if on several.
    """
    answers = run.task.answers(labels)

    def compute(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = run.model(x)
        if kept is not None:
            kept.append(logits.detach())
        loss = label_loss(run, logits, y)
        return weighted(loss, weight, answers), outcome(run, logits, loss, y)

    return backward_in_pieces(run, images, labels, compute)


def backward_in_pieces(
    run: "Run", images: Tensor, labels: Tensor, compute: Compute, passes: int = 1
) -> Tensor:
    """Add the gradient of what ``compute`` returns for each micro-batch.

    The pieces are the same for every call with the same batch.

    Returns:
        float64 [3 · passes]: the sum of what ``compute`` counts.
    """
    config, device = run.config, images.device.type
    totals = torch.zeros(3 * passes, dtype=torch.float64, device=images.device)
    half = torch.float16 if device == "cuda" else torch.bfloat16
    largest = math.ceil(config.batch_size / (config.accumulate * parallel.count()))
    # Never a micro-batch of one image, which batch norm could not normalise.
    pieces = min(math.ceil(len(labels) / largest), len(labels) // 2)
    cut = list(zip(images.tensor_split(pieces), labels.tensor_split(pieces), strict=True))
    with parallel.statistics_in_turn(run.model):
        for x, y in parallel.share(cut):
            with torch.autocast(device, half, enabled=config.amp):
                loss, counted = compute(x, y)
            run.scaler.scale(loss).backward()
            totals += counted
    return totals


def label_loss(run: "Run", logits: Tensor, labels: Tensor) -> Tensor:
    """The task's loss, summed over all answers, with the configuration's label smoothing."""
    return run.task.loss(logits, labels, run.config.label_smoothing)


def weighted(loss: Tensor, weight: float, answers: int | Tensor) -> Tensor:
    """``weight`` times the part of a summed loss in the mean over all ``answers`` of the batch.

    Divided by the whole batch: the micro-batches' gradients add up to the batch's mean.
    """
    return loss / answers if weight == 1.0 else loss * (weight / answers)


def outcome(run: "Run", logits: Tensor, loss: Tensor, labels: Tensor) -> Tensor:
    """float64 [3]: summed loss, right answers, answers."""
    right = run.task.right(logits, labels)
    answers = torch.as_tensor(run.task.answers(labels), device=right.device)
    return torch.stack([loss.detach().double(), right.double(), answers.double()])
