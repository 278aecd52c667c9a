"""The float32 adder convolution on a CPU in explicit vectors.

A tile is sixteen filters (or channels) × eight pixels. Layout: images as [rows, columns, channels],
so that one pixel's channels are neighbours, and packed weights with sixteen filters (forward) or
sixteen channels (input gradient) side by side. A tile keeps its sums in registers while it walks
over all taps; a *segment* is one kernel position, that is, where its pixels start and where its
weights do. Stride, dilation and groups only change those addresses. A task is a band of rows of one
image: what must be padded or reordered is copied for that band alone, so the extra memory is one
band per thread.

Sums run in the order of the taps, one accumulator per output, whatever the thread count.
"""

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic

from saa_lite.ops import vector_ir as v

Array = Any
PIXELS = 8
FLOAT = 4  # bytes


def _distance_tile(pixels: int) -> Any:
    """−Σ|x − w| for ``pixels`` pixels × 16 filters.

    Arguments (int64): address of the first pixel, bytes from pixel to pixel, address of the
    segments' input offsets (bytes), their number, channels per segment, address of the packed
    weights, address of the output, bytes from output pixel to output pixel, filters to store.
    """

    @intrinsic
    def tile(context, x, step, segments, count, run, w, y, y_step, lanes):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            x, step, segments, count, run, w, y, y_step, lanes = args
            outer = v.Loop(b, count, [v.vector_of(0.0)] * pixels + [w])
            offset = v.load(b, b.add(segments, b.mul(outer.index, v.constant(8))), v.I64)
            start = b.add(x, offset)
            inner = v.Loop(b, run, outer.values)
            *sums, weights = inner.values
            taps = v.load(b, weights, v.VECTOR)
            channel = b.add(start, b.mul(inner.index, v.constant(FLOAT)))
            for i in range(pixels):
                value = v.load(b, b.add(channel, b.mul(step, v.constant(i))), v.F32)
                difference = b.fsub(taps, v.broadcast(b, value))
                sums[i] = b.fsub(sums[i], v.absolute(b, difference))
            sums = inner.close([*sums, b.add(weights, v.constant(FLOAT * v.LANES))])
            *sums, _ = outer.close(sums)
            mask = v.first_lanes(b, lanes)
            for i in range(pixels):
                v.store_lanes(b, sums[i], b.add(y, b.mul(y_step, v.constant(i))), mask)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return tile


def _clipped_tile(pixels: int) -> Any:
    """dX = Σ g·clip(w − x, −1, 1) for ``pixels`` pixels × 16 channels.

    Arguments (int64): address of x and bytes from pixel to pixel, of the upstream gradient and
    its bytes, address of the segments (pairs: gradient offset, weight offset, bytes), their number,
    filters per segment, address of the packed weights, address of dx (same step as x), channels.
    """

    @intrinsic
    def tile(context, x, step, g, g_step, segments, count, run, w, dx, lanes):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            x, step, g, g_step, segments, count, run, w, dx, lanes = args
            mask = v.first_lanes(b, lanes)
            inputs = [
                v.load_lanes(b, b.add(x, b.mul(step, v.constant(i))), mask) for i in range(pixels)
            ]
            outer = v.Loop(b, count, [v.vector_of(0.0)] * pixels)
            segment = b.add(segments, b.mul(outer.index, v.constant(16)))
            start = b.add(g, v.load(b, segment, v.I64))
            weights = b.add(w, v.load(b, b.add(segment, v.constant(8)), v.I64))
            inner = v.Loop(b, run, outer.values)
            sums = list(inner.values)
            here = b.add(weights, b.mul(inner.index, v.constant(FLOAT * v.LANES)))
            taps = v.load(b, here, v.VECTOR)
            filter_ = b.add(start, b.mul(inner.index, v.constant(FLOAT)))
            for i in range(pixels):
                upstream = v.load(b, b.add(filter_, b.mul(g_step, v.constant(i))), v.F32)
                clipped = v.clip_to_one(b, b.fsub(taps, inputs[i]))
                sums[i] = v.multiply_add(b, v.broadcast(b, upstream), clipped, sums[i])
            sums = outer.close(inner.close(sums))
            for i in range(pixels):
                v.store_lanes(b, sums[i], b.add(dx, b.mul(step, v.constant(i))), mask)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    return tile


