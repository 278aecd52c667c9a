"""Clamp, groups and scales of adder layers: where their codes lie.

**The lossless clamp** of weights (Nie et al., redistribution method; ours for non-negative inputs).

If low ≤ x ≤ high, then for every weight w::

    |x − w| = |x − clip(w, low, high)| + |w − clip(w, low, high)|

because the clipped weight lies between x and w. The second term does not depend on x: summed over
a filter it is a constant of that filter, and the sum holds whatever the window, padded zeros
included as long as low ≤ 0 ≤ high. With low = −S this is the published clamp; its constant is
Σ max(|w| − S, 0). With low = 0 and inputs x ≥ 0, behind a ReLU, negative weights vanish into the
constant as well, Σ [max(w − S, 0) + max(−w, 0)], and need no codes: our extension, whose idea is
also in the title of NN-AdderNet (DAC 2025).

**Groups** of filters have a similar weight range (Nie et al.: 1-D k-means on a_t = max|w_t|). The
released code runs k-means with random starts, which fails on an empty group and cuts ties at
random. In one dimension the best grouping is known to be intervals of the sorted values, and
dynamic programming finds it: the same objective, no starts, never an empty group (our reading).

**Scales**: one shared by a layer, or one per group of filters.
|s_x·x̂ − s_w·ŵ| is an integer distance times one factor only if both steps agree, or if one is an
integer multiple of the other. Each scheme here is a choice of that common step.

**QSSF**, Wang et al. (2021), of which the abstract was at hand: one scale for the whole layer,
symmetric signed codes for both (as in Nie et al., Fig. 1). Which range fixes the scale is open, so
there are three. From weights or activations the other one may be clamped hard (over clamp); from
both, the greater, one of them uses few codes (bits waste).

**Redistribution**, Nie et al., official code: filters in groups of similar range, per group
S = min(max|w|, r_x), weights clamped to ±S with exact compensation, inputs x ≥ 0 on the step
S/(2^b − 1) and weights on **twice** that step, since their codes need a sign: |x̂ − 2ŵ|.
Inputs of either sign (behind linear bottlenecks, in transformers) have signed codes on the step of
the weights: our reading, the released code clamps them to 0.

**Non-negative**, ours: the lossless clamp for x ≥ 0 needs no codes for negative weights, so that
inputs and weights are both unsigned on one step and no bit is spent on a sign. S is the least of
r_x and the greatest *positive* weight. Layers with inputs of either sign fall back to
redistribution, and their scheme says so.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saa_lite.quantize.calibrate import SMALLEST_RANGE, InputRange
from saa_lite.quantize.uniform import signed_codes, unsigned_codes


def lossless_clamp(weight: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Clip the weights and return what has to be subtracted from the output for it.

    Args:
        weight: [T, ...], filters first.
        low, high: [T] each, bounds of the inputs that filter t sees; low ≤ 0 ≤ high.

    Returns:
        (clipped weights [T, ...], excess [T]), with −Σ|x − w| = −Σ|x − clipped| − excess.
    """
    shape = (-1, *[1] * (weight.dim() - 1))
    clipped = weight.clamp(low.reshape(shape), high.reshape(shape))
    return clipped, (weight - clipped).abs().flatten(1).sum(1)


def group_filters(sizes: Tensor, groups: int) -> Tensor:
    """Labels 0 … g − 1 of the filters, ascending with their size, g = min(groups, filters).

    Minimises Σ (size − mean of its group)²; of equally good cuts the leftmost.

    Args:
        sizes: [T], one number per filter, at least one.

    Returns:
        int64 [T] on the device of ``sizes``; every label occurs.
    """
    order = sizes.argsort(stable=True)
    ordered = sizes[order].double().cpu().numpy()
    starts = _best_starts(ordered, min(groups, len(ordered)))
    label_of_rank = np.searchsorted(starts, np.arange(len(ordered)), side="right") - 1
    labels = torch.empty_like(order)
    labels[order] = torch.from_numpy(label_of_rank).to(order)
    return labels


