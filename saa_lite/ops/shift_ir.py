"""Thirty-two 16-bit lanes at once: the LLVM building blocks of the int8 shift convolution.

A *line* is one number for each of 32 lanes (images, or parts of images), int16, 64 bytes. Only
additions, subtractions and shifts touch the numbers. The vector types are legal on every target:
with AVX-512 a line is one register, elsewhere LLVM splits it. Addresses are int64 byte addresses.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.ops.vector_ir import I1, I32, I64, WIDE, Builder, Loop, Value, constant, load, opaque

LANES = 32
LINE = 2 * LANES  # bytes
COLUMNS = 16  # that `spread` takes from each lane
QUAD = 4  # neighbouring pixels
PIXELS = 2 * QUAD if WIDE else QUAD  # of a tile: as many sums as registers hold
PITCH = 528  # bytes from one lane to the next in `spread`: no multiple of the cache's 4 KiB
STEP = 16  # bytes of one step of a program
I8, I16 = ir.IntType(8), ir.IntType(16)
LINE_OF_16, LINE_OF_8 = ir.VectorType(I16, LANES), ir.VectorType(I8, LANES)
HALF_OF_16, HALF_OF_32 = ir.VectorType(I16, LANES // 2), ir.VectorType(I32, LANES // 2)
FOUR = ir.VectorType(I32, QUAD)


def _shuffle(b: Builder, first: Value, second: Value, order: list[int]) -> Value:
    return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, len(order)), order))


def _repeat(b: Builder, scalar: Value, vector: ir.VectorType) -> Value:
    """The scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return _shuffle(b, first, undefined, [0] * vector.count)


def _at(b: Builder, address: Value, offset: int) -> Value:
    return b.add(address, constant(offset)) if offset else address


def _store(b: Builder, value: Value, address: Value, alignment: int = 4) -> None:
    stored = b.store(value, b.inttoptr(address, value.type.as_pointer()))
    stored.align = alignment


def _integer(b: Builder, address: Value, offset: int = 0) -> Value:
    """An int32 in memory, as int64."""
    return b.sext(load(b, _at(b, address, offset), I32), I64)


def _halves(b: Builder, line: Value) -> list[Value]:
    """The two halves of a line in 32 bits."""
    orders = (list(range(16 * h, 16 * h + 16)) for h in (0, 1))
    return [b.sext(_shuffle(b, line, line, order), HALF_OF_32) for order in orders]


def _choose(b: Builder, condition: Value, old: list[Value], make: Any) -> list[Value]:
    """``make()`` where the condition holds, else ``old``."""
    before = b.block
    inside, after = b.append_basic_block("inside"), b.append_basic_block("after")
    b.cbranch(condition, inside, after)
    b.position_at_end(inside)
    new, last = make(), b.block
    b.branch(after)
    b.position_at_end(after)
    chosen = []
    for was, is_now in zip(old, new, strict=True):
        phi = b.phi(was.type)
        phi.add_incoming(was, before)
        phi.add_incoming(is_now, last)
        chosen.append(phi)
    return chosen


