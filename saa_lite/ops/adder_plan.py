"""A layer's geometry as one array of integers, the quickest way to hand it to compiled code.

Kernels read it by name: ``plan[HEIGHT]``. Images are described as the kernels walk over them, which
need not be how the caller shaped them: to a 1 × 1 layer a batch is a heap of pixels, and short rows
would leave tiles half empty.
"""

import itertools
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from saa_lite.kernels import machine
from saa_lite.kernels.tables import tiles_of
from saa_lite.ops._arguments import Geometry, shape_from, walks_channels_last
from saa_lite.ops._compile import cache_folder
from saa_lite.ops._launch import bands_to_share, threads_wanted
from saa_lite.ops.vector_ir import FLOAT

(
    IMAGES, CHANNELS, HEIGHT, WIDTH,  # of the input
    FILTERS, OUT_HEIGHT, OUT_WIDTH,
    GROUPS, KERNEL_ROWS, KERNEL_COLUMNS, STRIDE_ROWS, STRIDE_COLUMNS,
    PADDING_ROWS, PADDING_COLUMNS, DILATION_ROWS, DILATION_COLUMNS,
    CHANNEL_STEP, TAP_STEP,  # numbers between neighbours in the weights
    PLANAR,  # 1: images are [B, C, H, W] in memory; 0: [B, H, W, C]
    BANDS,  # tasks that an image is cut into
    PARTS,  # shares of the tasks, one per thread
    SUMMED,  # 1: tiles want Σx and Σw
    LANES,  # of a vector
    LARGEST,  # log₂ pixels of the largest tile with one vector; after it with two, ...
) = range(24)  # fmt: skip
TILES = LARGEST + 4  # addresses of tiles: SIZES of one vector, as many of two, ...

BAND_BYTES = 256 * 1024  # of padded input: stays in a core's second-level cache
FLAT_PIXELS = 4096  # longest row that a planar image is flattened to
ROW_PIXELS = 64  # longest row that a heap of pixels is cut into


def plan_for(
    kind: str, input: Tensor, weight: Tensor, layout: torch.memory_format, *geometry: *Geometry
) -> tuple[tuple[int, ...], np.ndarray]:
    """Output shape and int64 array for a dense or channels_last ``weight``; nothing empty.

    Args:
        kind: of the tiles, see :mod:`saa_lite.kernels.tables`.
        layout: of the images, once they are dense.
    """
    shapes = input.shape, weight.shape, layout, weight.is_contiguous()
    return _plan(kind, machine.VECTOR_BITS, *shapes, threads_wanted(), *geometry)


@lru_cache(maxsize=256)
def _plan(
    kind: str,
    bits: int,
    input_shape: torch.Size,
    weight_shape: torch.Size,
    layout: torch.memory_format,
    contiguous: bool,
    threads: int,
    *geometry: *Geometry,
) -> tuple[tuple[int, ...], np.ndarray]:
    stride, padding, dilation, groups = geometry
    shape = shape_from(input_shape, weight_shape, stride, padding, dilation)
    planar = not walks_channels_last(layout, input_shape, shape)
    images, channels, height, width = input_shape
    filters, depth, *kernel = weight_shape
    out = shape[2:]
    if tuple(kernel) == stride == (1, 1) and padding == (0, 0):
        images, height, width = out_pixels = _pixels(images, height, width, planar)
        out = out_pixels[1:]
    steps = (kernel[0] * kernel[1], 1) if contiguous else (1, depth)
    row_bytes = FLOAT * channels * (width + 2 * padding[1])
    in_cache = -(-row_bytes * (height + 2 * padding[0]) // BAND_BYTES)
    rows = min(height, out[0])  # either is cut into bands, and a band has at least one row
    bands = min(rows, max(bands_to_share(images, rows), in_cache))
    tiles, here = tiles_of(kind, bits, cache_folder()), machine.machine_of(bits)
    largest = tiles.largest + (0,) * (TILES - LARGEST - len(tiles.largest))
    plan = np.array(
        (
            images, channels, height, width, filters, *out, groups, *kernel, *stride, *padding,
            *dilation, *steps, planar, bands, threads, not here.absolute, here.lanes, *largest,
            *itertools.chain(*tiles.addresses),
        ),
        np.int64,
    )  # fmt: skip
    return shape, plan


def _pixels(images: int, height: int, width: int, planar: bool) -> tuple[int, int, int]:
    """Images, rows and columns to walk over where every pixel is on its own."""
    if planar:
        pixels = height * width
        keep = width % 8 == 0 or pixels > FLAT_PIXELS
        return (images, height, width) if keep else (images, 1, pixels)
    pixels = images * height * width
    for columns in range(ROW_PIXELS, 7, -8):
        if pixels % columns == 0:
            return 1, pixels // columns, columns
    return (1, 1, pixels) if pixels <= FLAT_PIXELS else (images, height, width)
