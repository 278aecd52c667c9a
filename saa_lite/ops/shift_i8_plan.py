"""Where everything lies while 32 lanes run through the int8 shift convolution.

A *lane* is a band of output rows of one image. All lanes do the same to different numbers, so 32 of
them share a vector: at batch 32 and one band these are 32 whole images, at batch 1 they are up to
32 bands. All bands have ``rows`` output rows; the last one goes back over rows already done, and
the last group of 32 repeats its last lane: the same sums again, in the same place.

A plan depends on shapes alone and is kept; it holds no weights.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from saa_lite.ops._arguments import Pair
from saa_lite.ops.shift_ir import COLUMNS, LANES, LINE, PIXELS, QUAD

Array = Any

# Lines under a tile that stay in the first-level cache while all filters pass (24 of 32 KiB).
TILE_LINES = 384
# Band of input under one group of lanes, bytes: half of a common second-level cache.
LARGEST_BAND = 512 * 1024
# Costs in additions of one line: what a tile pays beside its taps, and a line for its packing.
PER_SUM, PER_LINE = 50, 16
# Lines of neighbouring channels spread over the 64 sets of a cache: 64 times the golden section.
SPREAD = 39


class Plan(NamedTuple):
    """Geometry of one convolution; "offset" means bytes behind some first line."""

    channels_last: bool
    channels: int
    height: int
    width: int
    filters: int
    groups: int
    image: int  # bytes of an input image
    rows: int  # output rows of a band
    input_rows: int  # under them, padding included
    row_step: int  # rows of input from one output row to the next
    row: int  # bytes from one row of lines to the next
    channel: int  # bytes from one channel of lines to the next
    taps: int  # of a filter
    block: int  # channels of a block
    lanes: Array  # int64 [32·n, 2]: image and first output row of each lane
    targets: Array  # int64 [L]: offset of each number of a run; runs are as in `pack_band`
    sides: Array  # int64: offsets of the padding columns of a row
    offsets: Array  # int32 [C/groups, kh, kw]: offset of each tap, from its block's first channel
    tiles: Array  # int64 [n, 4]: output row and column of the first quad and of the second


@lru_cache(maxsize=64)
def plan_of(
    shape: tuple[int, ...], weight: tuple[int, ...], output: tuple[int, ...], stride: Pair,
    padding: Pair, dilation: Pair, groups: int, channels_last: bool,
) -> Plan:  # fmt: skip
    """The plan for input [B, C, H, W], weight [T, C/groups, kh, kw] and output [B, T, H', W']."""
    batch, channels, height, width = shape
    filters, per_group, kernel_rows, kernel_columns = weight
    reach = dilation[0] * (kernel_rows - 1), dilation[1] * (kernel_columns - 1)
    # One column too many for each phase: what no one reads may be written there.
    wide = max(width + 2 * padding[1], (max(output[3], QUAD) - 1) * stride[1] + reach[1] + 1)
    pitch = (-(-wide // stride[1]) + 1) * stride[1]
    bands = _bands(shape, weight, output, stride[0], reach[0], pitch)
    rows = -(-output[2] // bands)
    input_rows = (rows - 1) * stride[0] + reach[0] + 1
    channel = _spread(input_rows * pitch)
    column = _columns(np.arange(pitch), stride[1], pitch)
    blocks = -(-per_group * _lines_of_tile(rows, stride, reach) // TILE_LINES)
    block = -(-per_group // min(per_group, blocks))
    return Plan(
        channels_last, channels, height, width, filters, groups, channels * height * width,
        rows, input_rows, stride[0], pitch * LINE, channel * LINE,
        per_group * kernel_rows * kernel_columns, block,
        _lanes(batch, output[2], rows),
        _targets(channels_last, shape, input_rows, padding[1], column, channel),
        np.append(column[: padding[1]], column[padding[1] + width :][: padding[1]]) * LINE,
        _offsets(weight, dilation, column, pitch, channel, block),
        _tiles(rows, output[3]),
    )  # fmt: skip


def _columns(columns: Array, stride: int, pitch: int) -> Array:
    """Place of each column in its row: columns a stride apart become neighbours."""
    return columns % stride * (pitch // stride) + columns // stride


def _spread(lines: int) -> int:
    return lines + (SPREAD - lines) % 64


def _lines_of_tile(rows: int, stride: Pair, reach: Pair) -> int:
    high, long = (2, QUAD) if rows > 1 and PIXELS > QUAD else (1, PIXELS)
    under = (high - 1) * stride[0] + reach[0] + 1, (long - 1) * stride[1] + reach[1] + 1
    return under[0] * under[1]


def _bands(
    shape: tuple[int, ...], weight: tuple[int, ...], output: tuple[int, ...], stride: int,
    reach: int, pitch: int,
) -> int:  # fmt: skip
    """The cheapest number of bands: full lanes, few rows packed twice, and a band in the cache."""
    taps = weight[1] * weight[2] * weight[3]

    def cost(bands: int) -> tuple[bool, int]:
        rows = -(-output[2] // bands)
        lines = ((rows - 1) * stride + reach + 1) * pitch * shape[1]
        sums = len(_tiles(rows, output[3])) * PIXELS * weight[0] * (taps + PER_SUM)
        groups = -(-shape[0] * -(-output[2] // rows) // LANES)
        return lines * LINE > LARGEST_BAND and rows > 1, groups * (sums + lines * PER_LINE)

    return min(range(1, output[2] + 1), key=cost)


def _lanes(batch: int, height: int, rows: int) -> Array:
    """Image and first output row of each lane; neighbouring lanes are neighbouring images."""
    starts = np.minimum(np.arange(0, height, rows), height - rows)
    lanes = np.stack([np.tile(np.arange(batch), len(starts)), np.repeat(starts, batch)], 1)
    return np.pad(lanes, ((0, -len(lanes) % LANES), (0, 0)), "edge").astype(np.int64)


def _targets(
    channels_last: bool, shape: tuple[int, ...], rows: int, left: int, column: Array, channel: int
) -> Array:
    """Offsets for one run: all rows of a channel, or with channels last all channels of a row."""
    inside = column[left : left + shape[3]]
    if channels_last:
        lines = inside[:, None] + np.arange(shape[1]) * channel
    else:
        lines = inside + np.arange(rows)[:, None] * len(column)
    unread = np.full(-lines.size % COLUMNS, len(column) - 1)
    return np.append(lines, unread) * LINE


def _offsets(
    weight: tuple[int, ...], dilation: Pair, column: Array, pitch: int, channel: int, block: int
) -> Array:
    channels, rows, columns = np.ogrid[: weight[1], : weight[2], : weight[3]]
    lines = channels % block * channel + rows * dilation[0] * pitch + column[columns * dilation[1]]
    return (lines * LINE).astype(np.int32)


def _tiles(rows: int, columns: int) -> Array:
    """Quads of pixels, two to a tile: one above the other, or side by side in a single row."""
    starts = [*range(0, columns - QUAD, QUAD), max(0, columns - QUAD)]
    if PIXELS == QUAD:
        pairs = [((row, start), (row, start)) for row in range(rows) for start in starts]
    elif rows > 1:
        tops = [*range(0, rows - 2, 2), rows - 2]
        pairs = [((top, start), (top + 1, start)) for top in tops for start in starts]
    else:
        seconds = [*starts[1::2], *starts[-1:]]
        pairs = [((0, a), (0, b)) for a, b in zip(starts[::2], seconds, strict=False)]
    return np.array(pairs, np.int64).reshape(-1, 4)
