"""Sixty-four int8 lanes at once: the LLVM building blocks of the int8 shift convolution.

A *line* is one number x for each of 64 lanes (images, or parts of images): 64 bytes, as 32 words of
16 bits, each 256·x₁ + (x₀ + 128) for a lane x₁ of the first and x₀ of the second kind. Words are
added up twice: as they are (V = Σ±word), and shifted right by 8, which is x₁ exactly (B = Σ±x₁).
Then Σ±x₀ = V − 256·B − 128·Σ±1, modulo 2^16, and that is all it takes while sums stay below 2^15.
Half the memory traffic of 16-bit numbers is worth the third addition.

Only additions, subtractions and shifts touch the numbers. The vector types are legal on every
target: with AVX-512 a line is one register, elsewhere LLVM splits it. Addresses are int64 byte
addresses.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.ops.vector_ir import I1, I32, I64, WIDE, Builder, Loop, Value, constant, load, opaque

LANES = 64
LINE = LANES  # bytes
SUMS = 4 * LANES  # bytes of the sums of a pixel
COLUMNS = 16  # that `spread` takes from each lane
QUAD = 4  # neighbouring pixels
QUADS = 2 if WIDE else 1  # of a tile: as many sums as half of the registers hold
PIXELS = QUAD * QUADS
NOUGHT = 128  # the word of two zeros
STAY = 255  # a step after which the 16-bit sums go on
PITCH = 528  # bytes from one lane to the next in `spread`: no multiple of the cache's 4 KiB
I8, I16 = ir.IntType(8), ir.IntType(16)
WORDS = ir.VectorType(I16, LANES // 2)
INTEGERS = ir.VectorType(I32, 16)


def _words(value: int) -> Value:
    """A constant in every word."""
    return ir.Constant(WORDS, [value] * (LANES // 2))


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


def _widened(b: Builder, words: Value) -> list[Value]:
    """The two halves of 32 words as 32-bit numbers."""
    orders = (list(range(16 * h, 16 * h + 16)) for h in (0, 1))
    return [b.sext(_shuffle(b, words, words, order), INTEGERS) for order in orders]


def _shift_left(b: Builder, values: list[Value], amount: Value) -> list[Value]:
    """Every lane of every value, by a scalar of the lanes' width."""
    amounts = _repeat(b, amount, values[0].type)
    if WIDE:
        # Without seeing that all amounts are equal LLVM chooses vpsllv, one operation instead of
        # the two of a shift by one amount from a register.
        kind = ir.FunctionType(amounts.type, [amounts.type])
        amounts = b.asm(kind, "", "=v,0", [amounts], side_effect=False)
    return [b.shl(value, amounts) for value in values]


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
    b: Builder, state: list[Value], x: Value, quads: list[Value], count: Value, minus: bool
) -> list[Value]:
    """Sums ± the lines that ``count`` taps see.

    ``state``: all V, all B, where the offset of the tap after the next lies, and the address of the
    lines of the next one. That is loaded a tap ahead: a processor serves the oldest load first, and
    an offset would wait for all the lines before it.
    """
    add = b.sub if minus else b.add

    def make() -> list[Value]:
        loop = Loop(b, count, state)
        *sums, taps, first = loop.values
        following = opaque(b, b.add(x, _integer(b, taps)))
        starts = [first, *(opaque(b, b.add(first, quad)) for quad in quads)]
        both, high = sums[:PIXELS], sums[PIXELS:]
        for i in range(PIXELS):
            line = load(b, _at(b, starts[i // QUAD], i % QUAD * LINE), WORDS)
            both[i] = add(both[i], line)
            high[i] = add(high[i], b.ashr(line, _words(8)))
        return loop.close([*both, *high, _at(b, taps, 4), following])

    return _choose(b, b.icmp_signed(">", count, constant(0)), state, make)


def _add_sums(b: Builder, sums: list[Value], y: Value, amount: Value, bias: Value) -> None:
    """Σ±x₀ and Σ±x₁ of each pixel, shifted left, are added to the integers at ``y``."""
    biases = _repeat(b, b.trunc(bias, I16), WORDS)
    for i, (both, high) in enumerate(zip(sums[:PIXELS], sums[PIXELS:], strict=True)):
        low = b.sub(b.sub(both, b.shl(high, _words(8))), biases)
        parts = _shift_left(b, [*_widened(b, low), *_widened(b, high)], b.trunc(amount, I32))
        for k, part in enumerate(parts):
            at = _at(b, y, i * SUMS + 4 * k * INTEGERS.count)
            _store(b, b.add(load(b, at, INTEGERS), part), at)


def _byte(b: Builder, step: Value, index: int) -> Value:
    """An unsigned byte of a step."""
    return b.and_(b.lshr(step, constant(8 * index)), constant(255))


@intrinsic
def tile(context, x, quads, steps, count, taps, y):  # type: ignore[no-untyped-def]
    """Add Σ sign·(x << amount) of one program to ``PIXELS`` pixels × 64 lanes, int32 at ``y``.

    Arguments (int64): address of the first pixel's line; address of the int64 offsets of the
    tile's quads from the first; address of the steps, how many (≥ 1), and the address of the
    offsets of their taps (and two numbers more, which are read but not used).

    A step is an int64, lowest byte first: shift the 16-bit sums left by it; add so many taps;
    subtract so many; and unless it is ``STAY``, add the 16-bit sums, shifted left by it, to ``y``
    and clear them. Its upper half is 128·Σ±1 of the taps that ``y`` then receives.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        x, quads, steps, count, taps, y = args
        others = [load(b, _at(b, quads, 8 * i), I64) for i in range(1, QUADS)]
        nothing = [_words(0)] * (2 * PIXELS)
        first = opaque(b, b.add(x, _integer(b, taps)))
        loop = Loop(b, count, [*nothing, _at(b, taps, 4), first])
        step = load(b, b.add(steps, b.shl(loop.index, constant(3))), I64)
        *sums, taps, first = loop.values
        state = [*_shift_left(b, sums, b.trunc(_byte(b, step, 0), I16)), taps, first]
        for index, minus in ((1, False), (2, True)):
            state = _add_taps(b, state, x, others, _byte(b, step, index), minus)
        *sums, taps, first = state
        amount = _byte(b, step, 3)

        def emptied() -> list[Value]:
            _add_sums(b, sums, y, amount, b.lshr(step, constant(32)))
            return nothing

        sums = _choose(b, b.icmp_signed("!=", amount, constant(STAY)), sums, emptied)
        loop.close([*sums, taps, first])
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


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
    """Sixteen bytes from each of 64 rows, ``PITCH`` apart, to sixteen lines.

    Even rows are lanes of the first kind, odd ones of the second. Line i goes to ``target`` plus
    the i-th of the int64 offsets at ``table``.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, target, table = args
        part = ir.VectorType(I8, COLUMNS)
        rows = []
        for i in range(COLUMNS):
            some = [
                load(b, _at(b, source, PITCH * (i + k)), part) for k in range(0, LANES, COLUMNS)
            ]
            pairs = [_shuffle(b, *some[k : k + 2], list(range(2 * COLUMNS))) for k in (0, 2)]
            rows.append(_shuffle(b, *pairs, list(range(LANES))))
        for _ in range(4):  # four perfect shuffles of 16 rows transpose 16 × 16
            half = COLUMNS // 2
            zipped = (_zip(b, rows[i], rows[i + half], COLUMNS) for i in range(half))
            rows = [row for pair in zipped for row in pair]
        for i, row in enumerate(rows):
            at = b.add(target, load(b, _at(b, table, 8 * i), I64))
            _store(b, b.xor(b.bitcast(row, WORDS), _words(NOUGHT)), at)
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def clear_line(context, target):  # type: ignore[no-untyped-def]
    """A line of zeros."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        _store(b, _words(NOUGHT), args[0])
        return _context.get_dummy_value()

    return types.void(types.int64), generate


def _transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """Columns of sixteen rows of sixteen integers."""
    columns: dict[int, Value] = {}
    fours = []
    for i in range(0, 16, 4):  # 4 × 4 blocks within each 128 bits
        low, high = _zip(b, rows[i], rows[i + 2], 4), _zip(b, rows[i + 1], rows[i + 3], 4)
        fours.append([*_zip(b, low[0], high[0], 4), *_zip(b, low[1], high[1], 4)])
    for k in range(4):  # then the blocks of 128 bits
        for half in (0, 1):
            order = [*range(8 * half, 8 * half + 8), *range(16 + 8 * half, 24 + 8 * half)]
            pair = [_shuffle(b, fours[i][k], fours[i + 1][k], order) for i in (0, 2)]
            for q in (0, 1):
                order = [8 * block + 4 * q + lane for block in range(4) for lane in range(4)]
                columns[8 * half + 4 * q + k] = _shuffle(b, pair[0], pair[1], order)
    return [columns[i] for i in range(16)]


@intrinsic
def gather(context, source, offsets, lanes, target, count):  # type: ignore[no-untyped-def]
    """Sixteen vectors of 16 int32 to 16 neighbours for each of 16 lanes: a line of the cache.

    The vectors lie ``source`` plus the int64 offsets at ``offsets``; the lanes' addresses are int64
    at ``lanes``, and ``target`` is added to them. Only the first ``count`` of 16 are stored.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, offsets, lanes, target, count = args
        rows = []
        for i in range(INTEGERS.count):
            at = b.add(source, load(b, _at(b, offsets, 8 * i), I64))
            rows.append(load(b, at, INTEGERS))
        numbers = ir.Constant(INTEGERS, list(range(INTEGERS.count)))
        mask = b.icmp_signed("<", numbers, _repeat(b, b.trunc(count, I32), INTEGERS))
        pointer = INTEGERS.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [INTEGERS, pointer, I32, mask.type])
        store = cgutils.get_or_insert_function(b.module, kind, "llvm.masked.store.v16i32.p0")
        for lane, row in enumerate(_transposed(b, rows)):
            address = b.add(target, load(b, _at(b, lanes, 8 * lane), I64))
            b.call(store, [row, b.inttoptr(address, pointer), ir.Constant(I32, 4), mask])
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def clear_bytes(context, target, count):  # type: ignore[no-untyped-def]
    """Zero into ``count`` bytes from an address on."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        target, count = args
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I8, I64, I1])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.memset.p0.i64")
        at = b.inttoptr(target, I8.as_pointer())
        b.call(function, [at, ir.Constant(I8, 0), count, ir.Constant(I1, 0)])
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def bytes_at(context, address):  # type: ignore[no-untyped-def]
    """An address as a pointer to int8, for :func:`numba.carray`."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        return b.inttoptr(args[0], I8.as_pointer())

    return types.CPointer(types.int8)(types.int64), generate
