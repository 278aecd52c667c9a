"""A layer on images of one size as a table of numbers: which tile runs where.

Everything that depends on sizes alone is worked out here, once, in Python: the bands that an image
is cut into, the taps that a pixel's patch has, the tiles that cover a row. What is left to compiled
code (:mod:`.walk`) is to copy a band, to call its tiles at the addresses of the moment, and to go
on to the next. It reads the table by name: ``plan[HEIGHT]``.

Forward and backward are one walk. Both write an image pixel by pixel (*to*: the output, or the
gradient of the input) and read another at taps (*from*: the input, or the gradient of the output).
Row r of the output looks at rows r·s − p + k·d of the input, for k in the kernel. Row r of the
input is looked at by the rows (r + p − k·d) / s of the output, where that is a whole number: which
k those are depends on the *phase* (r + p) mod s. Columns are the same again.
"""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from saa_lite.kernels.adder_u8 import TAPS
from saa_lite.kernels.geometry import Geometry, Pair
from saa_lite.kernels.ir import FLOAT
from saa_lite.kernels.machine import BLOCK, Machine
from saa_lite.kernels.tables import Tiles

KINDS = ("distance", "clipped", "bytes")  # of tiles: forward, input gradient, forward of bytes
DISTANCE, CLIPPED, WORDS = range(3)
(
    KIND, IMAGES, GROUPS, PLANAR,  # PLANAR: images are [B, C, H, W] in memory, else [B, H, W, C]
    CHANNELS, HEIGHT, WIDTH,  # of the images that taps read
    RESULTS, ROWS, COLUMNS,  # channels and size of the images that are written
    BANDS, PARTS,  # tasks that an image is cut into; shares of all tasks, one per thread
    MOST, SEEN,  # rows of the largest band: that are written, that are read
    LEFT, PITCH, PIXEL,  # of a band: columns before the image, all columns, bytes of a pixel
    DIRECT,  # whether images need no copy to be a band
    BARE,  # whether there are pixels that no tap reaches: they are 0
    STEP, OWN_STEP, OUT_STEP,  # bytes between a tile's pixels: taps, own numbers, results
    OWN_BLOCK,  # bytes between the own numbers of two blocks
    LANES, WEIGHT_BYTES,  # of a block: results, and bytes of its packed weights
    TOGETHER,  # rows that pass before the next block has its turn
    SUMMED,  # whether tiles want Σx and Σw
    AREA, RUN, LANE_STEP, RUN_STEP, TAP_STEP, GROUP_STEP,  # of the weights; steps in bytes
    KERNEL_ROWS, KERNEL_COLUMNS, STRIDE_ROWS, DILATION_ROWS, DILATION_COLUMNS,
    TAP_TABLE, BAND_TABLE, ROW_TABLE, CALL_TABLE,  # where they start
    HEADER,
) = range(43)  # fmt: skip
TAP = 3  # bytes to the input, bytes to the weights, how many follow each other
BAND = 5  # first row and rows that are written, that are read, first entry in ROW_TABLE
ROW = 2  # first call for whole blocks, for the last block
CALL = 7  # tile; bytes to the patch, own numbers, results, taps; taps, tiles
NUMBER = 8  # bytes of each
BAND_BYTES = 256 * 1024  # of input: stays in a core's second-level cache
WEIGHTS_IN_REACH = 16 * 1024  # bytes; half a first-level cache


class Axis(NamedTuple):
    """Rows or columns: what the pixels that are written see of those that are read."""

    base: list[int]  # of every pixel
    phase: list[int]
    taps: list[list[tuple[int, int]]]  # by phase: steps from the base, place in the packed kernel

    @property
    def lowest(self) -> int:
        """Steps to the first tap of any phase; 0 where there is none."""
        return min((step for taps in self.taps for step, _ in taps), default=0)

    @property
    def highest(self) -> int:
        """Steps to the last one."""
        return max((step for taps in self.taps for step, _ in taps), default=0)


def axis_of(
    backward: bool, size: int, kernel: int, stride: int, padding: int, dilation: int
) -> Axis:
    """``size`` pixels are written. Backward, the kernel is packed in reverse: taps then ascend."""
    if not backward:
        base = [pixel * stride - padding for pixel in range(size)]
        return Axis(base, [0] * size, [[(k * dilation, k) for k in range(kernel)]])
    taps: list[list[tuple[int, int]]] = [[] for _ in range(stride)]
    for phase in range(stride):
        for place in range(kernel):
            steps, rest = divmod(phase - (kernel - 1 - place) * dilation, stride)
            if rest == 0:
                taps[phase].append((steps, place))
    places = [divmod(pixel + padding, stride) for pixel in range(size)]
    return Axis([base for base, _ in places], [phase for _, phase in places], taps)


class Layer(NamedTuple):
    """What a plan is made for; ``source`` and ``target`` are (channels, rows, columns)."""

    machine: Machine
    kind: int
    images: int
    source: tuple[int, int, int]  # that taps read
    target: tuple[int, int, int]  # that is written
    kernel: Pair
    geometry: Geometry
    planar: bool
    dense: bool  # the weights are [T, C / groups, kh, kw] in memory, else [T, kh, kw, C / groups]

    @property
    def run(self) -> int:
        """Channels of a group."""
        return self.source[0] // self.geometry.groups

    @property
    def words(self) -> int:
        """Words that a group's channels fill; 0 where they are float32."""
        return -(-self.run // TAPS) if self.kind == WORDS else 0

    @property
    def tap(self) -> int:
        """Bytes of a pixel's channels in one group."""
        return self.words * TAPS if self.words else self.run * FLOAT

    @property
    def lanes(self) -> int:
        """Results of a block."""
        return 2 * self.machine.bits // 64 if self.words else BLOCK

    @property
    def vectors(self) -> tuple[int, int]:
        """Of a whole block, and of the last one; the same where there is but one kind."""
        per_group, each = self.target[0] // self.geometry.groups, self.machine.bits // 32
        each = each // 2 if self.words else each
        last = -(-(per_group % self.lanes or self.lanes) // each)
        return (last if per_group < self.lanes else self.lanes // each), last


class _Tables:
    """The lists of a plan, as they grow."""

    def __init__(self, layer: Layer, tiles: Tiles) -> None:
        self.layer, self.tiles, self.backward = layer, tiles, layer.kind == CLIPPED
        sides = zip(layer.target[1:], layer.kernel, *layer.geometry[:3], strict=True)
        self.down, self.across = (axis_of(self.backward, *side) for side in sides)
        self.left = max(0, -(self.across.base[0] + self.across.lowest))
        last = self.across.base[-1] + self.across.highest
        self.pitch = self.left + max(layer.source[2], last + 1)
        self.pixel = layer.geometry.groups * layer.tap
        # A tile's pixels lie a stride apart, in what is read or (backward) in what is written.
        stride = layer.geometry.stride[1]
        self.ahead, self.apart = (1, stride) if self.backward else (stride, 1)
        self.taps: list[tuple[int, int, int]] = []
        self.phases: dict[Pair, Pair] = {}  # first tap, and how many
        for a, b in product(set(self.down.phase), set(self.across.phase)):
            found = self._taps(a, b)
            self.phases[a, b] = len(self.taps), len(found)
            self.taps += found
        self.calls: list[tuple[int, ...]] = []
        self.rows: list[tuple[int, ...]] = []
        self.known: dict[Pair, int] = {}  # first entry of the rows of bands that are alike

    def _taps(self, a: int, b: int) -> list[tuple[int, int, int]]:
        """Of one phase. float32: channels, over all taps that lie side by side; or single words."""
        layer, found = self.layer, list[tuple[int, int, int]]()
        area, columns = layer.kernel[0] * layer.kernel[1], layer.kernel[1]
        each = layer.lanes * (TAPS if layer.words else FLOAT)
        for (y, kh), (x, kw) in product(self.down.taps[a], self.across.taps[b]):
            here, tap = (y * self.pitch + x) * self.pixel, kh * columns + kw
            for word in range(layer.words):
                found.append((here + word * TAPS, (word * area + tap) * each, 1))
            if layer.words:
                continue
            start, there, run = found[-1] if found else (0, 0, 0)
            if run and (here, tap * layer.run * each) == (start + run * FLOAT, there + run * each):
                found[-1] = start, there, run + layer.run
            else:
                found.append((here, tap * layer.run * each, layer.run))
        return found

    def band(self, first: int, last: int) -> tuple[int, ...]:
        """An entry of BAND_TABLE, for the rows from ``first`` up to ``last``; adds their calls."""
        top = self.down.base[first] + self.down.lowest
        seen = self.down.base[last - 1] + self.down.highest + 1 - top
        alike = last - first, self.down.phase[first]
        if alike not in self.known:
            self.known[alike] = len(self.rows)
            starts: dict[int, list[int]] = {}
            for vectors in set(self.layer.vectors):
                starts[vectors] = [len(self.calls)]
                for row in range(first, last):
                    self.calls += self._row(row, row - first, top, vectors)
                    starts[vectors].append(len(self.calls))
            self.rows += zip(*(starts[vectors] for vectors in self.layer.vectors), strict=True)
        return first, last - first, top, seen, self.known[alike]

    def _row(self, row: int, line: int, top: int, vectors: int) -> Iterator[tuple[int, ...]]:
        """Calls for one row, which is the ``line``-th of its band."""
        results, _, columns = self.layer.target
        for column in range(min(self.apart, columns)):
            first, taps = self.phases[self.down.phase[row], self.across.phase[column]]
            count = (columns - column - 1) // self.apart + 1 if taps else 0
            for size, tiles, done in along(count, self.tiles.largest[vectors - 1]):
                place = column + done * self.apart
                corner = self.across.base[place] + self.left
                patch = ((self.down.base[row] - top) * self.pitch + corner) * self.pixel
                result = (line * columns + place) * results * FLOAT
                own = result if self.backward else (line * self.pitch + corner) * FLOAT
                tile = self.tiles.addresses[vectors - 1][size]
                yield tile, patch, own, result, first * TAP * NUMBER, taps, tiles


def along(pixels: int, largest: int) -> Iterator[tuple[int, int, int]]:
    """Tiles that cover a row: log₂ of their pixels, how many in a row, first pixel.

    The last tile may reach back over pixels already done: the same sums again. Only where the row
    is shorter than a tile do smaller ones share it. ``largest`` is log₂ pixels, too.
    """
    done = 0
    while done < pixels:
        size = min(largest, (pixels - done - 1).bit_length(), pixels.bit_length() - 1)
        tiles = max(1, (pixels - done) >> size) if size == largest else 1
        yield size, tiles, min(done, pixels - (1 << size))
        done += tiles << size


def plan_of(layer: Layer, tiles: Tiles, shares: int, threads: int) -> np.ndarray:
    """The table, int64; ``shares``: bands that an image is cut into at least, for the threads."""
    kind, (channels, height, width), (results, rows, columns) = layer.kind, *layer[3:5]
    geometry, (kernel_rows, kernel_columns) = layer.geometry, layer.kernel
    found, area, groups = _Tables(layer, tiles), kernel_rows * kernel_columns, geometry.groups
    in_cache = -(-found.pixel * found.pitch * height // BAND_BYTES)
    bands = min(rows, height, max(shares, in_cache))
    bounds = [band * rows // bands for band in range(bands + 1)]
    entries = [found.band(*limits) for limits in pairwise(bounds)]
    _, most, _, seen, _ = map(max, zip(*entries, strict=True))
    inside = all(top >= 0 and top + lines <= height for _, _, top, lines, _ in entries)
    filled = found.pixel == channels * (1 if layer.words else FLOAT)  # words have no gaps
    direct = not layer.planar and found.pitch == width and inside and filled
    weight_bytes = area * layer.tap * layer.lanes
    blocks = -(-results // groups // layer.lanes)
    own_step = found.apart * results if found.backward else geometry.stride[1]
    steps = _weight_steps(layer, area)
    tables = [
        np.array(table, np.int64).ravel()
        for table in (found.taps, entries, found.rows, found.calls)
    ]
    starts = np.cumsum([HEADER, *map(len, tables[:-1])])
    header = (
        kind, layer.images, groups, layer.planar, channels, height, width, results, rows, columns,
        bands, threads, most, seen, found.left, found.pitch, found.pixel, direct,
        min(count for _, count in found.phases.values()) == 0,
        found.ahead * found.pixel, own_step * FLOAT, found.apart * results * FLOAT,
        BLOCK * FLOAT if found.backward else 0, layer.lanes, weight_bytes,
        1 if blocks * weight_bytes <= WEIGHTS_IN_REACH else most,
        kind == DISTANCE and not layer.machine.absolute, area, layer.run, *steps,
        *layer.kernel, geometry.stride[0], *geometry.dilation, *starts,
    )  # fmt: skip
    return np.concatenate([np.array(header, np.int64), *tables])


def _weight_steps(layer: Layer, area: int) -> list[int]:
    """Bytes from lane to lane, along a run, from tap to tap and from group to group."""
    per_group = layer.target[0] // layer.geometry.groups
    depth = per_group if layer.kind == CLIPPED else layer.run  # channels of a filter
    channel, tap = (area, 1) if layer.dense else (1, depth)
    if layer.kind == CLIPPED:  # lanes are channels, and runs go over filters
        steps = [channel, area * depth, tap, layer.run * area * depth]
    else:
        steps = [area * depth, channel, tap, per_group * area * depth]
    return [step * FLOAT for step in steps]
