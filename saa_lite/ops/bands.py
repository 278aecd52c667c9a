"""Bands of images for the vector kernels: rows [R, W, C], padded and in channels-last order.

The kernels read a pixel's channels side by side. Images in that layout that need no padding are
read where they lie; otherwise a band is copied when its turn comes, into memory of its own that
stays in the processor's cache.
"""

from typing import Any

import numpy as np

from saa_lite.ops._compile import compiled

Array = Any
WEIGHTS_IN_REACH = 16 * 1024  # bytes; half a first-level cache


@compiled()
def load_band(
    images: Array, image: int, planar: bool, first_row: int, left: int, band: Array
) -> None:
    """Rows from ``first_row`` of one image into ``band`` [R, W', C], ``left`` columns in.

    Zero wherever the image has no pixel. ``images`` is [B, C, H, W] if ``planar``, else
    [B, H, W, C]; both contiguous.
    """
    height, width = images.shape[1], images.shape[2]
    if planar:
        height, width = images.shape[2], images.shape[3]
    columns = min(width, band.shape[1] - left)
    for r in range(band.shape[0]):
        row = first_row + r
        if row < 0 or row >= height:
            fill(band[r].reshape(-1), 0)
            continue
        fill(band[r, :left].reshape(-1), 0)
        fill(band[r, left + columns :].reshape(-1), 0)
        if planar:
            for c in range(images.shape[1]):
                for column in range(columns):
                    band[r, left + column, c] = images[image, c, row, column]
        else:
            line = images[image, row, :columns].reshape(-1)
            _copy(line, band[r, left : left + columns].reshape(-1))


@compiled()
def fill(line: Array, value: float) -> None:
    """One value into every element of a flat array."""
    for i in range(line.size):
        line[i] = value


@compiled()
def _copy(source: Array, target: Array) -> None:
    for i in range(target.size):
        target[i] = source[i]


@compiled()
def store_band(images: Array, image: int, first_row: int, band: Array) -> None:
    """``band`` [R, W, C] into rows from ``first_row`` of images [B, C, H, W]."""
    for c in range(images.shape[1]):
        for r in range(band.shape[0]):
            for column in range(band.shape[1]):
                images[image, c, first_row + r, column] = band[r, column, c]


@compiled()
def rows_together(rows: int, weight_bytes: int) -> int:
    """How many rows pass before the next block of weights has its turn.

    One where all weights of a group stay in the first-level cache: then images are walked through
    once, in order. Otherwise all of them, so that each block of weights is fetched once.
    """
    return 1 if weight_bytes <= WEIGHTS_IN_REACH else rows


@compiled()
def band_limits(task: int, bands: int, rows: int) -> Any:
    """Image, first row and number of rows of a task, ``bands`` tasks to an image."""
    band = task % bands
    first = band * rows // bands
    return task // bands, first, (band + 1) * rows // bands - first


@compiled()
def new_band(rows: int, columns: int, channels: int) -> Array:
    """Memory for a band, its contents undefined."""
    return np.empty((rows, columns, channels), np.float32)


@compiled()
def keep(band: Array) -> int:
    """Call this behind the last use of a band's address: Numba frees what is not named again."""
    return band.size