def _add_taps(
    b: Builder, sums: list[Value], x: Value, second: Value, taps: Value, count: Value, minus: bool
) -> list[Value]:
    """Sums ± the lines that ``count`` taps see; ``taps``: address of their int32 offsets."""

    def make() -> list[Value]:
        loop = Loop(b, count, sums)
        first = opaque(b, b.add(x, _integer(b, b.add(taps, b.shl(loop.index, constant(2))))))
        quads = [first, opaque(b, b.add(first, second))] if PIXELS > QUAD else [first]
        new = []
        for i, value in enumerate(loop.values):
            line = load(b, _at(b, quads[i // QUAD], i % QUAD * LINE), LINE_OF_16)
            new.append(b.sub(value, line) if minus else b.add(value, line))
        return loop.close(new)

    return _choose(b, b.icmp_signed(">", count, constant(0)), sums, make)


@intrinsic
def tile(context, x, second, steps, count, taps, last, start, y):  # type: ignore[no-untyped-def]
    """Σ sign·(x << amount) of one program, for ``PIXELS`` pixels × 32 lanes, int32 at ``y``.

    Arguments (int64): address of the first pixel's line and bytes from the first quad to the
    second; address of the steps, how many (≥ 1), and the address of the offsets of their taps; how
    far the sum is shifted at last; address of the numbers to add to, which may be ``y``.

    A step (int32 × 4): shift the 16-bit sums left, add so many taps, subtract so many; and unless
    the fourth is negative, shift the 32-bit sums left by it, add the 16-bit ones, and clear these.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        x, second, steps, count, taps, last, start, y = args
        nothing = [ir.Constant(LINE_OF_16, [0] * LANES)] * PIXELS
        zeros = [ir.Constant(HALF_OF_32, [0] * (LANES // 2))] * (2 * PIXELS)
        loop = Loop(b, count, [*nothing, *zeros, taps])
        sums, totals, at = loop.values[:PIXELS], loop.values[PIXELS:-1], loop.values[-1]
        step = b.add(steps, b.mul(loop.index, constant(STEP)))
        amount = _repeat(b, b.trunc(load(b, step, I32), I16), LINE_OF_16)
        sums = [b.shl(value, amount) for value in sums]
        for offset, minus in ((4, False), (8, True)):
            number = _integer(b, step, offset)
            sums = _add_taps(b, sums, x, second, at, number, minus)
            at = b.add(at, b.shl(number, constant(2)))
        widen = load(b, _at(b, step, 12), I32)

        def widened() -> list[Value]:
            amount = _repeat(b, widen, HALF_OF_32)
            parts = [part for value in sums for part in _halves(b, value)]
            both = zip(totals, parts, strict=True)
            return [*nothing, *(b.add(b.shl(total, amount), part) for total, part in both)]

        yes = b.icmp_signed(">=", widen, ir.Constant(I32, 0))
        totals = loop.close([*_choose(b, yes, [*sums, *totals], widened), at])[PIXELS:-1]
        amount = _repeat(b, b.trunc(last, I32), HALF_OF_32)
        for i, total in enumerate(totals):
            before = load(b, _at(b, start, i * LINE), HALF_OF_32)
            _store(b, b.add(before, b.shl(total, amount)), _at(b, y, i * LINE))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


def _zip(b: Builder, first: Value, second: Value, part: int) -> list[Value]:
    """The lower and the upper halves of each ``part`` elements, interleaved."""
    whole = range(0, first.type.count, part)
    orders = (
        [at + half + k // 2 + first.type.count * (k % 2) for at in whole for k in range(part)]
        for half in (0, part // 2)
    )
    return [_shuffle(b, first, second, order) for order in orders]


@intrinsic
def spread(context, source, target, table):  # type: ignore[no-untyped-def]
    """Sixteen bytes from each of 32 lanes, ``PITCH`` apart, to sixteen lines.

    Line i goes to ``target`` plus the i-th of the int64 offsets at ``table``.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, target, table = args
        part = ir.VectorType(I8, COLUMNS)
        rows = []
        for i in range(COLUMNS):
            pair = (load(b, _at(b, source, PITCH * (i + h)), part) for h in (0, COLUMNS))
            rows.append(_shuffle(b, *pair, list(range(LANES))))
        for _ in range(4):  # four perfect shuffles of 16 rows transpose 16 × 16
            half = COLUMNS // 2
            pairs = (_zip(b, rows[i], rows[i + half], COLUMNS) for i in range(half))
            rows = [row for pair in pairs for row in pair]
        for i, row in enumerate(rows):
            at = b.add(target, load(b, _at(b, table, 8 * i), I64))
            _store(b, b.sext(row, LINE_OF_16), at)
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def gather(context, source, step, lanes, offset, count):  # type: ignore[no-untyped-def]
    """Four vectors of 32 int32, ``step`` bytes apart, to four neighbours for each lane.

    They are stored ``offset`` bytes behind the lane's address, one of 32 int64 at ``lanes``; only
    the first ``count`` of four are.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, step, lanes, offset, count = args
        numbers = ir.Constant(FOUR, list(range(QUAD)))
        mask = b.icmp_signed("<", numbers, _repeat(b, b.trunc(count, I32), FOUR))
        pointer = FOUR.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [FOUR, pointer, I32, mask.type])
        masked = cgutils.get_or_insert_function(b.module, kind, "llvm.masked.store.v4i32.p0")
        whole = b.icmp_signed("==", count, constant(QUAD))

        def quad(store: Any) -> None:
            for half in (0, 1):
                at = [b.add(source, b.mul(step, constant(i))) for i in range(QUAD)]
                rows = [load(b, _at(b, a, LINE * half), HALF_OF_32) for a in at]
                low, high = _zip(b, rows[0], rows[2], 4), _zip(b, rows[1], rows[3], 4)
                parts = [*_zip(b, low[0], high[0], 4), *_zip(b, low[1], high[1], 4)]
                for lane in range(LANES // 2):
                    order = list(range(lane // 4 * 4, lane // 4 * 4 + 4))
                    value = _shuffle(b, parts[lane % 4], parts[lane % 4], order)
                    address = load(b, _at(b, lanes, 8 * (lane + 16 * half)), I64)
                    store(value, b.add(address, offset))

        with b.if_else(whole) as (then, otherwise):
            with then:
                quad(lambda value, address: _store(b, value, address))
            with otherwise:
                quad(
                    lambda value, address: b.call(
                        masked, [value, b.inttoptr(address, pointer), ir.Constant(I32, 4), mask]
                    )
                )
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate
