"""The innermost tiles of the float32 adder: some pixels × up to sixteen filters (or channels).

A tile keeps one sum per pixel and filter in registers while it walks over all taps: over
*segments*, stretches in which the input's taps lie side by side, and along each segment.

Where the absolute value runs beside additions, |x − w| is written as it stands. Elsewhere **two
operations per tap** do: |x − w| = 2 max(x, w) − x − w, so Σ|x − w| = 2 Σmax(x, w) − Σx − Σw: a
maximum and an addition per tap, while Σx per patch and Σw per filter are computed once. Where the
three sums are large and nearly cancel, or are not finite, digits or NaNs would get lost. Each tile
looks at its own results d ≥ 0 and computes them again from the definition unless all of them are
finite and ENOUGH·d ≥ |Σx| + |Σw|. Since 2Σmax = d + Σx + Σw, no term is then larger than
(1 + ENOUGH)·d, and at most log₂(1 + ENOUGH) = 2.2 of the 24 bits of a float32 cancel.
"""

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from saa_lite.kernels.ir import F32, FLOAT, I1, I32, I64, Code, Value, function
from saa_lite.kernels.machine import BLOCK, Machine

ENOUGH = 3.5
MINUS_INFINITY = -0x800000  # the bits of float32 −inf as an int32; finite negatives lie below
# Sum number i, its vector of weights and its pixel's value, to the new sum.
Add = Callable[[int, Value, Value, Value], Value]


