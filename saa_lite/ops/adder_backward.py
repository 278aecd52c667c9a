"""The input gradient of the float32 adder convolution on a CPU in explicit vectors.

dX[c, q] = Σ G[t, o]·clip(W[t, c, k] − X[c, q], −1, 1) over all filters t and taps k whose window o
covers pixel q. A tile keeps sixteen channels of a few pixels and walks over filters and taps. With
stride s only pixels s apart meet the same taps: the *phase* of a pixel, its padded position modulo
s, decides which. Segments (where upstream gradient and weights start) are tabled per phase.
"""

from typing import Any

from numba import prange

from saa_lite.ops import vector_ir
from saa_lite.ops._compile import compiled
from saa_lite.ops.adder_tiles import FLOAT, VECTOR, clipped_tile
from saa_lite.ops.bands import (
    band_limits,
    fill,
    keep,
    load_band,
    new_band,
    rows_together,
    store_band,
)

Array = Any
LANES = vector_ir.LANES
_eight, _four, _one = clipped_tile(8), clipped_tile(4), clipped_tile(1)


@compiled()
def _row(
    x: int, step: int, g: int, g_step: int, segments: int, many: int, run: int, w: int, dx: int,
    count: int, lanes: int,
) -> None:  # fmt: skip
    """``count`` pixels of one phase in one row, for the channels of one block; mostly addresses."""
    pixels = 8 if count >= 8 else 4 if count >= 4 else 1
    column = 0
    while column < count:
        p = min(column, count - pixels)  # the last tile reaches back: same sums again
        source, above, target = x + p * step, g + p * g_step, dx + p * step
        if pixels == 8:
            _eight(source, step, above, g_step, segments, many, run, w, target, lanes)
        elif pixels == 4:
            _four(source, step, above, g_step, segments, many, run, w, target, lanes)
        else:
            _one(source, step, above, g_step, segments, many, run, w, target, lanes)
        column += pixels


@compiled()
def _band(
    x: Array, w: Array, g: Array, segments: Array, counts: Array, run: int, dx: Array,
    task: int, bands: int, plan: Array,
) -> None:  # fmt: skip
    """One band of input rows.

    plan: stride, padding (rows, columns), rows of ``g`` needed before and columns before the one of
    a pixel, columns of a padded row of ``g``, planar, whether ``g`` is read where it lies.
    """
    planar, direct = plan[7] == 1, plan[8] == 1
    height, width = (x.shape[2], x.shape[3]) if planar else (x.shape[1], x.shape[2])
    image, first, rows = band_limits(task, bands, height)
    if rows == 0:
        return
    channels, filters = (x.shape[1], g.shape[1]) if planar else (x.shape[3], g.shape[3])
    top = (first + plan[2]) // plan[0] - plan[4]
    pitch, last = plan[6], (first + rows - 1 + plan[2]) // plan[0]
    padded = new_band(0 if direct else last - top + 1, pitch, filters)
    if direct:
        above = g[image].ctypes.data + top * pitch * filters * FLOAT
    else:
        load_band(g, image, planar, top, plan[5], padded)
        above = padded.ctypes.data
    copied = rows if planar else 0
    inputs, out = new_band(copied, width, channels), new_band(copied, width, channels)
    if planar:
        load_band(x, image, True, first, 0, inputs)
        if counts.min() == 0:
            fill(out.reshape(-1), 0)
        source, target = inputs.ctypes.data, out.ctypes.data
    else:
        source, target = x[image, first].ctypes.data, dx[image, first].ctypes.data
    groups, blocks = w.shape[0], w.shape[1]
    per_group, of_group = channels // groups, filters // groups
    table, most = segments.ctypes.data, segments.shape[2] * 16  # bytes of two int64
    together = rows_together(rows, blocks * w.shape[2] * VECTOR)
    step, g_step = plan[1] * channels * FLOAT, filters * FLOAT
    for group in range(groups):
        for chunk in range(-(-rows // together) * blocks):
            block, begin = chunk % blocks, chunk // blocks * together
            lanes = min(LANES, per_group - block * LANES)
            weights = w.ctypes.data + (group * blocks + block) * w.shape[2] * VECTOR
            for r in range(begin, min(begin + together, rows)):
                row = (first + r + plan[2]) // plan[0] - top
                row_phase = (first + r + plan[2]) % plan[0]
                for phase in range(min(plan[1], width)):
                    at = (r * width + phase) * channels + group * per_group + block * LANES
                    count = (width - phase - 1) // plan[1] + 1
                    column_phase = (phase + plan[3]) % plan[1]
                    many = counts[row_phase, column_phase]
                    column = (phase + plan[3]) // plan[1] + plan[5]
                    if many == 0:
                        continue  # no window covers these pixels: dx is 0 already
                    _row(
                        source + at * FLOAT, step,
                        above + ((row * pitch + column) * filters + group * of_group) * FLOAT,
                        g_step, table + (row_phase * plan[1] + column_phase) * most, many, run,
                        weights, target + at * FLOAT, count, lanes,
                    )  # fmt: skip
    if planar:
        store_band(dx, image, first, out)
    keep(padded)
    keep(inputs)


@compiled()
def input_gradient_serial(
    x: Array, w: Array, g: Array, segments: Array, counts: Array, run: int, dx: Array, bands: int,
    plan: Array,
) -> None:  # fmt: skip
    """All bands on the calling thread.

    x, g, dx: all planar [B, C, H, W] or all [B, H, W, C], contiguous, dx zero where no window
    reaches; w [groups, blocks, taps, 16]; segments [phases, phases, most, 2]: byte offsets of the
    stretches of ``run`` taps in ``g`` and ``w``, of which ``counts`` are used; plan as in
    :func:`_band`.
    """
    for task in range(x.shape[0] * bands):
        _band(x, w, g, segments, counts, run, dx, task, bands, plan)


@compiled(parallel=True)
def input_gradient_parallel(
    x: Array, w: Array, g: Array, segments: Array, counts: Array, run: int, dx: Array, bands: int,
    plan: Array,
) -> None:  # fmt: skip
    """As :func:`input_gradient_serial`, bands shared out among threads; the same bits."""
    for task in prange(x.shape[0] * bands):
        _band(x, w, g, segments, counts, run, dx, task, bands, plan)
