"""How far a set of weights is from a normal or a Laplace distribution, in nats per weight.

Two estimates of KL(sample ‖ Q). :func:`kl_to_gaussian` and :func:`kl_to_laplace` are differentiable
and serve as loss terms, as ShiftAddNAS (ICML 2022) describes them. That paper's released code holds
no such term, so the estimator is our reading: entropy from the spacings of the sorted sample
(Vasicek, 1976). :func:`binned_kl_to_laplace` counts in bins; it stays finite for rounded weights,
whose true divergence from a density is infinite.
"""

import math

import torch
from torch import Tensor

from saa_lite.augment.remap_curve import Number
from saa_lite.errors import UsageError

SPACING = 10  # order statistics on each side; bias and spread below 0.003 from 2,000 weights up
SMALLEST = 5  # weights from which an entropy is estimated at all


def entropy(w: Tensor) -> Tensor:
    """Differential entropy of the sample ``w`` in nats, a scalar; any shape, 5 weights or more.

    Mean of ln(w₍ᵢ₊ₘ₎ − w₍ᵢ₋ₘ₎) − ψ(k) + ψ(n + 1), k the number of spacings spanned (fewer at the
    ends): unbiased where the density is flat over k spacings. Equal weights count as one rounding
    step apart, so a discrete sample gives a large negative number, not −∞.
    """
    if w.numel() < SMALLEST:
        raise UsageError(f"w must hold at least {SMALLEST} weights; got {w.numel()}")
    ordered = w.flatten().sort().values
    n = ordered.numel()
    index = torch.arange(n, device=w.device)
    reach = min(SPACING, n // 4)
    high, low = (index + reach).clamp(max=n - 1), (index - reach).clamp(min=0)
    smallest = torch.finfo(w.dtype).eps * ordered.detach().abs().amax()
    gap = (ordered[high] - ordered[low]).clamp_min(smallest + torch.finfo(w.dtype).tiny)
    spanned = torch.digamma((high - low).to(w.dtype))
    return (gap.log() - spanned).mean() + torch.digamma(w.new_tensor(n + 1))


def kl_to_gaussian(w: Tensor, mean: Number, std: Number) -> Tensor:
    """KL(w ‖ N(mean, std²)), a differentiable scalar; noise may take it slightly below 0."""
    std = torch.as_tensor(std, dtype=w.dtype, device=w.device)
    density = -0.5 * ((w - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    return -entropy(w) - density.mean()


def kl_to_laplace(w: Tensor, scale: Number) -> Tensor:
    """KL(w ‖ Laplace(0, scale)), a differentiable scalar; noise may take it slightly below 0."""
    scale = torch.as_tensor(scale, dtype=w.dtype, device=w.device)
    return -entropy(w) + (w.abs() / scale).mean() + (2 * scale).log()


def binned_kl_to_laplace(w: Tensor, scale: float, bins: int = 64) -> float:
    """KL of the histogram over ``bins`` bins that Laplace(0, scale) fills equally; at most ln bins.

    A lower bound on the true divergence. n exact Laplace numbers give about (bins − 1)/(2n).
    """
    if bins % 2 or bins < 2:
        raise UsageError(f"bins must be an even number above 0; got {bins!r}")
    # F_l(w) is 1 − tail for w > 0 and tail below: counting tails needs no rounding near 1.
    tail = 0.5 * torch.exp(-w.detach().double().flatten().abs() / scale)
    index = (tail * bins).long().clamp(max=bins // 2 - 1)
    side = torch.where(w.flatten() > 0, bins - 1 - index, index)
    share = torch.bincount(side, minlength=bins).double() / w.numel()
    return float(torch.special.xlogy(share, share * bins).sum())
