"""Forward and backward pass over one batch, in micro-batches if asked, on one or more processes."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.train import parallel
from saa_lite.train.mixup import hard

if TYPE_CHECKING:
    from saa_lite.train.run import Run


def backward_pass(run: "Run", images: Tensor, labels: Tensor, weight: float = 1.0) -> Tensor:
    """Add the gradient of ``weight`` times the batch's mean loss to every parameter.

    Of several processes each adds that of its own micro-batches: :mod:`saa_lite.train.parallel`.

    Args:
        labels: int64 [B], or of mixtures the share of each class, [B,classes]. A mixture counts as
            right where the class that has most of it comes first.

    Returns:
        float64 [3]: summed loss (not weighted), right answers, images; here, if on several.
    """
    config, device = run.config, images.device.type
    totals = torch.zeros(3, dtype=torch.float64, device=images.device)
    half = torch.float16 if device == "cuda" else torch.bfloat16
    largest = math.ceil(config.batch_size / (config.accumulate * parallel.count()))
    # Never a micro-batch of one image, which batch norm could not normalise.
    pieces = min(math.ceil(len(labels) / largest), len(labels) // 2)
    cut = list(zip(images.tensor_split(pieces), labels.tensor_split(pieces), strict=True))
    with parallel.statistics_in_turn(run.model):
        for x, y in parallel.share(cut):
            with torch.autocast(device, half, enabled=config.amp):
                logits = run.model(x)
                # A network may have more logits than the set has classes.
                wanted = y if y.dim() == 1 else F.pad(y, (0, logits.shape[1] - y.shape[1]))
                loss = F.cross_entropy(
                    logits, wanted, label_smoothing=config.label_smoothing, reduction="sum"
                )
            # Divided by the whole batch: the micro-batches' gradients add up to the batch's mean.
            scaled = loss / len(labels) if weight == 1.0 else loss * (weight / len(labels))
            run.scaler.scale(scaled).backward()
            right = (logits.argmax(1) == hard(y)).sum()
            found = [loss.detach().double(), right.double(), right.new_tensor(len(y))]
            totals += torch.stack(found)
    return totals
