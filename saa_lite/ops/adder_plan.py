"""A layer's geometry as one array of integers, the quickest way to hand it to compiled code.

Kernels read it by name: ``plan[HEIGHT]``. Images are described as the kernels walk over them, which
need not be how the caller shaped them: to a 1 × 1 layer a batch is a heap of pixels, and short rows
would leave tiles half empty.
"""

import numpy as np
from torch import Tensor

from saa_lite.ops._arguments import Pair
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
) = range(21)  # fmt: skip

BAND_BYTES = 256 * 1024  # of padded input: stays in a core's second-level cache
FLAT_PIXELS = 4096  # longest row that a planar image is flattened to
ROW_PIXELS = 64  # longest row that a heap of pixels is cut into


def plan_for(
    input: Tensor,
    weight: Tensor,
    output_shape: tuple[int, ...],
    geometry: tuple[Pair, Pair, Pair],
    groups: int,
    planar: bool,
) -> np.ndarray:
    """int64 [21] for a dense ``input`` and a dense or channels_last ``weight``, neither empty."""
    stride, padding, dilation = geometry
    images, channels, height, width = input.shape
    filters, depth, *kernel = weight.shape
    out = output_shape[2:]
    if tuple(kernel) == stride == (1, 1) and padding == (0, 0):
        images, height, width = out_pixels = _pixels(images, height, width, planar)
        out = out_pixels[1:]
    steps = (kernel[0] * kernel[1], 1) if weight.is_contiguous() else (1, depth)
    row_bytes = FLOAT * channels * (width + 2 * padding[1])
    in_cache = -(-row_bytes * (height + 2 * padding[0]) // BAND_BYTES)
    rows = min(height, out[0])  # either is cut into bands, and a band has at least one row
    bands = min(rows, max(bands_to_share(images, rows), in_cache))
    return np.array(
        (
            images, channels, height, width, filters, *out, groups, *kernel, *stride, *padding,
            *dilation, *steps, planar, bands, threads_wanted(),
        ),
        np.int64,
    )  # fmt: skip


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
