"""Readable Numba loops: what computes where no vector kernel applies, and the place to read first.

Nothing is unfolded and nothing is padded. ``geometry`` is int64 [3, 2]: stride, padding and
dilation, each for rows and columns; an array, as Numba carries no tuple of pairs into ``prange``.

**The adder convolution**, one task per image row: a tap outside the image sees x = 0, so it adds
|0 − w|. The innermost loop runs along a row, which the compiler turns into vector instructions.

**The shift convolution** has shifts, additions and subtractions, and no multiplication. A block of
output pixels reads one tap (one input channel at one kernel position) at a time; then every filter
shifts that tap by its own amount and adds or subtracts it: each weight is decoded once per block.
x int32 [B, C, H, W], amount and sign int8 [T, C/groups, kh, kw], y int64 [B, T, H', W'], all
C-contiguous; ``amount`` ≥ 0 shifts left, < 0 right (arithmetically, so rounding down).
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.kernels.compile import compiled, drivers

Array = Any  # NumPy arrays; inside the kernels types come from Numba


@compiled(error_model="numpy")
def _inside(outputs: int, inputs: int, stride: int, offset: int) -> Any:
    """Output positions o (first, stop) whose tap o·stride + offset lies inside 0 … inputs − 1."""
    first = 0 if offset >= 0 else (-offset + stride - 1) // stride
    stop = 0 if offset >= inputs else (inputs - 1 - offset) // stride + 1
    first = min(first, outputs)
    return first, min(max(stop, first), outputs)


@compiled(error_model="numpy")
def _forward_row(x: Array, w: Array, y: Array, task: int, geometry: Any, groups: int) -> None:
    """Y[b, n, oh, :] = −Σ_{c, kh, kw} |X − W| for one image b and one output row oh, all n."""
    stride, padding, dilation = geometry[0], geometry[1], geometry[2]
    filters, channels, kernel_rows, kernel_columns = w.shape
    b, oh = task // y.shape[2], task % y.shape[2]
    for n in range(filters):
        first_channel = n // (filters // groups) * channels
        out = y[b, n, oh]
        out[:] = 0
        for c in range(channels):
            for kh in range(kernel_rows):
                ih = oh * stride[0] + kh * dilation[0] - padding[0]
                row_exists = 0 <= ih < x.shape[2]
                row = x[b, first_channel + c, ih if row_exists else 0]
                for kw in range(kernel_columns):
                    tap = w[n, c, kh, kw]
                    offset = kw * dilation[1] - padding[1]
                    first, stop = _inside(len(out), len(row), stride[1], offset)
                    if not row_exists:
                        first = stop = len(out)
                    for ow in range(first):
                        out[ow] -= abs(tap)
                    for ow in range(first, stop):
                        out[ow] -= abs(row[ow * stride[1] + offset] - tap)
                    for ow in range(stop, len(out)):
                        out[ow] -= abs(tap)


@compiled(error_model="numpy")
def _input_gradient_row(
    x: Array, w: Array, g: Array, dx: Array, task: int, geometry: Any, groups: int, sign_only: bool
) -> None:
    """dX[b, c, ih, :] = Σ_{n, kh, kw} G·clip(W − X, −1, 1), or G·sgn(W − X), for one row, all c."""
    stride, padding, dilation = geometry[0], geometry[1], geometry[2]
    filters, channels, kernel_rows, kernel_columns = w.shape
    b, ih = task // x.shape[2], task % x.shape[2]
    for n in range(filters):
        first_channel = n // (filters // groups) * channels
        for kh in range(kernel_rows):
            oh, between = divmod(ih + padding[0] - kh * dilation[0], stride[0])
            if between or not 0 <= oh < g.shape[2]:
                continue
            upstream = g[b, n, oh]
            for c in range(channels):
                row, out = x[b, first_channel + c, ih], dx[b, first_channel + c, ih]
                for kw in range(kernel_columns):
                    tap = w[n, c, kh, kw]
                    offset = kw * dilation[1] - padding[1]
                    first, stop = _inside(len(upstream), len(row), stride[1], offset)
                    for ow in range(first, stop):
                        iw = ow * stride[1] + offset
                        out[iw] += upstream[ow] * _surrogate(tap - row[iw], sign_only)


@compiled(error_model="numpy")
def _surrogate(d: Any, sign_only: bool) -> Any:
    """sgn(d), or d clipped to [−1, 1]; NaN stays NaN because it fails every comparison."""
    bound = 0 if sign_only else 1
    if d > bound:
        return type(d)(1)
    return type(d)(-1) if d < -bound else d


@compiled(error_model="numpy")
def _weight_gradient_filter(
    x: Array, w: Array, g: Array, dw: Array, n: int, geometry: Any, groups: int
) -> None:
    """dW[n] = Σ_{b, oh, ow} G·sgn(X − W), a padded tap being x = 0; for one filter n."""
    stride, padding, dilation = geometry[0], geometry[1], geometry[2]
    filters, channels, kernel_rows, kernel_columns = w.shape
    first_channel = n // (filters // groups) * channels
    for c in range(channels):
        for kh in range(kernel_rows):
            for kw in range(kernel_columns):
                tap, total = w[n, c, kh, kw], 0.0
                offset = kw * dilation[1] - padding[1]
                first, stop = _inside(g.shape[3], x.shape[3], stride[1], offset)
                for b in range(x.shape[0]):
                    for oh in range(g.shape[2]):
                        ih = oh * stride[0] + kh * dilation[0] - padding[0]
                        row_exists = 0 <= ih < x.shape[2]
                        for ow in range(g.shape[3]):
                            value = x.dtype.type(0)
                            if row_exists and first <= ow < stop:
                                value = x[b, first_channel + c, ih, ow * stride[1] + offset]
                            total += g[b, n, oh, ow] * _surrogate(value - tap, True)
                dw[n, c, kh, kw] = total


@drivers()
def forward(x: Array, w: Array, y: Array, geometry: Any, groups: int) -> None:
    """x [B, C, H, W], w [T, C/groups, kh, kw], y [B, T, H', W']; threads share out the rows."""
    for task in prange(y.shape[0] * y.shape[2]):
        _forward_row(x, w, y, task, geometry, groups)


@drivers()
def input_gradient(
    x: Array, w: Array, g: Array, dx: Array, geometry: Any, groups: int, sign_only: bool
) -> None:
    """Add the input gradient to ``dx`` (zeros on entry); threads share out the rows."""
    for task in prange(x.shape[0] * x.shape[2]):
        _input_gradient_row(x, w, g, dx, task, geometry, groups, sign_only)


@drivers()
def weight_sign_gradient(
    x: Array, w: Array, g: Array, dw: Array, geometry: Any, groups: int
) -> None:
    """Σ G·sgn(X − W) into ``dw``; threads share out the filters."""
    for n in prange(w.shape[0]):
        _weight_gradient_filter(x, w, g, dw, n, geometry, groups)


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
    """Y = ⌊x·scale⌋/scale in [low, high], float32 [N], ``scale`` a power of 2; NaN stays NaN."""
    step = np.float32(1) / scale
    for i in prange(x.size):
        value = np.floor(x[i] * scale) * step
        value = low if value < low else value
        y[i] = high if value > high else value
