"""Where everything lies while 64 lanes run through the int8 shift convolution.

A *lane* is a band of output rows of one image. All lanes do the same to different numbers, so 64 of
them share a vector: at batch 64 and one band these are 64 whole images, at batch 1 they are up to
64 bands. All bands have ``rows`` output rows; the last one goes back over rows already done, and
the last group of 64 repeats its last lane: the same sums again, in the same place.

A plan depends on shapes alone and is kept; it holds no weights.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from saa_lite.ops._arguments import Pair
from saa_lite.ops._compile import compiled
from saa_lite.ops.shift_ir import COLUMNS, LANES, LINE, PIXELS, QUAD, QUADS, SUMS

Array = Any

# Lines under a tile that filters see one after the other: 100 KiB, well within the second-level
# cache. Blocks that fit the first level (32 KiB) would need more of the costly last steps.
TILE_LINES = 1600
# Band of input under one group of lanes, bytes: half of a common second-level cache.
LARGEST_BAND = 512 * 1024
# Costs in additions of one line: what a tile pays beside its taps, and a line for its packing.
PER_SUM, PER_LINE = 50, 16
FILTERS = 16  # at a time, whose sums are held
# Lines of neighbouring channels spread over the 64 sets of a cache: 64 times the golden section.
SPREAD = 39


class Plan(NamedTuple):
    """Geometry of one convolution; "offset" means bytes behind some first line."""

    channels_last: int
    channels: int
    height: int
    width: int
    filters: int
    groups: int
    padding: int  # rows
    output_width: int
    area: int  # pixels of an output image
    rows: int  # output rows of a band
    input_rows: int  # under them, padding included
    row_step: int  # rows of input from one output row to the next
    row: int  # bytes from one row of lines to the next
    channel: int  # bytes from one channel of lines to the next
    kernel: int  # taps of a channel
    block: int  # channels of a block
    patch: int  # tiles that are written together: whole lines of the cache
    chunk: int  # filters that are
    lanes: Array  # int64 [64·n, 2]: image and first output row of each lane
    targets: Array  # int64 [L]: offset of each number of a run; runs are as in `pack_band`
    sides: Array  # int64: offsets of the padding columns of a row
    offsets: Array  # int32 [C/groups·kh·kw]: offset of each tap, from its block's first channel
    quads: Array  # int64 [QUADS]: offset of each quad of a tile
    tiles: Array  # int64 [n, 2]: output row and column of each tile
    runs: Array  # int64 [patches, n, 18]: as `runs_of`


@compiled(error_model="numpy")
def plan_from(
    n: Array, lanes: Array, targets: Array, sides: Array, offsets: Array, quads: Array,
    tiles: Array, runs: Array,
) -> Plan:  # fmt: skip
    """The plan of :func:`plan_arrays` again: Numba takes arrays from Python faster than tuples."""
    return Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13],
        n[14], n[15], n[16], n[17], lanes, targets, sides, offsets, quads, tiles, runs,
    )  # fmt: skip


@lru_cache(maxsize=64)
def plan_arrays(
    shape: tuple[int, ...], output: tuple[int, ...], weight: tuple[int, ...], stride: Pair,
    padding: Pair, dilation: Pair, groups: int, channels_last: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """The plan's numbers as one int64 array, then its arrays.

    A 1 × 1 kernel without stride and padding sees each pixel alone; its pixels, all of them with
    channels last and else those of an image, are counted in rows of eight or four if that fits.

    Args:
        shape, output, weight: of input [B, C, H, W], output [B, T, H', W'] and weight
            [T, C/groups, kh, kw].
    """
    if weight[2:] == stride == (1, 1) and padding == (0, 0):
        shape, output = (_in_rows(size, channels_last) for size in (shape, output))
    plan = _plan(shape, output, weight, stride, padding, dilation, groups, channels_last)
    numbers = [value for value in plan if isinstance(value, int)]
    return np.array(numbers, np.int64), *plan[len(numbers) :]


def _in_rows(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    batch, channels, height, width = shape
    images, pixels = (1, batch * height * width) if channels_last else (batch, height * width)
    fitting = [length for length in (8, 4) if pixels % length == 0]
    return (images, channels, pixels // fitting[0], fitting[0]) if fitting else shape


def _plan(
    shape: tuple[int, ...], output: tuple[int, ...], weight: tuple[int, ...], stride: Pair,
    padding: Pair, dilation: Pair, groups: int, channels_last: bool,
) -> Plan:  # fmt: skip
    batch, channels, height, width = shape
    filters, per_group, kernel_rows, kernel_columns = weight
    reach = dilation[0] * (kernel_rows - 1), dilation[1] * (kernel_columns - 1)
    rows = _rows(shape, weight, output, stride, reach)
    form = _form(rows, output[3], stride, reach)
    # One column too many for each phase: what no one reads may be written there.
    wide = max(width + 2 * padding[1], (form[1] - 1) * stride[1] + reach[1] + 1)
    pitch = (-(-wide // stride[1]) + 1) * stride[1]
    input_rows = (rows - 1) * stride[0] + reach[0] + 1
    channel = _spread(input_rows * pitch)
    column = _columns(np.arange(pitch), stride[1], pitch)
    blocks = -(-per_group * _lines_under(form, stride, reach) // TILE_LINES)
    block = -(-per_group // min(per_group, blocks))
    tiles = _tiles(rows, output[3], form)
    patch = 1 if channels_last else max(-(-min(16, output[3]) // form[1]), 16 // PIXELS)
    return Plan(
        int(channels_last), channels, height, width, filters, groups,
        padding[0], output[3], output[2] * output[3],
        rows, input_rows, stride[0], pitch * LINE, channel * LINE,
        kernel_rows * kernel_columns, block, patch, FILTERS // patch,
        _lanes(batch, output[2], rows),
        _targets(channels_last, shape, input_rows, padding[1], column, channel),
        np.append(column[: padding[1]], column[padding[1] + width :][: padding[1]]) * LINE,
        _offsets(weight, dilation, column, pitch, channel, block).ravel(),
        np.array([(row * stride[0] * pitch + at) * LINE for row, at in _quads(form)]),
        np.array(tiles), runs_of(tiles, form, patch, output[3]),
    )  # fmt: skip


def _columns(columns: Array, stride: int, pitch: int) -> Array:
    """Place of each column in its row: columns a stride apart become neighbours."""
    return columns % stride * (pitch // stride) + columns // stride


def _spread(lines: int) -> int:
    return lines if lines < 64 else lines + (SPREAD - lines) % 64


def _lines_under(form: Pair, stride: Pair, reach: Pair) -> int:
    """Lines of a channel that a tile of ``form`` sees."""
    return ((form[0] - 1) * stride[0] + reach[0] + 1) * ((form[1] - 1) * stride[1] + reach[1] + 1)


def _form(rows: int, columns: int, stride: Pair, reach: Pair) -> Pair:
    """Rows × columns of a tile: few tiles in a band, then few lines under each, then long rows."""
    forms = [(high, PIXELS // high) for high in (1, 2, 4) if high <= min(rows, QUADS)]
    return min(
        forms,
        key=lambda form: (len(_tiles(rows, columns, form)), _lines_under(form, stride, reach)),
    )


def _rows(
    shape: tuple[int, ...], weight: tuple[int, ...], output: tuple[int, ...], stride: Pair,
    reach: Pair,
) -> int:  # fmt: skip
    """The cheapest rows of a band: full lanes, few rows packed twice, and a band in the cache."""
    taps = weight[1] * weight[2] * weight[3]

    def cost(rows: int) -> tuple[bool, int]:
        lines = ((rows - 1) * stride[0] + reach[0] + 1) * (output[3] * stride[1]) * shape[1]
        tiles = _tiles(rows, output[3], _form(rows, output[3], stride, reach))
        sums = len(tiles) * PIXELS * weight[0] * (taps + PER_SUM)
        groups = -(-shape[0] * -(-output[2] // rows) // LANES)
        return lines * LINE > LARGEST_BAND and rows > 1, groups * (sums + lines * PER_LINE)

    return min((-(-output[2] // bands) for bands in range(1, output[2] + 1)), key=cost)


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


def _tiles(rows: int, columns: int, form: Pair) -> list[Pair]:
    """First rows and columns; the last ones go back over pixels already done."""
    tops = [*range(0, rows - form[0], form[0]), rows - form[0]]
    starts = [*range(0, columns - form[1], form[1]), max(0, columns - form[1])]
    return [(top, start) for top in tops for start in starts]


def _quads(form: Pair) -> list[Pair]:
    return [(row, start) for row in range(form[0]) for start in range(0, form[1], QUAD)]


def runs_of(tiles: list[Pair], form: Pair, patch: int, columns: int) -> Array:
    """Up to 16 neighbouring output pixels at a time, for each patch.

    Each is first pixel, count, and the offsets of their sums; pixels count through the band's rows.
    A patch with fewer runs than others ends in empty ones.
    """
    patches = []
    for first in range(0, len(tiles), patch):
        sums = {}  # of each pixel
        for i, (top, start) in enumerate(tiles[first : first + patch]):
            for k, (row, at) in enumerate(_quads(form)):
                for column in range(start + at, min(start + at + QUAD, columns)):
                    place = i * PIXELS + k * QUAD + column - start - at
                    sums[(top + row) * columns + column] = place * SUMS
        runs: list[list[int]] = []
        for pixel in sorted(sums):
            if not runs or len(runs[-1]) == 2 + 16 or pixel != runs[-1][0] + len(runs[-1]) - 2:
                runs.append([pixel, 0])
            runs[-1].append(sums[pixel])
            runs[-1][1] += 1
        patches.append([run + run[-1:] * (18 - len(run)) for run in runs])
    longest = max(map(len, patches))
    return np.array([runs + [[0] * 18] * (longest - len(runs)) for runs in patches])
