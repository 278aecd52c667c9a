"""The float32 adder convolution on a CPU in explicit vectors: walking over an image.

A task is a band of output rows of one image. Within it, the sixteen filters of a block stay put
while tiles of a few pixels pass, so that a block's weights stay in the nearest cache. A *segment*
is a stretch of the input whose taps lie side by side: a whole row of the kernel where dilation and
groups allow. Stride, dilation and groups only change addresses.

Sums run in the order of the taps, one accumulator per output, whatever the thread count.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops import adder_plan as at
from saa_lite.ops._compile import compiled, drivers
from saa_lite.ops.adder_blocks import blocks_of, pack_filters
from saa_lite.ops.bands import (
    address_of,
    band_limits,
    keep,
    load_band,
    new_floats,
    next_tiles,
    rows_together,
    store_band,
    tile_at,
)
from saa_lite.ops.vector_ir import BYTES, FLOAT, LANES, call
from saa_lite.ops.vector_moves import add_run, copy_bytes, sum_runs

Array = Any


@compiled()
def _joined(plan: Array) -> bool:
    """Whether the taps of a whole kernel row lie side by side in the input."""
    return plan[at.DILATION_COLUMNS] == 1 and plan[at.GROUPS] == 1


@compiled()
def _segments(plan: Array, columns: int) -> Array:
    """Byte offsets, from a patch's corner, of the stretches of taps; ``columns`` of a band."""
    across = 1 if _joined(plan) else plan[at.KERNEL_COLUMNS]
    offsets = np.empty(plan[at.KERNEL_ROWS] * across, np.int64)
    for i in range(offsets.size):
        pixels = i // across * plan[at.DILATION_ROWS] * columns
        pixels += i % across * plan[at.DILATION_COLUMNS]
        offsets[i] = pixels * plan[at.CHANNELS] * FLOAT
    return offsets


@compiled()
def _channel_sums(band: int, plan: Array, sums: Array) -> None:
    """Sums of a group's channels for every pixel of a band; ``band``: of the first such channel."""
    pixel, run = plan[at.CHANNELS] * FLOAT, plan[at.CHANNELS] // plan[at.GROUPS]
    for i in range(0, sums.size, LANES):
        target = sums.ctypes.data + i * FLOAT
        sum_runs(band + i * pixel, pixel, run, min(LANES, sums.size - i), target)


@compiled()
def _patch_sums(sums: Array, plan: Array, scratch: Array, patches: Array) -> None:
    """Σx of every patch, for a corner at every column, from the sums [R, W] of a band.

    ``patches`` is [R', W] and ``scratch`` as large; where a row is too short for a patch, they
    hold nothing of use. Addresses, because slices cost as much as the sums here.
    """
    rows, columns, shift = patches.shape[0], sums.shape[1], plan[at.DILATION_COLUMNS] * FLOAT
    row = columns * FLOAT
    down, result = scratch.ctypes.data, patches.ctypes.data
    for r in range(rows):
        first = sums.ctypes.data + r * plan[at.STRIDE_ROWS] * row
        copy_bytes(first, down + r * row, row)
        for kh in range(1, plan[at.KERNEL_ROWS]):
            add_run(first + kh * plan[at.DILATION_ROWS] * row, down + r * row, columns)
    copy_bytes(down, result, rows * row)
    for kw in range(1, plan[at.KERNEL_COLUMNS]):
        add_run(down + kw * shift, result, rows * columns - kw * plan[at.DILATION_COLUMNS])


