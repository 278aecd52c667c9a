"""The uint8 adder convolution on a CPU, as plainly as it can be written.

For machines without the vector instructions, and for reading. Work is split into blocks of output
pixels, counted through the whole batch. What one tap (an input channel at a kernel position) sees
from the pixels of a block is written out once, padding included; then every filter of the group
adds its distances to it. The innermost loop runs over contiguous integers, which the compiler turns
into vector instructions; nothing is unfolded.

``plan`` is an int64 array [3, 2]: stride, padding and dilation, each for rows and columns. All
helpers stay in this file: Numba's disk cache does not notice edits in imported ones.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops._compile import compiled

Array = Any  # NumPy arrays; inside the kernels types come from Numba

BLOCK = 256  # pixels: the sums of a hundred filters stay in the second-level cache


@compiled(error_model="numpy")
def _look(seen: Array, x: Array, places: Array, channel: int, down: int, right: int) -> None:
    """What one kernel position sees from every pixel; pixels outside the image are left alone."""
    for i in range(len(seen)):
        row, column = places[1, i] + down, places[2, i] + right
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            seen[i] = x[places[0, i], channel, row, column]


@compiled(error_model="numpy")
def _add_distances(sums: Array, seen: Array, taps: Array) -> None:
    """sums[t] += |seen − taps[t]|, written so that Numba need not widen to 64 bits."""
    for t in range(len(taps)):
        tap = np.int32(taps[t])
        for i in range(len(seen)):
            sums[t, i] += max(seen[i], tap) - min(seen[i], tap)


@compiled(error_model="numpy")
def _block(x: Array, w: Array, y: Array, task: int, plan: Array, groups: int, value: int) -> None:
    """Y = −Σ |X − W| for one block of pixels and all filters."""
    stride, padding, dilation = plan[0], plan[1], plan[2]
    rows, columns = y.shape[2], y.shape[3]
    first = np.int64(task) * BLOCK  # prange counts in uint64
    count = min(BLOCK, y.shape[0] * rows * columns - first)
    places = np.empty((3, count), np.int64)  # image, and the input corner under the kernel
    for i in range(count):
        line, column = divmod(first + i, columns)
        places[0, i] = line // rows
        places[1, i] = line % rows * stride[0] - padding[0]
        places[2, i] = column * stride[1] - padding[1]
    seen, sums = np.empty(count, np.int32), np.zeros((y.shape[1], count), np.int32)
    channels, filters = w.shape[1], w.shape[0] // groups
    for c in range(x.shape[1]):
        group = c // channels * filters
        for kh in range(w.shape[2]):
            for kw in range(w.shape[3]):
                seen[:] = value
                _look(seen, x, places, c, kh * dilation[0], kw * dilation[1])
                taps = w[group : group + filters, c % channels, kh, kw]
                _add_distances(sums[group : group + filters], seen, taps)
    for t in range(y.shape[1]):
        for i in range(count):
            line, column = divmod(first + i, columns)
            y[line // rows, t, line % rows, column] = -sums[t, i]


@compiled(nogil=True)
def plain_serial(x: Array, w: Array, y: Array, plan: Array, groups: int, value: int) -> None:
    """All blocks on the calling thread. x [B, C, H, W], w [T, C/groups, kh, kw], y [B, T, …]."""
    for task in range(-(-y.shape[0] * y.shape[2] * y.shape[3] // BLOCK)):
        _block(x, w, y, task, plan, groups, value)


@compiled(nogil=True, parallel=True)
def plain_parallel(x: Array, w: Array, y: Array, plan: Array, groups: int, value: int) -> None:
    """As :func:`plain_serial`, blocks shared out among threads."""
    for task in prange(-(-y.shape[0] * y.shape[2] * y.shape[3] // BLOCK)):
        _block(x, w, y, task, plan, groups, value)