_distance_many, _distance_one = _distance_tile(PIXELS), _distance_tile(1)
_clipped_many, _clipped_one = _clipped_tile(PIXELS), _clipped_tile(1)


@njit(cache=True)
def _copy_band(image: Array, first_row: int, left: int, band: Array) -> None:
    """Rows first_row … of ``image`` [H, W, C] into ``band`` [R, W', C], ``left`` columns in."""
    for r in range(band.shape[0]):
        source = first_row + r
        if 0 <= source < image.shape[0]:
            for column in range(min(image.shape[1], band.shape[1] - left)):
                for c in range(image.shape[2]):
                    band[r, left + column, c] = image[source, column, c]


@njit(cache=True)
def _forward_band(
    x: Array, w: Array, segments: Array, y: Array, task: int, bands: int, plan: Array
) -> None:
    """Output rows of one band. x [B, H, W, C], y [B, H', W', T] in any layout.

    w [groups, blocks, taps·C/groups, 16]; plan: stride rows, stride columns, padding rows,
    padding columns, kernel extent in rows, padded width.
    """
    image, band = task // bands, task % bands
    first = band * y.shape[1] // bands
    rows = (band + 1) * y.shape[1] // bands - first
    if rows == 0:
        return
    channels, filters, width = x.shape[3], y.shape[3], y.shape[2]
    padded = np.zeros(((rows - 1) * plan[0] + plan[4], plan[5], channels), np.float32)
    _copy_band(x[image], first * plan[0] - plan[2], plan[3], padded)
    out = np.empty((rows, width, filters), np.float32)
    groups, blocks = w.shape[0], w.shape[1]
    run, per_group = channels // groups, filters // groups
    step, out_step = plan[1] * channels * FLOAT, filters * FLOAT
    for r in range(rows):
        for group in range(groups):
            for block in range(blocks):
                at = w[group, block].ctypes.data
                lanes = min(v.LANES, per_group - block * v.LANES)
                column = 0
                while column < width:
                    many = width >= PIXELS
                    # The last tile of a row reaches back over pixels already done: same sums again.
                    p = min(column, width - PIXELS) if many else column
                    source = padded[r * plan[0]].ctypes.data + p * step + group * run * FLOAT
                    target = out[r, p].ctypes.data
                    target += (group * per_group + block * v.LANES) * FLOAT
                    args = segments.ctypes.data, len(segments), run, at, target, out_step, lanes
                    if many:
                        _distance_many(source, step, *args)
                    else:
                        _distance_one(source, step, *args)
                    column += PIXELS if many else 1
    y[image, first : first + rows] = out


@njit(cache=True)
def forward_serial(x: Array, w: Array, segments: Array, y: Array, bands: int, plan: Array) -> None:
    """All bands on the calling thread; arguments as in :func:`_forward_band`."""
    for task in range(x.shape[0] * bands):
        _forward_band(x, w, segments, y, task, bands, plan)


@njit(cache=True, parallel=True)
def forward_parallel(
    x: Array, w: Array, segments: Array, y: Array, bands: int, plan: Array
) -> None:
    """As :func:`forward_serial`, bands shared out among threads; the same bits."""
    for task in prange(x.shape[0] * bands):
        _forward_band(x, w, segments, y, task, bands, plan)


@njit(cache=True)
def _valid_taps(position: int, count: int, dilation: int, stride: int) -> Any:
    """Taps k with (position − k·dilation) divisible by the stride: the ones that reach a pixel."""
    return [k for k in range(count) if (position - k * dilation) % stride == 0]


