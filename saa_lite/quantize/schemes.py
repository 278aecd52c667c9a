"""Where the codes of an adder layer lie: one shared scale, or one per group of filters.

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

import torch
from torch import Tensor

from saa_lite.quantize.calibrate import SMALLEST_RANGE, InputRange
from saa_lite.quantize.grouping import group_filters
from saa_lite.quantize.uniform import signed_codes, unsigned_codes

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