class Tile(NamedTuple):
    """A function under construction for ``pixels`` × ``vectors`` sums."""

    code: Code
    machine: Machine
    pixels: int
    vectors: int

    @property
    def sums(self) -> int:
        """How many."""
        return self.pixels * self.vectors

    def places(self, first: Value, step: Value) -> list[Value]:
        """Addresses of all sums' numbers: pixels ``step`` apart, vectors side by side."""
        code, bytes_ = self.code, self.machine.lanes * FLOAT
        pixels = [code.add(first, code.times(step, p)) for p in range(self.pixels)]
        return [code.at(pixel, v * bytes_) for pixel in pixels for v in range(self.vectors)]

    def along(
        self, first: Value, step: Value, w: Value, run: Value, sums: list[Value], add: Add
    ) -> tuple[list[Value], Value]:
        """Add ``run`` taps up: values from ``first`` on, pixels ``step`` apart, weights from ``w``.

        Returns the sums and the address behind the weights.
        """
        code, pixels = self.code, range(self.pixels)
        # Of addresses, every fourth pixel's is carried; the others are a register or a multiple of
        # one away, which costs no instruction.
        heads = [code.hidden(code.add(first, code.times(step, p))) for p in pixels[::4]]
        across = [code.number(0), step, code.times(step, 2), code.hidden(code.times(step, 3))]
        loop = code.loop(run, [*sums, w, *heads])
        sums, (w, *heads) = loop.values[: self.sums], loop.values[self.sums :]
        bytes_ = self.machine.lanes * FLOAT
        taps = [code.load_from(code.at(w, v * bytes_), code.floats) for v in range(self.vectors)]
        for p in pixels:
            value = code.repeat(code.load_from(code.add(heads[p // 4], across[p % 4]), F32))
            for v, tap in enumerate(taps):
                i = p * self.vectors + v
                sums[i] = add(i, sums[i], tap, value)
        w = code.at(w, BLOCK * FLOAT)
        loop.close([*sums, w, *(code.at(head, FLOAT) for head in heads)])
        return sums, w

    def load(self, places: list[Value], count: Value) -> list[Value]:
        """Numbers, of which only ``count`` are there for a pixel; 0 for the others."""
        code, rest = self.code, self._rest(count)
        mask = code.first_lanes(rest, code.floats)
        last = self.vectors - 1
        return [
            code.load_lanes(place, mask, code.floats)
            if i % self.vectors == last
            else code.load_from(place, code.floats)
            for i, place in enumerate(places)
        ]

    def store(self, values: list[Value], places: list[Value], count: Value) -> None:
        """Store the first ``count`` numbers of every pixel, which more than fill all but a vector.

        Whole vectors are stored as such: on some processors masks cost twenty times as much.
        """
        code, rest = self.code, self._rest(count)
        mask = code.first_lanes(rest, code.floats)
        pairs = list(zip(values, places, strict=True))
        whole = code.icmp_signed("==", rest, code.number(self.machine.lanes))
        with code.if_else(whole) as (then, otherwise):
            with then:
                for value, place in pairs:
                    code.store_at(value, place)
            with otherwise:
                for i, (value, place) in enumerate(pairs):
                    if i % self.vectors == self.vectors - 1:
                        code.store_lanes(value, place, mask)
                    else:
                        code.store_at(value, place)

    def _rest(self, count: Value) -> Value:
        """Numbers in the last vector."""
        return self.code.sub(count, self.code.number((self.vectors - 1) * self.machine.lanes))


def distance_tile(
    module: ir.Module, name: str, machine: Machine, pixels: int, vectors: int
) -> None:
    """Write −Σ|x − w| for ``pixels`` pixels × ``vectors`` vectors of filters, ``tiles`` times.

    Arguments: address of the first pixel, bytes from pixel to pixel, address of the segments' input
    offsets (bytes), their number, taps per segment, address of the packed weights (all taps ×
    BLOCK), address of Σw (BLOCK), address of Σx and bytes from pixel to pixel (the three unused
    where ``machine.absolute``), address of the output, bytes from output pixel to output pixel,
    number of tiles, and of filters to store: more than fill ``vectors`` − 1.
    """
    names = "x step segments count run w w_sum x_sum sum_step y y_step tiles filters"
    code = function(module, name, names, machine.bits)
    x, step, segments, count, run, w, w_sum, x_sum, sum_step, y, y_step, tiles, filters = (
        code.arguments
    )
    tile = Tile(code, machine, pixels, vectors)
    row = code.loop(tiles, [x, x_sum, y])
    x, x_sum, y = row.values

    def sums(add: Add) -> list[Value]:
        """Over all segments."""
        outer = code.loop(count, [*[code.same(0.0)] * tile.sums, w])
        offset = code.load_from(code.add(segments, code.times(outer.index, 8)), I64, 8)
        *starts, weights = outer.values
        ends, weights = tile.along(code.add(x, offset), step, weights, run, starts, add)
        return outer.close([*ends, weights])[:-1]

    def exact() -> list[Value]:
        return sums(lambda _, s, tap, value: code.fsub(s, code.absolute(code.fsub(value, tap))))

    if machine.absolute:
        results = exact()
    else:
        largest = sums(lambda _, s, tap, value: code.fadd(s, code.larger(tap, value)))
        results = _checked(tile, largest, tile.places(x_sum, sum_step), w_sum, filters, exact)
    tile.store(results, tile.places(y, y_step), filters)
    steps = (x, step), (x_sum, sum_step), (y, y_step)
    row.close([code.add(here, code.times(by, pixels)) for here, by in steps])
    code.ret_void()


def _checked(
    tile: Tile, largest: list[Value], x_sums: list[Value], w_sum: Value, filters: Value,
    exact: Callable[[], list[Value]],
) -> list[Value]:  # fmt: skip
    """Σx + Σw − 2Σmax where all of these are sound, else ``exact()``; of a tile of one vector."""
    code = tile.code
    w_sums = code.load_from(w_sum, code.floats)
    quick, sound = [], code.same(1, ir.VectorType(I1, tile.machine.lanes))
    for value, address in zip(largest, x_sums, strict=True):
        x_sums_here = code.repeat(code.load_from(address, F32))
        result = code.multiply_add(code.same(-2.0), value, code.fadd(x_sums_here, w_sums))
        sizes = code.fadd(code.absolute(x_sums_here), code.absolute(w_sums))
        margin = code.multiply_add(code.same(ENOUGH), result, sizes)  # ≤ 0 where it is sound
        # One comparison of bits turns down +, +0, +inf, −inf and NaN alike.
        bits = code.bitcast(margin, ir.VectorType(I32, tile.machine.lanes))
        below = code.icmp_signed("<", bits, code.same(MINUS_INFINITY, bits.type))
        sound = code.and_(sound, below)
        quick.append(result)
    unused = code.not_(code.first_lanes(filters, code.floats))
    return code.choose(code.all_lanes(code.or_(sound, unused)), quick, exact)


def clipped_tile(module: ir.Module, name: str, machine: Machine, pixels: int, vectors: int) -> None:
    """Write dX = Σ g·clip(w − x, −1, 1) for ``pixels`` pixels × ``vectors`` vectors of channels.

    Arguments: address of x and bytes from pixel to pixel, address of the upstream gradient and its
    bytes from pixel to pixel, address of the segments (pairs: gradient offset, weight offset,
    bytes), their number, taps per segment, address of the packed weights, address of dx (same step
    as x), number of tiles, channels. A NaN in x gives NaN, as clip(w − NaN) does; w must be finite.
    """
    names = "x step g g_step segments count run w dx tiles channels"
    code = function(module, name, names, machine.bits)
    x, step, g, g_step, segments, count, run, w, dx, tiles, channels = code.arguments
    tile = Tile(code, machine, pixels, vectors)
    row = code.loop(tiles, [x, g, dx])
    x, g, dx = row.values
    inputs = tile.load(tile.places(x, step), channels)
    wide = machine.bits == 512

    def add(i: int, total: Value, tap: Value, upstream: Value) -> Value:
        difference = code.fsub(tap, inputs[i])
        clipped = code.range_to_one(difference) if wide else code.clip_to_one(difference)
        return code.multiply_add(upstream, clipped, total)

    outer = code.loop(count, [code.same(0.0)] * tile.sums)
    segment = code.add(segments, code.times(outer.index, 16))
    start = code.add(g, code.load_from(segment, I64, 8))
    weights = code.add(w, code.load_from(code.at(segment, 8), I64, 8))
    sums, _ = tile.along(start, g_step, weights, run, outer.values, add)
    sums = outer.close(sums)
    known = [code.fcmp_ordered("==", value, value) for value in inputs]
    results = [code.select(*three) for three in zip(known, sums, inputs, strict=True)]
    tile.store(results, tile.places(dx, step), channels)
    steps = (x, step), (g, g_step), (dx, step)
    row.close([code.add(here, code.times(by, pixels)) for here, by in steps])
    code.ret_void()
