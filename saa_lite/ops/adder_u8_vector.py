"""The uint8 adder convolution on a CPU with the hardware's sum of absolute differences.

Tiles of :mod:`saa_lite.kernels.adder_u8` (rows × lanes, one word of eight taps at a time) cover the
output:

* channels_last: rows are pixels, lanes are filters. The output comes out channels_last.
* otherwise: rows are filters, lanes are neighbouring pixels, and the output comes out contiguous.

A task is a band of output rows of one image. Its input is copied, padded and in words, for that
band alone; with channels_last, no padding and whole words it is read where it lies.

``plan`` is an int64 array [3, 2]: stride, padding and dilation, each for rows and columns.
"""

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
from numba import prange

from saa_lite.kernels.adder_u8 import TAPS
from saa_lite.kernels.tables import SIZES, tiles_of
from saa_lite.ops._compile import cache_folder, compiled, drivers
from saa_lite.ops.adder_u8_pack import copy_band, filled, interleave_band, pack_filters, words_of
from saa_lite.ops.bands import next_tiles
from saa_lite.ops.vector_ir import call

Array = Any
SLACK = 2 * 512 // 64  # words: the lanes of the last tile reach beyond the last pixel
# What the kernels know of their tiles, by place in an int64 array: 64-bit lanes of a vector, log₂
# rows of the largest tile with one vector and with two, addresses of those with one and with two.
LANES, LARGEST, TILES = 0, 1, 3


