"""The uint8 adder convolution on a CPU with the hardware's sum of absolute differences.

Tiles of :mod:`.sad_ir` (rows × lanes, one word of eight taps at a time) cover the output:

* channels_last: rows are pixels, lanes are filters. The output comes out channels_last.
* otherwise: rows are filters, lanes are neighbouring pixels, and the output comes out contiguous.

A task is a band of output rows of one image. Its input is copied, padded and in words, for that
band alone; with channels_last, no padding and whole words it is read where it lies.

``plan`` is an int64 array [3, 2]: stride, padding and dilation, each for rows and columns.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops._compile import compiled, variant
from saa_lite.ops.adder_u8_pack import copy_band, filled, interleave_band, pack_filters, words_of
from saa_lite.ops.sad_ir import TAPS, tile_of

Array = Any
ROWS = {256: 4, 512: 8}  # of a tile; with two vectors of lanes, as many sums as registers allow
SLACK = 2 * 512 // 64  # words: the lanes of the last tile reach beyond the last pixel


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


def _cover_of(bits: int) -> Any:
    """The compiled function that covers a band with tiles of ``bits``-bit vectors."""
    in_vector, in_tile = bits // 64, ROWS[bits]
    wide_many, wide_one = tile_of(bits, in_tile, 2), tile_of(bits, 1, 2)
    narrow_many, narrow_one = tile_of(bits, in_tile, 1), tile_of(bits, 1, 1)

    @variant(bits, error_model="numpy")
    def tiles(a, rows, a_step, v, left, v_step, offsets, y, y_step):  # type: ignore[no-untyped-def]
        """All rows, two vectors of lanes, of which ``left`` are in use; addresses and bytes."""
        many, wide = rows >= in_tile, left > in_vector
        vectors = v, v_step, offsets.ctypes.data, len(offsets)  # offsets [words, 2]: row, vector
        for row in range(0, rows, in_tile if many else 1):
            # The last tile goes back over rows already done: the same sums again.
            i = min(row, rows - in_tile) if many else row
            out = y + i * y_step, y_step, left
            if many and wide:
                wide_many(a + i * a_step, a_step, *vectors, *out)
            elif many:
                narrow_many(a + i * a_step, a_step, *vectors, *out)
            elif wide:
                wide_one(a + i * a_step, a_step, *vectors, *out)
            else:
                narrow_one(a + i * a_step, a_step, *vectors, *out)

    @variant(bits, error_model="numpy")
    def cover(rows, lanes, offsets, y, image_rows, groups):  # type: ignore[no-untyped-def]
        """All image rows of a band and all groups.

        ``rows``, ``lanes`` and ``y``: array, bytes to the next image row, to the next group, to the
        next one; then, but for y, how many. The arrays are arguments so that they stay alive. Image
        rows pass innermost: what two vectors of lanes need stays in the nearest cache.
        """
        a, a_image_row, a_group, a_step, row_count = rows
        v, v_image_row, v_group, v_step, lane_count = lanes
        out, out_image_row, out_group, out_step = y
        a_at, v_at, at = a.ctypes.data, v.ctypes.data, out.ctypes.data
        for g in range(groups):
            for lane in range(0, lane_count, 2 * in_vector):
                here = v_at + g * v_group + lane // in_vector * v_step
                there = at + g * out_group + 4 * lane
                for r in range(image_rows):
                    tiles(
                        a_at + g * a_group + r * a_image_row, row_count, a_step,
                        here + r * v_image_row, lane_count - lane, v_step, offsets,
                        there + r * out_image_row, out_step,
                    )  # fmt: skip

    return cover


def _pixel_rows_of(bits: int) -> Any:
    """The compiled function for a band with the channels last."""
    cover, lanes = _cover_of(bits), bits // 64

    @variant(bits, error_model="numpy")
    def pixel_rows(x, w, packed, y, index, bands, plan, groups, value):  # type: ignore[no-untyped-def]
        """x [B, H, W, C], y [B, H', W', T]."""
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
        offsets = np.empty((packed.shape[2], 2), np.int64)
        offsets[:, 0] = _table(w, plan, width * pixel, stride[1] * pixel, pixel, TAPS)
        offsets[:, 1] = np.arange(packed.shape[2]) * (lanes * TAPS)
        per_group, vector = y.shape[3] // groups, packed.shape[2] * lanes * TAPS
        step = stride[1] * pixel
        pixels = source, stride[0] * width * pixel, words * TAPS, step, y.shape[2]
        filters = packed, 0, packed.shape[1] * vector, vector, per_group
        out = y[image, first:], 4 * y.shape[2] * y.shape[3], 4 * per_group, 4 * y.shape[3]
        cover(pixels, filters, offsets, out, count, groups)

    return pixel_rows


def _filter_rows_of(bits: int) -> Any:
    """The compiled function for a band of contiguous images."""
    cover, lanes = _cover_of(bits), bits // 64

    @variant(bits, error_model="numpy")
    def filter_rows(x, w, packed, y, index, bands, plan, groups, value):  # type: ignore[no-untyped-def]
        """x [B, C, H, W], y [B, T, H', W']."""
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
        per_group, vector, plane = y.shape[1] // groups, lanes * TAPS, 4 * y.shape[2] * y.shape[3]
        filter_ = packed.shape[2] * TAPS
        filters = packed, 0, per_group * filter_, filter_, per_group
        pixels = source, stride[0] * line, words * rows * line, vector, y.shape[3]
        out = y[image, :, first], 4 * y.shape[3], per_group * plane, plane
        cover(filters, pixels, offsets, out, count, groups)

    return filter_rows


def _task_of(bits: int) -> Any:
    """The compiled function for a band."""
    pixel_rows, filter_rows = _pixel_rows_of(bits), _filter_rows_of(bits)

    @variant(bits, error_model="numpy")
    def task(x, w, packed, y, index, bands, plan, groups, value, channels_last):  # type: ignore[no-untyped-def]
        if channels_last:
            pixel_rows(x, w, packed, y, index, bands, plan, groups, value)
        else:
            filter_rows(x, w, packed, y, index, bands, plan, groups, value)

    return task


_task_512, _task_256 = _task_of(512), _task_of(256)


@compiled(nogil=True)
def serial_512(x: Array, w: Array, y: Array, bands: int, plan: Array, groups: int, value: int,
               channels_last: bool) -> None:  # fmt: skip
    """All bands on the calling thread. x and w uint8, y int32.

    x [B, C, H, W] and y [B, T, H', W'], or both with the channels last; w [T, C/groups, kh, kw].
    """
    packed = pack_filters(w, groups, 8 if channels_last else 1, value)
    for index in range(x.shape[0] * bands):
        _task_512(x, w, packed, y, index, bands, plan, groups, value, channels_last)


@compiled(nogil=True, parallel=True)
def parallel_512(x: Array, w: Array, y: Array, bands: int, plan: Array, groups: int, value: int,
                 channels_last: bool) -> None:  # fmt: skip
    """As :func:`serial_512`, bands shared out among threads."""
    packed = pack_filters(w, groups, 8 if channels_last else 1, value)
    for index in prange(x.shape[0] * bands):
        _task_512(x, w, packed, y, index, bands, plan, groups, value, channels_last)


@compiled(nogil=True)
def serial_256(x: Array, w: Array, y: Array, bands: int, plan: Array, groups: int, value: int,
               channels_last: bool) -> None:  # fmt: skip
    """As :func:`serial_512`, with vectors half as long."""
    packed = pack_filters(w, groups, 4 if channels_last else 1, value)
    for index in range(x.shape[0] * bands):
        _task_256(x, w, packed, y, index, bands, plan, groups, value, channels_last)


@compiled(nogil=True, parallel=True)
def parallel_256(x: Array, w: Array, y: Array, bands: int, plan: Array, groups: int, value: int,
                 channels_last: bool) -> None:  # fmt: skip
    """As :func:`serial_256`, bands shared out among threads."""
    packed = pack_filters(w, groups, 4 if channels_last else 1, value)
    for index in prange(x.shape[0] * bands):
        _task_256(x, w, packed, y, index, bands, plan, groups, value, channels_last)
