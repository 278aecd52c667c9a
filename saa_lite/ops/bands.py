"""Bands of images for the vector kernels: rows [R, W, C], padded and in channels-last order.

The kernels read a pixel's channels side by side. Images in that layout that need no padding are
read where they lie; otherwise a band is copied when its turn comes, into memory of its own that
stays in the processor's cache. Memory is named by byte addresses (int64), since views of arrays
cost as much here as a small tile.
"""

from typing import Any

import numpy as np

from saa_lite.kernels.tables import SIZES
from saa_lite.ops import adder_plan as at
from saa_lite.ops._compile import compiled
from saa_lite.ops.vector_ir import BYTES, FLOAT, LANES
from saa_lite.ops.vector_moves import clear_bytes, copy_bytes, transpose_tile

Array = Any
WEIGHTS_IN_REACH = 16 * 1024  # bytes; half a first-level cache


@compiled()
def new_floats(count: int) -> Array:
    """Memory for ``count`` floats, undefined, with room to start at a multiple of 64 bytes."""
    return np.empty(count + LANES, np.float32)


@compiled()
def address_of(memory: Array) -> int:
    """Where :func:`new_floats` starts: no vector then lies across two cache lines."""
    return -(-memory.ctypes.data // BYTES) * BYTES


@compiled()
def keep(memory: Array) -> int:
    """Call this behind the last use of an address: Numba frees what is not named again."""
    return memory.size


@compiled()
def band_limits(task: int, bands: int, rows: int) -> Any:
    """Image, first row and number of rows of a task, ``bands`` tasks to an image."""
    band = task % bands
    first = band * rows // bands
    return task // bands, first, (band + 1) * rows // bands - first


@compiled()
def load_band(
    image: int, planar: int, channels: int, height: int, width: int, first_row: int, left: int,
    band: int, rows: int, columns: int,
) -> None:  # fmt: skip
    """Rows from ``first_row`` of one image into a band [rows, columns, C], ``left`` columns in.

    Zero wherever the image has no pixel. The image is [C, H, W] if ``planar``, else [H, W, C].
    """
    pixel = channels * FLOAT
    inside = min(width, columns - left)
    for r in range(rows):
        row, target = first_row + r, band + r * columns * pixel
        if row < 0 or row >= height:
            clear_bytes(target, columns * pixel)
            continue
        clear_bytes(target, left * pixel)
        clear_bytes(target + (left + inside) * pixel, (columns - left - inside) * pixel)
        target += left * pixel
        if planar:
            source = image + row * width * FLOAT
            transpose(source, height * width * FLOAT, channels, inside, target, pixel)
        else:
            copy_bytes(image + row * width * pixel, target, inside * pixel)


@compiled()
def store_band(
    image: int, channels: int, height: int, width: int, first_row: int, band: int, rows: int
) -> None:
    """A band [rows, W, C] into rows from ``first_row`` of a planar image [C, H, W]."""
    plane = height * width * FLOAT
    for r in range(rows):
        target = image + (first_row + r) * width * FLOAT
        source = band + r * width * channels * FLOAT
        transpose(source, channels * FLOAT, width, channels, target, plane)


@compiled()
def transpose(
    source: int, source_step: int, rows: int, columns: int, target: int, target_step: int
) -> None:
    """rows × columns floats, neighbours in a row side by side, to columns × rows."""
    for i in range(0, rows, LANES):
        for j in range(0, columns, LANES):
            transpose_tile(
                source + i * source_step + j * FLOAT, source_step,
                min(LANES, rows - i), min(LANES, columns - j),
                target + j * target_step + i * FLOAT, target_step,
            )  # fmt: skip


@compiled()
def rows_together(rows: int, weight_bytes: int) -> int:
    """How many rows pass before the next block of weights has its turn.

    One where all weights of a group stay in the first-level cache: then images are walked through
    once, in order. Otherwise all of them, so that each block of weights is fetched once.
    """
    return 1 if weight_bytes <= WEIGHTS_IN_REACH else rows


@compiled()
def next_tiles(left: int, width: int, largest: int) -> Any:
    """How to go on with a row of ``width`` pixels of which ``left`` are left: log₂ pixels, tiles.

    The last tile may reach back over pixels already done: the same sums again. Only where the row
    is shorter than a tile do two smaller ones share it. ``largest`` is log₂ pixels, too.
    """
    if left >= 1 << largest:
        return largest, left >> largest
    size = 0
    while 1 << size < left:
        size += 1
    return size if 1 << size <= width else size - 1, 1


@compiled()
def tile_at(plan: Array, vectors: int, size: int) -> int:
    """Address of the tile of so many vectors and 2^``size`` pixels."""
    return plan[at.TILES + SIZES * (vectors - 1) + size]