@njit(cache=True)
def _segments_of(
    row: int,
    column: int,
    first_upstream: int,
    left: int,
    pitch: int,
    filters: int,
    run: int,
    plan: Array,
) -> Array:
    """Byte offsets (gradient, weight) of the taps that reach pixel (row, column)."""
    stride, padding, dilation, kernel = plan[0], plan[1], plan[2], plan[3]
    rows = _valid_taps(row + padding[0], kernel[0], dilation[0], stride[0])
    columns = _valid_taps(column + padding[1], kernel[1], dilation[1], stride[1])
    segments = np.empty((len(rows) * len(columns), 2), np.int64)
    i = 0
    for kh in rows:
        oh = (row + padding[0] - kh * dilation[0]) // stride[0] - first_upstream
        for kw in columns:
            ow = (column + padding[1] - kw * dilation[1]) // stride[1] + left
            segments[i, 0] = (oh * pitch + ow) * filters * FLOAT
            segments[i, 1] = (kh * kernel[1] + kw) * run * v.LANES * FLOAT
            i += 1
    return segments


@njit(cache=True)
def _input_gradient_band(
    x: Array, w: Array, g: Array, dx: Array, task: int, bands: int, plan: Array
) -> None:
    """Input rows of one band. x, dx [B, H, W, C], g [B, H', W', T], in any layout.

    w [groups, blocks, kh·kw·T/groups, 16]; plan [4, 2]: stride, padding, dilation, kernel.
    """
    image, band = task // bands, task % bands
    first = band * x.shape[1] // bands
    rows = (band + 1) * x.shape[1] // bands - first
    if rows == 0:
        return
    stride, padding, dilation, kernel = plan[0], plan[1], plan[2], plan[3]
    width, channels, filters = x.shape[2], x.shape[3], g.shape[3]
    groups, blocks = w.shape[0], w.shape[1]
    per_group, run = channels // groups, filters // groups
    first_upstream = (first + padding[0] - (kernel[0] - 1) * dilation[0]) // stride[0]
    last_upstream = (first + rows - 1 + padding[0]) // stride[0]
    left = max(0, -((padding[1] - (kernel[1] - 1) * dilation[1]) // stride[1]))
    pitch = left + max(g.shape[2], (width - 1 + padding[1]) // stride[1] + 1)
    upstream = np.zeros((last_upstream - first_upstream + 1, pitch, filters), np.float32)
    _copy_band(g[image], first_upstream, left, upstream)
    inputs = np.empty((rows, width, channels), np.float32)
    _copy_band(x[image], first, 0, inputs)
    out = np.zeros((rows, width, channels), np.float32)
    step, g_step = stride[1] * channels * FLOAT, filters * FLOAT
    for r in range(rows):
        for phase in range(min(stride[1], width)):
            segments = _segments_of(
                first + r, phase, first_upstream, left, pitch, filters, run, plan
            )
            count = (width - phase - 1) // stride[1] + 1
            if len(segments) == 0:
                continue
            for group in range(groups):
                for block in range(blocks):
                    lanes = min(v.LANES, per_group - block * v.LANES)
                    at = (group * per_group + block * v.LANES) * FLOAT
                    source = inputs[r, phase].ctypes.data + at
                    target = out[r, phase].ctypes.data + at
                    above = upstream.ctypes.data + group * run * FLOAT
                    args = segments.ctypes.data, len(segments), run, w[group, block].ctypes.data
                    pixel = 0
                    while pixel < count:
                        many = count >= PIXELS
                        p = min(pixel, count - PIXELS) if many else pixel
                        at_x, at_g, at_dx = source + p * step, above + p * g_step, target + p * step
                        if many:
                            _clipped_many(at_x, step, at_g, g_step, *args, at_dx, lanes)
                        else:
                            _clipped_one(at_x, step, at_g, g_step, *args, at_dx, lanes)
                        pixel += PIXELS if many else 1
    dx[image, first : first + rows] = out


@njit(cache=True)
def input_gradient_serial(x: Array, w: Array, g: Array, dx: Array, bands: int, plan: Array) -> None:
    """All bands on the calling thread; arguments as in :func:`_input_gradient_band`."""
    for task in range(x.shape[0] * bands):
        _input_gradient_band(x, w, g, dx, task, bands, plan)


@njit(cache=True, parallel=True)
def input_gradient_parallel(
    x: Array, w: Array, g: Array, dx: Array, bands: int, plan: Array
) -> None:
    """As :func:`input_gradient_serial`, bands shared out among threads; the same bits."""
    for task in prange(x.shape[0] * bands):
        _input_gradient_band(x, w, g, dx, task, bands, plan)