@lru_cache
def tiles_array(bits: int) -> np.ndarray:
    """That array, for vectors of ``bits`` bits."""
    tiles = tiles_of("bytes", bits, cache_folder())
    return np.array((bits // 64, *tiles.largest, *itertools.chain(*tiles.addresses)), np.int64)


@compiled(error_model="numpy")
def _band_shape(image_rows: int, width: int, bands: int, w: Array, plan: Array) -> Any:
    """Input rows under the largest band, and padded columns, a multiple of the stride."""
    stride, padding, dilation = plan[0], plan[1], plan[2]
    rows = (-(-image_rows // bands) - 1) * stride[0] + (w.shape[2] - 1) * dilation[0] + 1
    return rows, -(-(width + 2 * padding[1]) // stride[1]) * stride[1]


@compiled(error_model="numpy")
def _table(w: Array, plan: Array, row: int, column: int, phase: int, word: int) -> Array:
    """Where each word lies behind a pixel's first: bytes, in the order of the packed filters.

    ``row``, ``column``, ``word``: bytes to the next one; ``phase``: to the next column modulo the
    stride, where ``column`` is to the next one a stride away.
    """
    dilation, stride = plan[2], plan[0, 1]
    table = np.empty((words_of(w.shape[1]), w.shape[2], w.shape[3]), np.int64)
    for kw in range(w.shape[3]):
        steps, rest = divmod(kw * dilation[1], stride)
        for k in range(table.shape[0]):
            for kh in range(w.shape[2]):
                down = kh * dilation[0] * row
                table[k, kh, kw] = down + steps * column + rest * phase + k * word
    return table.reshape(table.size)


@compiled(error_model="numpy")
def _column(
    a: int, rows: int, a_step: int, v: int, left: int, v_step: int, offsets: Array, y: int,
    y_step: int, tiles: Array,
) -> None:  # fmt: skip
    """All rows, up to two vectors of lanes, of which ``left`` are in use; addresses and bytes."""
    vectors, row = 2 if left > tiles[LANES] else 1, 0
    while row < rows:
        size, count = next_tiles(rows - row, rows, tiles[LARGEST + vectors - 1])
        i = min(row, rows - (1 << size))
        table = v, v_step, offsets.ctypes.data, len(offsets)  # offsets [words, 2]: row, vector
        out = y + i * y_step, y_step, count, left
        call(tiles[TILES + SIZES * (vectors - 1) + size], (a + i * a_step, a_step, *table, *out))
        row += count << size


@compiled(error_model="numpy")
def _cover(
    rows: Any, lanes: Any, offsets: Array, y: Any, image_rows: int, groups: int, tiles: Array
) -> None:
    """All image rows of a band and all groups.

    ``rows``, ``lanes`` and ``y``: array, bytes to the next image row, to the next group, to the
    next one; then, but for y, how many. The arrays are arguments so that they stay alive. Image
    rows pass innermost: what two vectors of lanes need stays in the nearest cache.
    """
    a, a_image_row, a_group, a_step, row_count = rows
    v, v_image_row, v_group, v_step, lane_count = lanes
    out, out_image_row, out_group, out_step = y
    a_at, v_at, at, in_vector = a.ctypes.data, v.ctypes.data, out.ctypes.data, tiles[LANES]
    for g in range(groups):
        for lane in range(0, lane_count, 2 * in_vector):
            here = v_at + g * v_group + lane // in_vector * v_step
            there = at + g * out_group + 4 * lane
            for r in range(image_rows):
                _column(
                    a_at + g * a_group + r * a_image_row, row_count, a_step,
                    here + r * v_image_row, lane_count - lane, v_step, offsets,
                    there + r * out_image_row, out_step, tiles,
                )  # fmt: skip


@compiled(error_model="numpy")
def _pixel_rows(
    x: Array, w: Array, packed: Array, y: Array, index: int, bands: int, plan: Array, groups: int,
    value: int, tiles: Array,
) -> None:  # fmt: skip
    """A band with the channels last: x [B, H, W, C], y [B, H', W', T]."""
    image, band = index // bands, index % bands
    first = band * y.shape[1] // bands
    count = (band + 1) * y.shape[1] // bands - first
    stride, padding = plan[0], plan[1]
    rows, width = _band_shape(y.shape[1], x.shape[2], bands, w, plan)
    words = words_of(w.shape[1])
    pixel = groups * words * TAPS
    if padding.any() or pixel != x.shape[3]:
        memory = filled(rows * width * pixel // TAPS, value)
        copied = memory.reshape((rows, width, pixel // TAPS))
        copy_band(x[image], first * stride[0] - padding[0], padding[1], copied, groups)
        source = copied.view(np.uint8)
    else:
        width = x.shape[2]
        source = x[image, first * stride[0] :]
    lanes = tiles[LANES]
    offsets = np.empty((packed.shape[2], 2), np.int64)
    offsets[:, 0] = _table(w, plan, width * pixel, stride[1] * pixel, pixel, TAPS)
    offsets[:, 1] = np.arange(packed.shape[2]) * (lanes * TAPS)
    per_group, vector = y.shape[3] // groups, packed.shape[2] * lanes * TAPS
    step = stride[1] * pixel
    pixels = source, stride[0] * width * pixel, words * TAPS, step, y.shape[2]
    filters = packed, 0, packed.shape[1] * vector, vector, per_group
    out = y[image, first:], 4 * y.shape[2] * y.shape[3], 4 * per_group, 4 * y.shape[3]
    _cover(pixels, filters, offsets, out, count, groups, tiles)


@compiled(error_model="numpy")
def _filter_rows(
    x: Array, w: Array, packed: Array, y: Array, index: int, bands: int, plan: Array, groups: int,
    value: int, tiles: Array,
) -> None:  # fmt: skip
    """A band of contiguous images: x [B, C, H, W], y [B, T, H', W']."""
    image, band = index // bands, index % bands
    first = band * y.shape[2] // bands
    count = (band + 1) * y.shape[2] // bands - first
    stride, padding = plan[0], plan[1]
    rows, width = _band_shape(y.shape[2], x.shape[3], bands, w, plan)
    words, phase = words_of(w.shape[1]), width // stride[1]
    memory = filled(groups * words * rows * width + SLACK, value)
    source = memory[:-SLACK].reshape((groups * words, rows, stride[1], phase))
    top = first * stride[0] - padding[0]
    interleave_band(x[image], top, padding[1], source, w.shape[1], value)
    offsets = np.empty((packed.shape[2], 2), np.int64)
    offsets[:, 0] = np.arange(packed.shape[2]) * TAPS
    line = width * TAPS
    offsets[:, 1] = _table(w, plan, line, TAPS, phase * TAPS, rows * line)
    per_group, plane = y.shape[1] // groups, 4 * y.shape[2] * y.shape[3]
    vector, filter_ = tiles[LANES] * TAPS, packed.shape[2] * TAPS
    filters = packed, 0, per_group * filter_, filter_, per_group
    pixels = source, stride[0] * line, words * rows * line, vector, y.shape[3]
    out = y[image, :, first], 4 * y.shape[3], per_group * plane, plane
    _cover(filters, pixels, offsets, out, count, groups, tiles)


@drivers(nogil=True)
def convolve(x: Array, w: Array, y: Array, bands: int, plan: Array, groups: int, value: int,
             channels_last: bool, tiles: Array) -> None:  # fmt: skip
    """All bands, which threads share out. x and w uint8, y int32.

    x [B, C, H, W] and y [B, T, H', W'], or both with the channels last; w [T, C/groups, kh, kw];
    ``tiles``: :func:`tiles_array`.
    """
    packed = pack_filters(w, groups, tiles[LANES] if channels_last else 1, value)
    for index in prange(x.shape[0] * bands):
        if channels_last:
            _pixel_rows(x, w, packed, y, index, bands, plan, groups, value, tiles)
        else:
            _filter_rows(x, w, packed, y, index, bands, plan, groups, value, tiles)
