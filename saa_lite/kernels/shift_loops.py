"""Loops of the shift layers on a CPU: the integer convolution, and rounding to fixed point.

**The convolution** has shifts, additions and subtractions, and no multiplication. Work is split
into blocks of output pixels, counted through the whole batch. A block reads one tap (one input
channel at one kernel position) for all its pixels at a time; then every filter shifts that tap by
its own amount and adds or subtracts it. So each weight is decoded once per block, and the inner
loop runs over contiguous integers. Nothing is unfolded and nothing is padded: beside input and
output a task holds the sums of its filters and six lines of ``BLOCK`` integers.

Arrays: x int32 [B, C, H, W], amount and sign int8 [T, C/groups, kh, kw], y int64 [B, T, H', W'],
all C-contiguous. ``amount`` ≥ 0 shifts left, < 0 right (arithmetically, so rounding down).
``geometry`` is int64 [3, 2]: stride, padding and dilation for rows and columns; an array because
Numba cannot carry a tuple of pairs into a parallel loop.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.kernels.compile import compiled, drivers

Array = Any  # NumPy arrays; inside the kernels types come from Numba

BLOCK = 256  # pixels; 128 and 512 are within 20 % on one core, 64 takes up to 70 % longer


@compiled(error_model="numpy")
def _accumulate(total: Array, tap: Array, amount: Any, sign: Any) -> None:
    """total += sign·2^amount·tap without a product; the branches lie outside the loops."""
    if sign > 0 and amount >= 0:
        for i in range(tap.size):
            total[i] += tap[i] << amount
    elif sign < 0 and amount >= 0:
        for i in range(tap.size):
            total[i] -= tap[i] << amount
    elif sign > 0:
        for i in range(tap.size):
            total[i] += tap[i] >> -amount
    elif sign < 0:
        for i in range(tap.size):
            total[i] -= tap[i] >> -amount


@compiled(error_model="numpy")
def _block(
    x: Array, amount: Array, sign: Array, y: Array, task: int, geometry: Array, groups: int
) -> None:
    """Y for one block of pixels and all filters of one group."""
    stride, padding, dilation = geometry[0], geometry[1], geometry[2]
    filters, channels = amount.shape[0] // groups, amount.shape[1]
    pixels, area = y.shape[0] * y.shape[2] * y.shape[3], y.shape[2] * y.shape[3]
    # prange counts in uint64, and uint64 with int64 would turn every index into a float.
    group, block = divmod(np.int64(task), -(-pixels // BLOCK))
    pixel = np.arange(block * BLOCK, min(pixels, (block + 1) * BLOCK))
    image, row, column = pixel // area, pixel % area // y.shape[3], pixel % y.shape[3]
    tap, totals = np.empty_like(pixel), np.zeros((filters, pixel.size), np.int64)
    for c in range(channels):
        for kh in range(amount.shape[2]):
            for kw in range(amount.shape[3]):
                for i in range(tap.size):  # what this kernel position sees from every pixel
                    ih = row[i] * stride[0] + kh * dilation[0] - padding[0]
                    iw = column[i] * stride[1] + kw * dilation[1] - padding[1]
                    inside = 0 <= ih < x.shape[2] and 0 <= iw < x.shape[3]
                    tap[i] = x[image[i], group * channels + c, ih, iw] if inside else 0
                for t in range(filters):
                    weight = (group * filters + t, c, kh, kw)
                    _accumulate(totals[t], tap, np.int64(amount[weight]), sign[weight])
    for t in range(filters):
        for i in range(tap.size):
            y[image[i], group * filters + t, row[i], column[i]] = totals[t, i]


@drivers(nogil=True)
def shift_conv2d(
    x: Array, amount: Array, sign: Array, y: Array, geometry: Array, groups: int
) -> None:
    """Y = Σ sign·(X shifted by amount), zero padding; threads share out the blocks."""
    for task in prange(groups * -(-(y.shape[0] * y.shape[2] * y.shape[3]) // BLOCK)):
        _block(x, amount, sign, y, task, geometry, groups)


@drivers(nogil=True, error_model="numpy")
def round_down(x: Array, y: Array, scale: Any, low: Any, high: Any) -> None:
    """Y = ⌊x·scale⌋/scale within [low, high], float32 [N], in one pass; NaN stays NaN.

    ``scale`` is a power of two, so the floor is the only rounding.
    """
    step = np.float32(1) / scale
    for i in prange(x.size):
        value = np.floor(x[i] * scale) * step
        value = low if value < low else value
        y[i] = high if value > high else value
