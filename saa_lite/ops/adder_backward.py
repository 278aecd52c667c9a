"""The input gradient of the float32 adder convolution on a CPU in explicit vectors.

dX[c, q] = Σ G[t, o]·clip(W[t, c, k] − X[c, q], −1, 1) over all filters t and taps k whose window o
covers pixel q. A tile keeps sixteen channels of a few pixels and walks over filters and taps. With
stride s only pixels s apart meet the same taps: the *phase* of a pixel, its padded position modulo
s, decides which. Segments (where upstream gradient and weights start) are tabled per phase.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops import adder_plan as at
from saa_lite.ops._compile import compiled, drivers
from saa_lite.ops.adder_blocks import blocks_of, pack_channels
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
from saa_lite.ops.vector_moves import clear_bytes

Array = Any
SEGMENT = 16  # bytes: two offsets


@compiled()
def _joined(plan: Array) -> bool:
    """Whether the windows of a whole kernel row lie side by side in the upstream gradient."""
    alone = plan[at.DILATION_COLUMNS] == 1 and plan[at.GROUPS] == 1
    return alone and plan[at.STRIDE_ROWS] == 1 and plan[at.STRIDE_COLUMNS] == 1


@compiled()
def _before(kernel: int, stride: int, dilation: int) -> int:
    """How many windows before a pixel's own (its padded position over the stride) cover it."""
    return -((-(kernel - 1) * dilation) // stride)


@compiled()
def _pitch(plan: Array) -> int:
    """Columns of a band of the upstream gradient: the windows of all pixels of a row."""
    stride, left = plan[at.STRIDE_COLUMNS], plan[at.PADDING_COLUMNS]
    reach = (plan[at.WIDTH] - 1 + left) // stride + 1
    before = _before(plan[at.KERNEL_COLUMNS], stride, plan[at.DILATION_COLUMNS])
    return before + max(plan[at.OUT_WIDTH], reach)


@compiled()
def _segments(plan: Array, pitch: int) -> Any:
    """Byte offsets in gradient and weights of every stretch, [phases, phases, most, 2].

    Also how many there are, [phases, phases]. The offset in the gradient counts from the window at
    a pixel's padded position over the stride; it is 0 or negative.
    """
    down, across = plan[at.STRIDE_ROWS], plan[at.STRIDE_COLUMNS]
    rows, columns = plan[at.KERNEL_ROWS], plan[at.KERNEL_COLUMNS]
    filters, per_tap = plan[at.FILTERS], plan[at.FILTERS] // plan[at.GROUPS]
    offsets = np.empty((down, across, rows * columns, 2), np.int64)
    counts = np.zeros((down, across), np.int64)
    for a in range(down):
        for b in range(across):
            for k in range(rows * columns):
                kh, kw = k // columns, k % columns
                y, x = a - kh * plan[at.DILATION_ROWS], b - kw * plan[at.DILATION_COLUMNS]
                # Joined, a row starts at its last tap: the leftmost window.
                if y % down or x % across or (_joined(plan) and kw < columns - 1):
                    continue
                window = y // down * pitch + x // across
                tap = kh * columns + columns - 1 - kw
                offsets[a, b, counts[a, b], 0] = window * filters * FLOAT
                offsets[a, b, counts[a, b], 1] = tap * per_tap * BYTES
                counts[a, b] += 1
    return offsets, counts


@compiled()
def _row(
    x: int, step: int, g: int, g_step: int, segments: int, many: int, run: int, w: int, dx: int,
    count: int, channels: int, plan: Array,
) -> None:  # fmt: skip
    """``count`` pixels of one phase in one row, for the channels of one block; mostly addresses."""
    vectors, column = -(-channels // plan[at.LANES]), 0
    while column < count:
        size, tiles = next_tiles(count - column, count, plan[at.LARGEST + vectors - 1])
        p = min(column, count - (1 << size))
        walk = x + p * step, step, g + p * g_step, g_step, segments, many, run, w
        call(tile_at(plan, vectors, size), (*walk, dx + p * step, tiles, channels))
        column += tiles << size


@compiled()
def _group(
    x: int, g: int, pitch: int, weights: int, dx: int, segments: Any, first: int, rows: int,
    plan: Array,
) -> None:  # fmt: skip
    """The channels of one group in ``rows`` input rows from ``first`` on.

    Addresses: x and dx of that row, g of the window at row 0, column 0 for position 0, all at the
    group's first channel or filter.
    """
    offsets, counts = segments
    groups, width = plan[at.GROUPS], plan[at.WIDTH]
    per_group, per_tap = plan[at.CHANNELS] // groups, plan[at.FILTERS] // groups
    down, across = plan[at.STRIDE_ROWS], plan[at.STRIDE_COLUMNS]
    taps = plan[at.KERNEL_ROWS] * plan[at.KERNEL_COLUMNS] * per_tap
    run = per_tap * (plan[at.KERNEL_COLUMNS] if _joined(plan) else 1)
    pixel, window = plan[at.CHANNELS] * FLOAT, plan[at.FILTERS] * FLOAT
    blocks = blocks_of(per_group)
    together = rows_together(rows, blocks * taps * BYTES)
    for chunk in range(-(-rows // together) * blocks):
        block, begin = chunk % blocks, chunk // blocks * together
        w, channels = weights + block * taps * BYTES, min(LANES, per_group - block * LANES)
        for r in range(begin, min(begin + together, rows)):
            position = first + r + plan[at.PADDING_ROWS]
            for phase in range(min(across, width)):
                column = phase + plan[at.PADDING_COLUMNS]
                a, b = position % down, column % across
                if counts[a, b] == 0:
                    continue  # no window covers these pixels: dx is 0 already
                own = (r * width + phase) * pixel + block * BYTES
                above = g + (position // down * pitch + column // across) * window
                table = offsets.ctypes.data + (a * across + b) * offsets.shape[2] * SEGMENT
                _row(
                    x + own, across * pixel, above, window, table, counts[a, b], run, w, dx + own,
                    (width - phase - 1) // across + 1, channels, plan,
                )  # fmt: skip


@compiled()
def _bands(
    x: int, w: Array, g: int, dx: int, plan: Array, first_task: int, last_task: int
) -> None:  # fmt: skip
    """Tasks ``first_task`` … ``last_task`` − 1, bands of input rows, in the same memory."""
    bands, planar, groups = plan[at.BANDS], plan[at.PLANAR] == 1, plan[at.GROUPS]
    channels, height, width = plan[at.CHANNELS], plan[at.HEIGHT], plan[at.WIDTH]
    filters, out_height, out_width = plan[at.FILTERS], plan[at.OUT_HEIGHT], plan[at.OUT_WIDTH]
    down, above = plan[at.STRIDE_ROWS], plan[at.PADDING_ROWS]
    rows_before = _before(plan[at.KERNEL_ROWS], down, plan[at.DILATION_ROWS])
    left = _before(plan[at.KERNEL_COLUMNS], plan[at.STRIDE_COLUMNS], plan[at.DILATION_COLUMNS])
    pitch, most = _pitch(plan), -(-height // bands)
    direct = not planar and left == rows_before == 0 and pitch == out_width
    direct = direct and (height - 1 + above) // down < out_height
    seen_most = (most + down - 2) // down + 1 + rows_before
    band = new_floats(0 if direct else seen_most * pitch * filters)
    inputs = new_floats(most * width * channels if planar else 0)
    out = new_floats(most * width * channels if planar else 0)
    segments = _segments(plan, pitch)
    of_group = (w.size - LANES) // groups * FLOAT
    for task in range(first_task, last_task):
        image, first, rows = band_limits(task, bands, height)
        own = image * channels * height * width * FLOAT
        upstream = g + image * filters * out_height * out_width * FLOAT
        top = (first + above) // down - rows_before
        seen = (first + rows - 1 + above) // down - top + 1
        start, source, target = upstream, address_of(inputs), address_of(out)
        if not direct:
            start = address_of(band)
            load_band(
                upstream, planar, filters, out_height, out_width, top, left, start, seen, pitch
            )
            start += (left - top * pitch) * filters * FLOAT
        if planar:
            load_band(x + own, True, channels, height, width, first, 0, source, rows, width)
        else:
            source = x + own + first * width * channels * FLOAT
            target = dx + own + first * width * channels * FLOAT
        if segments[1].min() == 0:
            clear_bytes(target, rows * width * channels * FLOAT)
        for group in range(groups):
            near, far = group * (channels // groups) * FLOAT, group * (filters // groups) * FLOAT
            _group(
                source + near, start + far, pitch, address_of(w) + group * of_group, target + near,
                segments, first, rows, plan,
            )  # fmt: skip
        if planar:
            store_band(dx + own, channels, height, width, first, target, rows)
    keep(band)
    keep(inputs)
    keep(out)


@drivers()
def input_gradient(x: int, w: int, g: int, dx: int, plan: Array) -> bool:
    """dX; False, and nothing done, where the weights do not add up. The same bits on any threads.

    Addresses of x, g and dx, all planar [B, C, H, W] or all [B, H, W, C], and of the weights; none
    of them empty. ``plan``: see :mod:`saa_lite.ops.adder_plan`. A padded gradient of 0 would meet
    an infinite or NaN tap, and make a NaN that the equation does not have: hence the refusal.
    """
    packed, sums = pack_channels(w, plan)
    if not np.isfinite(sums.sum()):
        return False
    tasks, parts = plan[at.IMAGES] * plan[at.BANDS], plan[at.PARTS]
    for index in prange(parts):
        part = np.int64(index)  # prange counts in uint64, which with int64 becomes a float
        _bands(x, packed, g, dx, plan, part * tasks // parts, (part + 1) * tasks // parts)
    return True
