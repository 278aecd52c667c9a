"""Forward and backward pass over one batch, in micro-batches if asked, on one or more processes."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.train import parallel
from saa_lite.train.mixup import hard

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
            right where the class that has most of it comes first.
        kept: takes the logits of every micro-batch, detached, in order.

    Returns:
        float64 [3]: summed loss (not weighted), right answers, images; here, if on several.
    """

    def compute(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = run.model(x)
        if kept is not None:
            kept.append(logits.detach())
        loss = label_loss(run, logits, y)
        return weighted(loss, weight, len(labels)), outcome(logits, loss, y)

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
    """Cross-entropy against labels or mixtures of them, summed over images."""
    if labels.dim() > 1:  # a network may have more logits than the set has classes
        labels = F.pad(labels, (0, logits.shape[1] - labels.shape[1]))
    return F.cross_entropy(
        logits, labels, label_smoothing=run.config.label_smoothing, reduction="sum"
    )


def weighted(loss: Tensor, weight: float, images: int) -> Tensor:
    """``weight`` times the part of a summed loss in the mean over all ``images`` of the batch.

    Divided by the whole batch: the micro-batches' gradients add up to the batch's mean.
    """
    return loss / images if weight == 1.0 else loss * (weight / images)


def outcome(logits: Tensor, loss: Tensor, labels: Tensor) -> Tensor:
    """float64 [3]: summed loss, right answers, images."""
    right = (logits.argmax(1) == hard(labels)).sum()
    return torch.stack([loss.detach().double(), right.double(), right.new_tensor(len(labels))])
