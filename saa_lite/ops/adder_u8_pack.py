"""From images and filters of bytes to the words that the vector kernels read.

A *word* is eight channels of one pixel, or of one tap of a filter. The channels of a group are
filled up to whole words with the padding value, in input and weights alike: |v − v| = 0. All of
this runs inside compiled kernels.
"""

from typing import Any

import numpy as np

from saa_lite.kernels.adder_u8 import TAPS
from saa_lite.ops._compile import compiled
from saa_lite.ops.vector_moves import copy_bytes, interleave

Array = Any
LINE = 8  # words in a cache line
EACH_BYTE = np.uint64(0x0101010101010101)


@compiled(error_model="numpy")
def words_of(channels: int) -> int:
    """Words that hold ``channels`` channels."""
    return -(-channels // TAPS)


@compiled(error_model="numpy")
def filled(words: int, value: int) -> Array:
    """That many words, every byte ``value``, from a 64-byte boundary on."""
    memory = np.full(words + LINE, np.uint64(value) * EACH_BYTE)
    start = -memory.ctypes.data % (LINE * TAPS) // TAPS
    return memory[start : start + words]


@compiled(error_model="numpy")
def pack_filters(w: Array, groups: int, lanes: int, value: int) -> Array:
    """w [T, C, kh, kw] → words [groups, vectors, ⌈C / 8⌉·kh·kw, lanes], filters as lanes."""
    filters, channels, taps = w.shape[0], w.shape[1], w.shape[2] * w.shape[3]
    per_group, words = filters // groups, words_of(channels)
    vectors = -(-per_group // lanes)
    size = groups * vectors * words * taps * lanes
    packed = filled(size, value).reshape((groups, vectors, words * taps, lanes))
    line = filled(words * taps, value)
    weights, words_at = w.ctypes.data, line.ctypes.data
    for t in range(filters):
        group, one = divmod(t, per_group)
        source = weights + t * channels * taps
        if taps == 1:
            copy_bytes(source, words_at, channels)
        else:
            for word in range(words):
                count = min(TAPS, channels - TAPS * word)
                at = words_at + TAPS * word * taps
                _interleave_row(source + TAPS * word * taps, taps, count, taps, at)
        target = packed[group, one // lanes, :, one % lanes]
        for k in range(words * taps):
            target[k] = line[k]
    return packed


@compiled(error_model="numpy")
def copy_band(image: Array, first_row: int, left: int, band: Array, groups: int) -> None:
    """Rows first_row … of ``image`` [H, W, C] into words, ``band`` [R, W', groups·words]."""
    height, width, channels = image.shape
    run, pitch = channels // groups, band.shape[2] // groups * TAPS
    if run == pitch:  # nothing to fill up: a whole row at once
        run = pitch = width * channels
    for r in range(max(0, -first_row), min(band.shape[0], height - first_row)):
        source, target = image[first_row + r].ctypes.data, band[r, left].ctypes.data
        for i in range(width * channels // run):
            copy_bytes(source + i * run, target + i * pitch, run)


@compiled(error_model="numpy")
def interleave_band(
    image: Array, first_row: int, left: int, band: Array, per_group: int, value: int
) -> None:
    """Rows first_row … of ``image`` [C, H, W] into words, ``band`` [groups·words, R, stride, W'].

    Columns a stride apart become neighbours: one tap of neighbouring output pixels sees them.
    """
    words, stride, width = words_of(per_group), band.shape[2], image.shape[2]
    plane = image.shape[1] * width
    line = filled(band.shape[3] * stride if stride > 1 else 0, value)
    source, line_at, at = image.ctypes.data, line.ctypes.data, band.ctypes.data
    for word in range(band.shape[0]):
        group, block = divmod(word, words)
        channel, count = group * per_group + block * TAPS, min(TAPS, per_group - block * TAPS)
        line[:] = np.uint64(value) * EACH_BYTE
        for r in range(max(0, -first_row), min(band.shape[1], image.shape[1] - first_row)):
            row = source + channel * plane + (first_row + r) * width
            if stride == 1:
                target = at + TAPS * ((word * band.shape[1] + r) * band.shape[3] + left)
                _interleave_row(row, plane, count, width, target)
                continue
            _interleave_row(row, plane, count, width, line_at + TAPS * left)
            for phase in range(stride):
                for i in range(band.shape[3]):
                    band[word, r, phase, i] = line[i * stride + phase]


@compiled(error_model="numpy")
def _interleave_row(source: int, step: int, count: int, width: int, target: int) -> None:
    """``width`` bytes from each of ``count`` ≤ 8 rows, ``step`` apart, to as many words."""
    if count == TAPS and width >= TAPS:
        for block in range(0, width, TAPS):
            column = min(block, width - TAPS)  # the last one goes back over columns already done
            interleave(source + column, step, target + TAPS * column)
    else:
        for column in range(width):
            for c in range(count):
                copy_bytes(source + c * step + column, target + TAPS * column + c, 1)
