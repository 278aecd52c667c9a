"""The innermost tiles of the float32 adder kernels, in explicit vectors.

A tile is sixteen filters (or channels) × a few pixels. It keeps one sum per filter and pixel in
registers while it walks over all taps: over *segments*, stretches in which the input's taps lie
side by side, and along each segment.

**Two operations per tap.** |x − w| = 2 max(x, w) − x − w, so Σ|x − w| = 2 Σmax(x, w) − Σx − Σw: a
maximum and an addition per tap, while Σx per patch and Σw per filter are computed once. Where the
three sums are large and nearly cancel, or are not finite, digits or NaNs would get lost. Each tile
looks at its own results: unless all of them are at least 1/CANCELLATION of |2Σmax| + |Σx| + |Σw|,
it computes the tile again from the definition.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from saa_lite.ops import vector_ir as v

FLOAT = 4  # bytes
VECTOR = FLOAT * v.LANES
CANCELLATION = 8.0  # costs three of the 24 bits of a float32 at most
PIXELS = (8, 4, 1)  # tile widths


def distance_tile(pixels: int) -> Any:
    """−Σ|x − w| for ``pixels`` pixels × 16 filters.

    Arguments (int64): address of the first pixel, bytes from pixel to pixel, address of the
    segments' input offsets (bytes), their number, taps per segment, address of the packed weights
    (all taps × 16), address of Σw (16), address of Σx (one per pixel), address of the output,
    bytes from output pixel to output pixel, filters to store.
    """

    @intrinsic
    def tile(context, x, step, segments, count, run, w, w_sum, x_sum, y, y_step, lanes):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            x, step, segments, count, run, w, w_sum, x_sum, y, y_step, lanes = args
            walk = (x, step, segments, count, run, w, pixels)
            sums = [v.vector_of(0.0)] * pixels
            largest = _taps(b, walk, sums, lambda a, c: v.larger(b, a, c))
            filters = v.load(b, w_sum, v.VECTOR)
            quick, sound = [], None
            for i in range(pixels):
                patch = v.load(b, b.add(x_sum, v.constant(FLOAT * i)), v.F32)
                result, fine = _combine(b, largest[i], v.broadcast(b, patch), filters)
                quick.append(result)
                sound = fine if sound is None else b.and_(sound, fine)
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
            mask = v.first_lanes(b, lanes)
            for i, result in enumerate(results):
                result.add_incoming(quick[i], before)
                result.add_incoming(exact[i], end)
                v.store_lanes(b, result, b.add(y, b.mul(y_step, v.constant(i))), mask)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 11), generate

    return tile


def _taps(b: Any, walk: Any, start: list[Any], term: Any) -> list[Any]:
    """Sums over all taps of ``term(weights, value)``, one per pixel."""
    x, step, segments, count, run, w, pixels = walk
    outer = v.Loop(b, count, [*start, w])
    offset = v.load(b, b.add(segments, b.mul(outer.index, v.constant(8))), v.I64)
    first, three = b.add(x, offset), v.opaque(b, b.mul(step, v.constant(3)))
    # Every fourth pixel's address; the others are a register or a multiple of one away.
    firsts = [v.opaque(b, b.add(first, b.mul(step, v.constant(i)))) for i in range(0, pixels, 4)]
    across = [v.constant(0), step, b.mul(step, v.constant(2)), three]
    inner = v.Loop(b, run, [*outer.values, *firsts])
    sums, weights, heads = inner.values[:pixels], inner.values[pixels], inner.values[pixels + 1 :]
    taps = v.load(b, weights, v.VECTOR)
    for i in range(pixels):
        address = b.add(heads[i // 4], across[i % 4])
        value = v.broadcast(b, v.load(b, address, v.F32))
        sums[i] = b.fadd(sums[i], term(taps, value))
    following = [b.add(head, v.constant(FLOAT)) for head in heads]
    inner.close([*sums, b.add(weights, v.constant(VECTOR)), *following])
    return outer.close([*sums, b.add(weights, v.constant(VECTOR))])[:-1]


def _combine(b: Any, largest: Any, patch: Any, filters: Any) -> tuple[Any, Any]:
    """Σx + Σw − 2Σmax, and where that is a sound value of −Σ|x − w|."""
    twice = b.fadd(largest, largest)
    result = b.fsub(b.fadd(patch, filters), twice)
    size = b.fadd(b.fadd(v.absolute(b, patch), v.absolute(b, filters)), v.absolute(b, twice))
    margin = b.fadd(b.fmul(result, v.vector_of(CANCELLATION)), size)  # ≤ 0; NaN is not
    return result, b.fcmp_ordered("<=", margin, v.vector_of(0.0))


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
            inner = v.Loop(b, run, [*outer.values, weights])
            *sums, here = inner.values
            taps = v.load(b, here, v.VECTOR)
            filter_ = b.add(start, b.mul(inner.index, v.constant(FLOAT)))
            for i in range(pixels):
                upstream = v.load(b, b.add(filter_, b.mul(g_step, v.constant(i))), v.F32)
                clipped = v.clip_to_one(b, b.fsub(taps, inputs[i]))
                sums[i] = v.multiply_add(b, v.broadcast(b, upstream), clipped, sums[i])
            *sums, _ = inner.close([*sums, b.add(here, v.constant(VECTOR))])
            sums = outer.close(sums)
            for i in range(pixels):
                known = b.fcmp_ordered("==", inputs[i], inputs[i])
                result = b.select(known, sums[i], inputs[i])
                v.store_lanes(b, result, b.add(dx, b.mul(step, v.constant(i))), mask)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    return tile


@intrinsic
def sum_run(context, address, run):  # type: ignore[no-untyped-def]
    """Sum of ``run`` ≥ 1 floats from ``address`` on."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        address, run = args
        vectors = b.sdiv(b.add(run, v.constant(v.LANES - 1)), v.constant(v.LANES))
        loop = v.Loop(b, vectors, [v.vector_of(0.0)])
        here = b.add(address, b.mul(loop.index, v.constant(VECTOR)))
        left = b.sub(run, b.mul(loop.index, v.constant(v.LANES)))
        some = v.load_lanes(b, here, v.first_lanes(b, left))
        (total,) = loop.close([b.fadd(loop.values[0], some)])
        return v.sum_of_lanes(b, total)

    return types.float32(types.int64, types.int64), generate
