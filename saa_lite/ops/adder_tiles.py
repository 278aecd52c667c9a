"""The innermost tiles of the float32 adder kernels, in explicit vectors.

A tile is sixteen filters (or channels) × a few pixels. It keeps one sum per filter and pixel in
registers while it walks over all taps: over *segments*, stretches in which the input's taps lie
side by side, and along each segment.

**Two operations per tap.** |x − w| = 2 max(x, w) − x − w, so Σ|x − w| = 2 Σmax(x, w) − Σx − Σw: a
maximum and an addition per tap, while Σx per patch and Σw per filter are computed once. Where the
three sums are large and nearly cancel, or are not finite, digits or NaNs would get lost. Each tile
looks at its own results d ≥ 0 and computes them again from the definition unless all of them are
finite and ENOUGH·d ≥ |Σx| + |Σw|. Since 2Σmax = d + Σx + Σw, no term is then larger than
(1 + ENOUGH)·d, and at most log₂(1 + ENOUGH) = 2.2 of the 24 bits of a float32 cancel.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from saa_lite.ops import vector_ir as v

ENOUGH = 3.5
MINUS_INFINITY = -0x800000  # the bits of float32 −inf as an int32; finite negatives lie below


def distance_tile(pixels: int) -> Any:
    """−Σ|x − w| for ``pixels`` pixels × 16 filters.

    Arguments (int64): address of the first pixel, bytes from pixel to pixel, address of the
    segments' input offsets (bytes), their number, taps per segment, address of the packed weights
    (all taps × 16), address of Σw (16), address of Σx and bytes from pixel to pixel,
    address of the output, bytes from output pixel to output pixel, filters to store.
    """

    @intrinsic
    def tile(context, x, step, segments, count, run, w, w_sum, x_sum, sum_step, y, y_step, lanes):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            x, step, segments, count, run, w, w_sum, x_sum, sum_step, y, y_step, lanes = args
            walk = (x, step, segments, count, run, w, pixels)
            sums = [v.vector_of(0.0)] * pixels
            largest = _taps(b, walk, sums, lambda a, c: v.larger(b, a, c))
            filters = v.load(b, w_sum, v.VECTOR)
            sizes = v.absolute(b, filters)
            quick, sound = [], None
            for i in range(pixels):
                address = b.add(x_sum, b.mul(sum_step, v.constant(i)))
                patch = v.broadcast(b, v.load(b, address, v.F32))
                result, fine = _combine(b, largest[i], patch, filters, sizes)
                quick.append(result)
                sound = fine if sound is None else b.and_(sound, fine)
            mask = v.first_lanes(b, lanes)
            sound = b.or_(sound, b.not_(mask))
            before = b.block
            again, done = b.append_basic_block("again"), b.append_basic_block("done")
            b.cbranch(v.all_lanes(b, sound), done, again)
            b.position_at_end(again)
            exact = _taps(b, walk, sums, lambda a, c: v.absolute(b, b.fsub(a, c)))
            exact = [b.fneg(value) for value in exact]
            end = b.block
            b.branch(done)
            b.position_at_end(done)
            results = [b.phi(v.VECTOR) for _ in range(pixels)]
            for i, result in enumerate(results):
                result.add_incoming(quick[i], before)
                result.add_incoming(exact[i], end)
                v.store_lanes(b, result, b.add(y, b.mul(y_step, v.constant(i))), mask)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 12), generate

    return tile


def _taps(b: Any, walk: Any, start: list[Any], term: Any) -> list[Any]:
    """Sums over all taps of ``term(weights, value)``, one per pixel."""
    x, step, segments, count, run, w, pixels = walk
    outer = v.Loop(b, count, [*start, w])
    offset = v.load(b, b.add(segments, b.mul(outer.index, v.constant(8))), v.I64)
    pointers = _Pointers(b, b.add(x, offset), step, pixels)
    inner = v.Loop(b, run, [*outer.values, *pointers.heads])
    sums, weights, heads = inner.values[:pixels], inner.values[pixels], inner.values[pixels + 1 :]
    taps = v.load(b, weights, v.VECTOR)
    for i in range(pixels):
        value = v.broadcast(b, v.load(b, pointers.of(i, heads), v.F32))
        sums[i] = b.fadd(sums[i], term(taps, value))
    following = b.add(weights, v.constant(v.BYTES))
    inner.close([*sums, following, *pointers.next(heads)])
    return outer.close([*sums, following])[:-1]


class _Pointers:
    """Addresses of one float per pixel, moving on together.

    Only every fourth pixel's is carried; the others are a register or a multiple of one away, which
    costs no instruction.
    """

    def __init__(self, b: Any, first: Any, step: Any, pixels: int) -> None:
        self.b = b
        apart = [b.mul(step, v.constant(i)) for i in range(pixels)]
        self.heads = [v.opaque(b, b.add(first, apart[i])) for i in range(0, pixels, 4)]
        self.across = [v.constant(0), step, b.mul(step, v.constant(2))]
        self.across.append(v.opaque(b, b.mul(step, v.constant(3))))

    def of(self, pixel: int, heads: list[Any]) -> Any:
        """The address for one pixel."""
        return self.b.add(heads[pixel // 4], self.across[pixel % 4])

    def next(self, heads: list[Any]) -> list[Any]:
        """The carried addresses for the next float."""
        return [self.b.add(head, v.constant(v.FLOAT)) for head in heads]


def _combine(b: Any, largest: Any, patch: Any, filters: Any, sizes: Any) -> tuple[Any, Any]:
    """Σx + Σw − 2Σmax, and where it is sound; ``sizes`` = |Σw|."""
    result = v.multiply_add(b, v.vector_of(-2.0), largest, b.fadd(patch, filters))
    sizes = b.fadd(v.absolute(b, patch), sizes)
    margin = v.multiply_add(b, v.vector_of(ENOUGH), result, sizes)  # ≤ 0 where it is sound
    # One comparison of bits turns down +, +0, +inf, −inf and NaN alike.
    bits = b.bitcast(margin, v.INTEGERS)
    limit = ir.Constant(v.INTEGERS, [MINUS_INFINITY] * v.LANES)
    return result, b.icmp_signed("<", bits, limit)


def clipped_tile(pixels: int) -> Any:
    """dX = Σ g·clip(w − x, −1, 1) for ``pixels`` pixels × 16 channels.

    Arguments (int64): address of x and bytes from pixel to pixel, address of the upstream gradient
    and its bytes from pixel to pixel, address of the segments (pairs: gradient offset, weight
    offset, bytes), their number, taps per segment, address of the packed weights, address of dx
    (same step as x), channels. A NaN in x gives NaN, as clip(w − NaN) does; w must be finite.
    """

    @intrinsic
    def tile(context, x, step, g, g_step, segments, count, run, w, dx, lanes):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            x, step, g, g_step, segments, count, run, w, dx, lanes = args
            mask = v.first_lanes(b, lanes)
            inputs = [
                v.load_lanes(b, b.add(x, b.mul(step, v.constant(i))), mask) for i in range(pixels)
            ]
            outer = v.Loop(b, count, [v.vector_of(0.0)] * pixels)
            segment = b.add(segments, b.mul(outer.index, v.constant(16)))
            start = b.add(g, v.load(b, segment, v.I64))
            weights = b.add(w, v.load(b, b.add(segment, v.constant(8)), v.I64))
            pointers = _Pointers(b, start, g_step, pixels)
            inner = v.Loop(b, run, [*outer.values, weights, *pointers.heads])
            sums, here, heads = (
                inner.values[:pixels],
                inner.values[pixels],
                inner.values[pixels + 1 :],
            )
            taps = v.load(b, here, v.VECTOR)
            for i in range(pixels):
                upstream = v.broadcast(b, v.load(b, pointers.of(i, heads), v.F32))
                clipped = v.clip_to_one(b, b.fsub(taps, inputs[i]))
                sums[i] = v.multiply_add(b, upstream, clipped, sums[i])
            inner.close([*sums, b.add(here, v.constant(v.BYTES)), *pointers.next(heads)])
            sums = outer.close(sums)
            for i in range(pixels):
                known = b.fcmp_ordered("==", inputs[i], inputs[i])
                result = b.select(known, sums[i], inputs[i])
                v.store_lanes(b, result, b.add(dx, b.mul(step, v.constant(i))), mask)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    return tile
