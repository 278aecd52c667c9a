"""The definitions of the shift operators in exact arithmetic: the oracle of their tests.

Fractions and Python's unbounded integers, one number at a time, with no thought of speed.
"""

import math
from fractions import Fraction
from itertools import product

import torch
from torch import Tensor

from saa_lite.kernels.geometry import Pair, output_shape


def quantize(w: float, lowest: int) -> float:
    """sgn(w)·2^round(log2 |w|) for |w| clamped to [2^lowest, 1]; 0 and NaN stay (DeepShift-Q).

    round(log2 |w|) ≥ p means |w| ≥ √2·2^(p−1); squared, w² ≥ 2^(2p−1), which is exact.
    """
    if w == 0 or math.isnan(w):
        return w
    squared = Fraction(min(max(abs(w), 2.0**lowest), 1.0)) ** 2
    power = next(p for p in range(0, lowest - 1, -1) if squared >= Fraction(2) ** (2 * p - 1))
    return math.copysign(2.0**power, w)


def power(p: float, s: float, lowest: int) -> float:
    """sgn(round(s))·2^round(p) for p clamped to [lowest, 0], ties to even (DeepShift-PS)."""
    if math.isnan(p) or math.isnan(s):
        return math.nan
    digit = 0.0 if abs(s) <= 0.5 else math.copysign(1.0, s)
    return digit * 2.0 ** round(min(max(p, lowest), 0))


def fixed_code(x: float, fraction_bits: int, integer_bits: int) -> int:
    """floor(x·2^f), held in [−2^(i−1)·2^f, (2^(i−1) − 1)·2^f]."""
    unit, bound = 2**fraction_bits, 2 ** (integer_bits - 1)
    inside = min(max(x, -bound), bound - 1)
    return math.floor(Fraction(inside) * unit)


def conv2d(
    input: Tensor,
    amount: Tensor,
    sign: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Y = Σ sign·floor(X·2^amount) over every receptive field, zero padding.

    Args:
        input: integers [B, C, H, W].
        amount, sign: integers [T, C/groups, kh, kw].

    Returns:
        int64 [B, T, H', W'].

    Raises:
        RuntimeError: (from torch) a sum that int64 cannot hold.
    """
    shape = output_shape(input, amount, stride, padding, dilation)
    channels, x = amount.shape[1], input.tolist()
    total = torch.zeros(shape, dtype=torch.int64)
    for b, t, row, column in product(*map(range, shape)):
        first, y = t // (shape[1] // groups) * channels, 0
        for c, kh, kw in product(*map(range, amount.shape[1:])):
            ih = row * stride[0] + kh * dilation[0] - padding[0]
            iw = column * stride[1] + kw * dilation[1] - padding[1]
            if 0 <= ih < input.shape[2] and 0 <= iw < input.shape[3]:
                scaled = Fraction(x[b][first + c][ih][iw]) * Fraction(2) ** int(
                    amount[t, c, kh, kw]
                )
                y += int(sign[t, c, kh, kw]) * math.floor(scaled)
        total[b, t, row, column] = y
    return total