def _best_starts(ordered: np.ndarray, groups: int) -> list[int]:
    """Where each of the groups begins in the sorted values."""
    cost = _interval_costs(ordered)
    count = len(ordered)
    best, cuts = cost[0], []  # best[j]: cost of the first j values in the groups so far
    for _ in range(groups - 1):
        totals = best[:, None] + cost  # [i, j]: the new group holds the values i … j − 1
        cuts.append(totals.argmin(0))
        best = totals.min(0)
    starts, end = [], count
    for cut in reversed(cuts):
        end = int(cut[end])
        starts.append(end)
    return [0, *reversed(starts)]


def _interval_costs(ordered: np.ndarray) -> np.ndarray:
    """[i, j]: Σ (v − mean)² of the values i … j − 1; infinite where i ≥ j, as no group is empty."""
    centred = ordered - ordered.mean()  # so that the difference of sums below loses few digits
    first = np.concatenate([[0.0], centred.cumsum()])
    second = np.concatenate([[0.0], (centred**2).cumsum()])
    lengths = np.arange(len(first)) - np.arange(len(first))[:, None]
    sums, squares = first - first[:, None], second - second[:, None]
    costs = np.maximum(squares - sums**2 / np.maximum(lengths, 1), 0.0)
    return np.where(lengths > 0, costs, np.inf)


QSSF = ("qssf-weights", "qssf-activations", "qssf-both")
GROUPED = ("redistribution", "non-negative")
Codes = tuple[int, int]


@dataclass(frozen=True)
class Scheme:
    """How one layer is quantised, G groups of filters.

    Attributes:
        method: one of QSSF or GROUPED; what the layer got, not what was asked for.
        bits: of inputs and of weights.
        group_of: int64 [T], the group of each filter.
        bound: [G], the range S.
        levels: S / levels is the step of the inputs.
        ratio: step of the weights / step of the inputs, 1 or 2.
        inputs, weights: first and last code.
        clamp: what the lossless clamp assumes of the inputs: "none" (weights are not clamped
            before rounding), "symmetric" or "non-negative".
    """

    method: str
    bits: int
    group_of: Tensor
    bound: Tensor
    levels: float
    ratio: int
    inputs: Codes
    weights: Codes
    clamp: str


def qssf(
    weight: Tensor, found: InputRange, bits: int, method: str, inputs: str = "signed"
) -> Scheme:
    """One scale for the layer.

    Args:
        weight: [T, ...].
        method: one of :data:`QSSF`.
        inputs: ``"signed"``, symmetric codes as for the weights; ``"unsigned"`` spends no sign bit
            on inputs that are never negative (same step, twice the range; our variant).
    """
    unsigned = inputs == "unsigned" and not found.signed
    codes = unsigned_codes(bits) if unsigned else signed_codes(bits)
    levels = signed_codes(bits)[1]
    # Ranges in units of the weights' last code, so that the greater is the greater step.
    ranges = {
        "qssf-weights": weight.abs().amax().item(),
        "qssf-activations": found.bound * levels / codes[1],
    }
    ranges["qssf-both"] = max(ranges.values())
    bound = weight.new_tensor([max(ranges[method], SMALLEST_RANGE)])
    one_group = torch.zeros(len(weight), dtype=torch.int64, device=weight.device)
    return Scheme(
        method, bits, one_group, bound, levels, 1, codes, signed_codes(bits), clamp="none"
    )


def grouped(weight: Tensor, found: InputRange, bits: int, method: str, groups: int) -> Scheme:
    """Redistribution or its non-negative extension, with up to ``groups`` groups."""
    if method == "non-negative" and found.signed:
        method = "redistribution"
    positive = method == "non-negative"
    rows = weight.flatten(1)
    sizes = rows.amax(1).clamp_min(0) if positive else rows.abs().amax(1)
    group_of = group_filters(sizes, groups)
    greatest = sizes.new_zeros(int(group_of.max()) + 1).scatter_reduce(0, group_of, sizes, "amax")
    bound = greatest.clamp(SMALLEST_RANGE, found.bound)
    inputs = signed_codes(bits) if found.signed else unsigned_codes(bits)
    return Scheme(
        method,
        bits,
        group_of,
        bound,
        levels=(2**bits - 1) / (2 if found.signed else 1),
        ratio=1 if positive or found.signed else 2,
        inputs=inputs,
        weights=unsigned_codes(bits) if positive else signed_codes(bits),
        clamp="non-negative" if positive else "symmetric",
    )
