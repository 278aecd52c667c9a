"""The innermost tiles of the float32 adder: some pixels × up to sixteen filters (or channels).

A tile keeps one sum per pixel and filter in registers while it walks over all taps: over
*segments*, stretches in which the input's taps lie side by side, and along each segment.

All tiles of this package, those of bytes too, are called with twelve numbers: the address of the
first pixel's patch, bytes from pixel to pixel; the address of the table of taps (three numbers
each: bytes to the input, bytes to the weights, how many follow each other; of bytes, single words)
and its length; the addresses of a block's packed weights and of their sums; the address of the
pixels' own numbers, bytes from pixel to pixel; the same of the results; the number of tiles, and
of lanes to store: more than fill all vectors but the last.

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

from saa_lite.kernels.ir import F32, FLOAT, I1, I32, I64, Code, Loop, Value, function
from saa_lite.kernels.machine import BLOCK, Machine

ARGUMENTS = "x step table taps w w_sum own own_step y y_step tiles lanes"
SEGMENT = 24  # bytes of an entry of the table of taps
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

    def sums_of(
        self, x: Value, step: Value, table: Value, taps: Value, w: Value, add: Add
    ) -> list[Value]:
        """Sums over all segments; arguments as of a tile."""
        code = self.code
        outer = code.loop(taps, [code.same(0.0)] * self.sums)
        entry = code.add(table, code.times(outer.index, SEGMENT))
        first, weights, run = (code.load_from(code.at(entry, 8 * i), I64, 8) for i in range(3))
        sums = self._along(code.add(x, first), step, code.add(w, weights), run, outer.values, add)
        return outer.close(sums)

    def _along(
        self, first: Value, step: Value, w: Value, run: Value, sums: list[Value], add: Add
    ) -> list[Value]:
        """Add ``run`` taps up: values from ``first``, pixels ``step`` apart, weights from ``w``."""
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
        return loop.close([*sums, w, *(code.at(head, FLOAT) for head in heads)])[: self.sums]

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

    def end(self, row: Loop, *steps: tuple[Value, Value]) -> None:
        """Go on to the next tile, pixels being so many bytes apart; return after the last."""
        code = self.code
        row.close([code.add(here, code.times(by, self.pixels)) for here, by in steps])
        code.ret_void()

    def _rest(self, count: Value) -> Value:
        """Numbers in the last vector."""
        return self.code.sub(count, self.code.number((self.vectors - 1) * self.machine.lanes))


def distance_tile(
    module: ir.Module, name: str, machine: Machine, pixels: int, vectors: int
) -> None:
    """Write −Σ|x − w| for ``pixels`` pixels × ``vectors`` vectors of filters, ``tiles`` times.

    ``own`` are the Σx of the pixels' patches and ``w_sum`` the block's Σw: unused where
    ``machine.absolute``.
    """
    code = function(module, name, ARGUMENTS, machine.bits)
    x, step, table, taps, w, w_sum, own, own_step, y, y_step, tiles, lanes = code.arguments
    tile = Tile(code, machine, pixels, vectors)
    row = code.loop(tiles, [x, own, y])
    x, own, y = row.values

    def exact() -> list[Value]:
        add: Add = lambda _, s, tap, value: code.fsub(s, code.absolute(code.fsub(value, tap)))  # noqa: E731
        return tile.sums_of(x, step, table, taps, w, add)

    if machine.absolute:
        results = exact()
    else:
        larger: Add = lambda _, s, tap, value: code.fadd(s, code.larger(tap, value))  # noqa: E731
        largest = tile.sums_of(x, step, table, taps, w, larger)
        results = _checked(tile, largest, tile.places(own, own_step), w_sum, lanes, exact)
    tile.store(results, tile.places(y, y_step), lanes)
    tile.end(row, (x, step), (own, own_step), (y, y_step))


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

    ``x`` is the upstream gradient g, ``own`` the input, ``y`` its gradient. A NaN in the input
    gives NaN, as clip(w − NaN) does; w must be finite.
    """
    code = function(module, name, ARGUMENTS, machine.bits)
    g, step, table, taps, w, _, own, own_step, y, y_step, tiles, lanes = code.arguments
    tile = Tile(code, machine, pixels, vectors)
    row = code.loop(tiles, [g, own, y])
    g, own, y = row.values
    inputs = tile.load(tile.places(own, own_step), lanes)
    wide = machine.bits == 512

    def add(i: int, total: Value, tap: Value, upstream: Value) -> Value:
        difference = code.fsub(tap, inputs[i])
        clipped = code.range_to_one(difference) if wide else code.clip_to_one(difference)
        return code.multiply_add(upstream, clipped, total)

    sums = tile.sums_of(g, step, table, taps, w, add)
    known = [code.fcmp_ordered("==", value, value) for value in inputs]
    results = [code.select(*three) for three in zip(known, sums, inputs, strict=True)]
    tile.store(results, tile.places(y, y_step), lanes)
    tile.end(row, (g, step), (own, own_step), (y, y_step))