@compiled()
def _row(
    x: int, step: int, segments: Array, run: int, w: int, w_sum: int, x_sum: int, sum_step: int,
    y: int, y_step: int, filters: int, plan: Array,
) -> None:  # fmt: skip
    """All pixels of one output row for the filters of one block; addresses and bytes."""
    vectors, width, column = -(-filters // plan[at.LANES]), plan[at.OUT_WIDTH], 0
    while column < width:
        size, tiles = next_tiles(width - column, width, plan[at.LARGEST + vectors - 1])
        p = min(column, width - (1 << size))
        walk = x + p * step, step, segments.ctypes.data, segments.size, run
        sums = w, w_sum, x_sum + p * sum_step, sum_step
        call(tile_at(plan, vectors, size), (*walk, *sums, y + p * y_step, y_step, tiles, filters))
        column += tiles << size


@compiled()
def _group(
    band: int, columns: int, weights: int, w_sums: int, segments: Array, patches: Array, out: int,
    plan: Array,
) -> None:  # fmt: skip
    """The filters of one group over a band; addresses of the group's first channel and filter."""
    per_group = plan[at.FILTERS] // plan[at.GROUPS]
    taps = plan[at.CHANNELS] // plan[at.GROUPS] * plan[at.KERNEL_ROWS] * plan[at.KERNEL_COLUMNS]
    blocks, rows, width = blocks_of(per_group), patches.shape[0], plan[at.OUT_WIDTH]
    stride = plan[at.STRIDE_COLUMNS]
    pixel, out_pixel = plan[at.CHANNELS] * FLOAT, plan[at.FILTERS] * FLOAT
    step, down = stride * pixel, plan[at.STRIDE_ROWS] * columns * pixel
    together = rows_together(rows, blocks * taps * BYTES)
    for chunk in range(-(-rows // together) * blocks):
        block, begin = chunk % blocks, chunk // blocks * together
        for r in range(begin, min(begin + together, rows)):
            _row(
                band + r * down, step, segments, taps // segments.size,
                weights + block * taps * BYTES, w_sums + block * BYTES,
                patches.ctypes.data + r * columns * FLOAT, stride * FLOAT,
                out + r * width * out_pixel + block * BYTES, out_pixel,
                min(LANES, per_group - block * LANES), plan,
            )  # fmt: skip


@compiled()
def _bands(x: int, w: Array, w_sum: Array, y: int, plan: Array, first: int, last: int) -> None:
    """Tasks ``first`` … ``last`` − 1, one after the other in the same memory."""
    bands, planar, groups = plan[at.BANDS], plan[at.PLANAR] == 1, plan[at.GROUPS]
    channels, height, width = plan[at.CHANNELS], plan[at.HEIGHT], plan[at.WIDTH]
    filters, out_height, out_width = plan[at.FILTERS], plan[at.OUT_HEIGHT], plan[at.OUT_WIDTH]
    above, left = plan[at.PADDING_ROWS], plan[at.PADDING_COLUMNS]
    columns, most = width + 2 * left, -(-out_height // bands)
    reach = plan[at.STRIDE_ROWS] * (most - 1) + 1
    reach += (plan[at.KERNEL_ROWS] - 1) * plan[at.DILATION_ROWS]
    direct = not planar and above == 0 and left == 0
    band = new_floats(0 if direct else reach * columns * channels)
    out = new_floats(most * out_width * filters if planar else 0)
    sums, scratch = np.empty((reach, columns), np.float32), np.empty(most * columns, np.float32)
    patches = np.empty((most, columns), np.float32)
    segments = _segments(plan, columns)
    of_group = (w.size - LANES) // groups * FLOAT
    for task in range(first, last):
        image, begin, rows = band_limits(task, bands, out_height)
        source = x + image * channels * height * width * FLOAT
        target = y + image * filters * out_height * out_width * FLOAT
        top = begin * plan[at.STRIDE_ROWS] - above
        seen = reach - (most - rows) * plan[at.STRIDE_ROWS]
        start, result = address_of(band), address_of(out)
        if direct:
            start = source + top * columns * channels * FLOAT
        else:
            load_band(source, planar, channels, height, width, top, left, start, seen, columns)
        if not planar:
            result = target + begin * out_width * filters * FLOAT
        for group in range(groups):
            own = start + group * (channels // groups) * FLOAT
            if plan[at.SUMMED]:
                _channel_sums(own, plan, sums[:seen])
                _patch_sums(sums, plan, scratch, patches[:rows])
            _group(
                own, columns, address_of(w) + group * of_group,
                w_sum[group * (len(w_sum) // groups)].ctypes.data, segments, patches[:rows],
                result + group * (filters // groups) * FLOAT, plan,
            )  # fmt: skip
        if planar:
            store_band(target, filters, out_height, out_width, begin, result, rows)
    keep(band)
    keep(out)


@drivers()
def forward(x: int, w: int, y: int, plan: Array) -> None:
    """Y = −Σ|X − W|; the same bits on one thread and on many, which share out the bands.

    Addresses of x and y, both [B, C, H, W] (planar) or both [B, H, W, C], and of the weights; none
    of them empty. ``plan``: see :mod:`saa_lite.ops.adder_plan`.
    """
    packed, sums = pack_filters(w, plan)
    tasks, parts = plan[at.IMAGES] * plan[at.BANDS], plan[at.PARTS]
    for index in prange(parts):
        part = np.int64(index)  # prange counts in uint64, which with int64 becomes a float
        _bands(x, packed, sums, y, plan, part * tasks // parts, (part + 1) * tasks // parts)
