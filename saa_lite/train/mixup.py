"""Mixup (Zhang et al., 2018): each image a mixture of two, and its label, too.

λ ~ Beta(α, α) for the whole batch, and a permutation that says who is mixed with whom, as in the
authors' code::

    x ← λ·x + (1 − λ)·x[order],    loss ← λ·CE(f(x), y) + (1 − λ)·CE(f(x), y[order])

It is a regulariser: a network that overfits gains by it, one that underfits loses. NetAug's account
of its own gain rests on that (their figure 2: mixup hurts a tiny network), so it serves as a probe.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.data.seeds import generator_for

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
