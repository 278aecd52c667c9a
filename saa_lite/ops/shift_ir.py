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
from numba.extending import intrinsic

from saa_lite.kernels.ir import I8, I16, I32, I64, Code, Value, inlined
from saa_lite.ops.vector_ir import WIDE
from saa_lite.ops.vector_moves import transposed

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
WORDS = ir.VectorType(I16, LANES // 2)
INTEGERS = ir.VectorType(I32, 16)


def _integer(code: Code, address: Value) -> Value:
    """An int32 in memory, as int64."""
    return code.sext(code.load_from(address, I32), I64)


def _widened(code: Code, words: Value) -> list[Value]:
    """The two halves of 32 words as 32-bit numbers."""
    orders = (list(range(16 * h, 16 * h + 16)) for h in (0, 1))
    return [code.sext(code.shuffle(words, words, order), INTEGERS) for order in orders]


def _shift_left(code: Code, values: list[Value], amount: Value) -> list[Value]:
    """Every lane of every value, by a scalar of the lanes' width."""
    amounts = code.repeat(amount, values[0].type)
    if WIDE:
        # Without seeing that all amounts are equal LLVM chooses vpsllv, one operation instead of
        # the two of a shift by one amount from a register.
        amounts = code.hidden(amounts, "v")
    return [code.shl(value, amounts) for value in values]


def _add_taps(
    code: Code, state: list[Value], x: Value, quads: list[Value], count: Value, minus: bool
) -> list[Value]:
    """Sums ± the lines that ``count`` taps see.

    ``state``: all V, all B, where the offset of the tap after the next lies, and the address of the
    lines of the next one. That is loaded a tap ahead: a processor serves the oldest load first, and
    an offset would wait for all the lines before it.
    """
    add = code.sub if minus else code.add

    def make() -> list[Value]:
        loop = code.loop(count, state)
        *sums, taps, first = loop.values
        following = code.hidden(code.add(x, _integer(code, taps)))
        starts = [first, *(code.hidden(code.add(first, quad)) for quad in quads)]
        both, high = sums[:PIXELS], sums[PIXELS:]
        for i in range(PIXELS):
            line = code.load_from(code.at(starts[i // QUAD], i % QUAD * LINE), WORDS)
            both[i] = add(both[i], line)
            high[i] = add(high[i], code.ashr(line, code.same(8, WORDS)))
        return loop.close([*both, *high, code.at(taps, 4), following])

    return code.choose(code.icmp_signed("==", count, code.number(0)), state, make)


def _add_sums(code: Code, sums: list[Value], y: Value, amount: Value, bias: Value) -> None:
    """Σ±x₀ and Σ±x₁ of each pixel, shifted left, are added to the integers at ``y``."""
    biases = code.repeat(code.trunc(bias, I16), WORDS)
    for i, (both, high) in enumerate(zip(sums[:PIXELS], sums[PIXELS:], strict=True)):
        low = code.sub(code.sub(both, code.shl(high, code.same(8, WORDS))), biases)
        parts = [*_widened(code, low), *_widened(code, high)]
        for k, part in enumerate(_shift_left(code, parts, code.trunc(amount, I32))):
            at = code.at(y, i * SUMS + 4 * k * INTEGERS.count)
            code.store_at(code.add(code.load_from(at, INTEGERS), part), at)


@inlined
def tile(
    code: Code, x: Value, quads: Value, steps: Value, count: Value, taps: Value, y: Value
) -> None:
    """Add Σ sign·(x << amount) of one program to ``PIXELS`` pixels × 64 lanes, int32 at ``y``.

    Arguments: address of the first pixel's line; address of the int64 offsets of the tile's quads
    from the first; address of the steps, how many (≥ 1), and the address of the offsets of their
    taps (and two numbers more, which are read but not used).

    A step is an int64, lowest byte first: shift the 16-bit sums left by it; add so many taps;
    subtract so many; and unless it is ``STAY``, add the 16-bit sums, shifted left by it, to ``y``
    and clear them. Its upper half is 128·Σ±1 of the taps that ``y`` then receives.
    """
    others = [code.load_from(code.at(quads, 8 * i), I64, 8) for i in range(1, QUADS)]
    nothing = [code.same(0, WORDS)] * (2 * PIXELS)
    first = code.hidden(code.add(x, _integer(code, taps)))
    loop = code.loop(count, [*nothing, code.at(taps, 4), first])
    step = code.load_from(code.add(steps, code.times(loop.index, 8)), I64, 8)
    by, plus, minus, amount = (
        code.and_(code.lshr(step, code.number(8 * i)), code.number(255)) for i in range(4)
    )
    *sums, taps, first = loop.values
    state = [*_shift_left(code, sums, code.trunc(by, I16)), taps, first]
    for taps_of_a_sign, negative in ((plus, False), (minus, True)):
        state = _add_taps(code, state, x, others, taps_of_a_sign, negative)
    *sums, taps, first = state

    def emptied() -> list[Value]:
        _add_sums(code, sums, y, amount, code.lshr(step, code.number(32)))
        return nothing

    sums = code.choose(code.icmp_signed("==", amount, code.number(STAY)), sums, emptied)
    loop.close([*sums, taps, first])


@inlined
def spread(code: Code, source: Value, target: Value, table: Value) -> None:
    """Sixteen bytes from each of 64 rows, ``PITCH`` apart, to sixteen lines.

    Even rows are lanes of the first kind, odd ones of the second. Line i goes to ``target`` plus
    the i-th of the int64 offsets at ``table``.
    """
    part, rows = ir.VectorType(I8, COLUMNS), []
    for i in range(COLUMNS):
        places = [code.at(source, PITCH * (i + k)) for k in range(0, LANES, COLUMNS)]
        some = [code.load_from(place, part) for place in places]
        order = list(range(2 * COLUMNS))
        low, high = (code.shuffle(some[k], some[k + 1], order) for k in (0, 2))
        rows.append(code.shuffle(low, high, list(range(LANES))))
    for _ in range(4):  # four perfect shuffles of 16 rows transpose 16 × 16
        half = COLUMNS // 2
        zipped = (code.zipped(rows[i], rows[i + half], COLUMNS) for i in range(half))
        rows = [row for pair in zipped for row in pair]
    for i, row in enumerate(rows):
        at = code.add(target, code.load_from(code.at(table, 8 * i), I64, 8))
        code.store_at(code.xor(code.bitcast(row, WORDS), code.same(NOUGHT, WORDS)), at)


@inlined
def clear_line(code: Code, target: Value) -> None:
    """A line of zeros."""
    code.store_at(code.same(NOUGHT, WORDS), target)


@inlined
def gather(
    code: Code, source: Value, offsets: Value, lanes: Value, target: Value, count: Value
) -> None:
    """Sixteen vectors of 16 int32 to 16 neighbours for each of 16 lanes: a line of the cache.

    The vectors lie ``source`` plus the int64 offsets at ``offsets``; the lanes' addresses are int64
    at ``lanes``, and ``target`` is added to them. Only the first ``count`` of 16 are stored.
    """
    rows = []
    for i in range(INTEGERS.count):
        at = code.add(source, code.load_from(code.at(offsets, 8 * i), I64, 8))
        rows.append(code.load_from(at, INTEGERS))
    mask = code.first_lanes(count, INTEGERS)
    for lane, row in enumerate(transposed(code, rows)):
        address = code.add(target, code.load_from(code.at(lanes, 8 * lane), I64, 8))
        code.store_lanes(row, address, mask)


@intrinsic
def bytes_at(context, address):  # type: ignore[no-untyped-def]
    """An address as a pointer to int8, for :func:`numba.carray`."""

    def generate(_context: Any, b: Any, _signature: Any, args: Any) -> Value:
        return b.inttoptr(args[0], I8.as_pointer())

    return types.CPointer(types.int8)(types.int64), generate
