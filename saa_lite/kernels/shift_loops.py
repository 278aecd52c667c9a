"""The integer shift convolution on a CPU: shifts, additions and subtractions, no multiplication.

Work is split into blocks of output pixels, counted through the whole batch. A block reads one tap
(one input channel at one kernel position) for all its pixels at a time; then every filter shifts
that tap by its own amount and adds or subtracts it. So each weight is decoded once per block, and
the inner loop runs over contiguous integers. Nothing is unfolded and nothing is padded: beside
input and output a task holds the sums of its filters and six lines of ``BLOCK`` integers.

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
def _pixel_count(y: Array) -> Any:
    return y.shape[0] * y.shape[2] * y.shape[3]


@compiled(error_model="numpy")
def _locate(place: Array, y: Array, first: int, geometry: Array) -> None:
    """For each pixel: image, output row and column, and the input corner under its kernel."""
    stride, padding = geometry[0], geometry[1]
    image, row, column, top, left = place
    for i in range(image.size):
        line, column[i] = divmod(first + i, y.shape[3])
        image[i], row[i] = divmod(line, y.shape[2])
        top[i] = row[i] * stride[0] - padding[0]
        left[i] = column[i] * stride[1] - padding[1]


@compiled(error_model="numpy")
def _read_tap(tap: Array, x: Array, place: Array, channel: int, down: int, right: int) -> None:
    """What one kernel position sees from every pixel; 0 in the padding."""
    image, _, _, top, left = place
    for i in range(tap.size):
        ih, iw = top[i] + down, left[i] + right
        inside = 0 <= ih < x.shape[2] and 0 <= iw < x.shape[3]
        tap[i] = x[image[i], channel, ih, iw] if inside else 0


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
    dilation = geometry[2]
    filters, channels = amount.shape[0] // groups, amount.shape[1]
    pixels = _pixel_count(y)
    # prange counts in uint64, and uint64 with int64 would turn every index into a float.
    group, block = divmod(np.int64(task), -(-pixels // BLOCK))
    place = np.empty((5, min(BLOCK, pixels - block * BLOCK)), np.int64)
    places = (place[0], place[1], place[2], place[3], place[4])
    _locate(places, y, block * BLOCK, geometry)
    tap = np.empty_like(place[0])
    totals = np.zeros((filters, tap.size), np.int64)
    for c in range(channels):
        for kh in range(amount.shape[2]):
            for kw in range(amount.shape[3]):
                down, right = kh * dilation[0], kw * dilation[1]
                _read_tap(tap, x, places, group * channels + c, down, right)
                for t in range(filters):
                    weight = (group * filters + t, c, kh, kw)
                    _accumulate(totals[t], tap, np.int64(amount[weight]), sign[weight])
    image, row, column, _, _ = places
    for t in range(filters):
        for i in range(tap.size):
            y[image[i], group * filters + t, row[i], column[i]] = totals[t, i]


@drivers(nogil=True)
def shift_conv2d(
    x: Array, amount: Array, sign: Array, y: Array, geometry: Array, groups: int
) -> None:
    """Y = Σ sign·(X shifted by amount), zero padding; threads share out the blocks."""
    for task in prange(groups * -(-_pixel_count(y) // BLOCK)):
        _block(x, amount, sign, y, task, geometry, groups)
