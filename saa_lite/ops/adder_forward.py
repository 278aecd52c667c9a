"""The float32 adder convolution on a CPU in explicit vectors: walking over an image.

A task is a band of output rows of one image. Within it, the sixteen filters of a block stay put
while tiles of eight pixels pass, so that a block's weights stay in the nearest cache. A *segment*
is a stretch of the input whose taps lie side by side: a whole row of the kernel where dilation and
groups allow. Stride, dilation and groups only change addresses.

Sums run in the order of the taps, one accumulator per output, whatever the thread count.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops import vector_ir
from saa_lite.ops._compile import compiled
from saa_lite.ops.adder_tiles import FLOAT, VECTOR, distance_tile, sum_run
from saa_lite.ops.bands import band_limits, keep, load_band, new_band, rows_together, store_band

Array = Any
LANES = vector_ir.LANES
_eight, _four, _one = distance_tile(8), distance_tile(4), distance_tile(1)


@compiled()
def _channel_sums(address: int, step: int, run: int, sums: Array) -> None:
    """Sum of ``run`` channels of every pixel; ``address`` of the first, ``step`` bytes apart."""
    for i in range(sums.size):
        sums[i] = sum_run(address + i * step, run)


@compiled()
def _patch_sums(sums: Array, plan: Array, column: Array, result: Array) -> None:
    """Σx of every patch, [R', W'], from the channel sums [R, W] of a band and scratch [W]."""
    for r in range(result.shape[0]):
        for i in range(column.size):
            column[i] = 0
        for kh in range(plan[4]):
            row = r * plan[0] + kh * plan[2]
            for i in range(column.size):
                column[i] += sums[row, i]
        for i in range(result.shape[1]):
            result[r, i] = column[i * plan[1]]
        for kw in range(1, plan[5]):
            for i in range(result.shape[1]):
                result[r, i] += column[i * plan[1] + kw * plan[3]]


@compiled()
def _row(
    x: int, step: int, segments: int, count: int, run: int, w: int, w_sum: int, x_sum: int,
    y: int, y_step: int, width: int, lanes: int,
) -> None:  # fmt: skip
    """All pixels of one output row for the filters of one block; all but the sizes are addresses.

    Addresses, because a view of an array costs as much here as a small tile.
    """
    pixels = 8 if width >= 8 else 4 if width >= 4 else 1
    column = 0
    while column < width:
        p = min(column, width - pixels)  # the last tile reaches back: same sums again
        source, target, patch = x + p * step, y + p * y_step, x_sum + p * FLOAT
        if pixels == 8:
            _eight(source, step, segments, count, run, w, w_sum, patch, target, y_step, lanes)
        elif pixels == 4:
            _four(source, step, segments, count, run, w, w_sum, patch, target, y_step, lanes)
        else:
            _one(source, step, segments, count, run, w, w_sum, patch, target, y_step, lanes)
        column += pixels


@compiled()
def _band(
    x: Array, w: Array, w_sum: Array, segments: Array, run: int, y: Array, task: int, bands: int,
    plan: Array,
) -> None:  # fmt: skip
    """One band; plan: stride, dilation, kernel, padding (rows, columns), planar, direct."""
    planar, direct = plan[8] == 1, plan[9] == 1
    height, width = (y.shape[2], y.shape[3]) if planar else (y.shape[1], y.shape[2])
    image, first, rows = band_limits(task, bands, height)
    if rows == 0:
        return
    channels, filters = (x.shape[1], y.shape[1]) if planar else (x.shape[3], y.shape[3])
    reach = (rows - 1) * plan[0] + (plan[4] - 1) * plan[2] + 1
    columns = (x.shape[3] if planar else x.shape[2]) + 2 * plan[7]
    padded = new_band(0 if direct else reach, columns, channels)
    if direct:
        start = x[image, first * plan[0]].ctypes.data
    else:
        load_band(x, image, planar, first * plan[0] - plan[6], plan[7], padded)
        start = padded.ctypes.data
    out = new_band(rows if planar else 0, width, filters)
    target = out.ctypes.data if planar else y[image, first].ctypes.data
    groups, blocks = w.shape[0], w.shape[1]
    per_group, pixel = filters // groups, channels * FLOAT
    sums, patch = np.empty((reach, columns), np.float32), np.empty((rows, width), np.float32)
    scratch = np.empty(columns, np.float32)
    together = rows_together(rows, blocks * w.shape[2] * VECTOR)
    table, count, taps = segments.ctypes.data, segments.size, w.shape[2]
    for group in range(groups):
        own = start + group * (channels // groups) * FLOAT
        for r in range(reach):
            _channel_sums(own + r * columns * pixel, pixel, channels // groups, sums[r])
        _patch_sums(sums, plan, scratch, patch)
        for chunk in range(-(-rows // together) * blocks):
            block, begin = chunk % blocks, chunk // blocks * together
            index = group * blocks + block
            weights = w.ctypes.data + index * taps * VECTOR
            filter_sums = w_sum.ctypes.data + index * VECTOR
            at = target + (group * per_group + block * LANES) * FLOAT
            lanes = min(LANES, per_group - block * LANES)
            for r in range(begin, min(begin + together, rows)):
                _row(
                    own + r * plan[0] * columns * pixel, plan[1] * pixel, table, count, run,
                    weights, filter_sums, patch.ctypes.data + r * width * FLOAT,
                    at + r * width * filters * FLOAT, filters * FLOAT, width, lanes,
                )  # fmt: skip
    if planar:
        store_band(y, image, first, out)
    keep(padded)
    keep(patch)


@compiled()
def forward_serial(
    x: Array, w: Array, w_sum: Array, segments: Array, run: int, y: Array, bands: int, plan: Array
) -> None:
    """All bands on the calling thread.

    x, y: both [B, C, H, W] (planar) or both [B, H, W, C], contiguous; w [groups, blocks, taps, 16];
    w_sum [groups, blocks, 16]; segments: byte offsets of the stretches of ``run`` taps; plan as in
    :func:`_band`.
    """
    for task in range(x.shape[0] * bands):
        _band(x, w, w_sum, segments, run, y, task, bands, plan)


@compiled(parallel=True)
def forward_parallel(
    x: Array, w: Array, w_sum: Array, segments: Array, run: int, y: Array, bands: int, plan: Array
) -> None:
    """As :func:`forward_serial`, bands shared out among threads; the same bits."""
    for task in prange(x.shape[0] * bands):
        _band(x, w, w_sum, segments, run, y, task, bands, plan)
