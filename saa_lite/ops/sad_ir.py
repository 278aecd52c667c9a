"""Sums of absolute differences of bytes: the LLVM building blocks of the uint8 adder.

``vpsadbw`` takes two vectors of bytes and sums |a − b| over each group of eight: each 64-bit lane
takes in eight taps, a *word*. A tile repeats one operand's word in all lanes (the tile's rows) and
has other words of the second operand side by side (its lanes).

A word adds at most 8·255 to its lane. 16 bits hold 32 of them, and the saturating 16-bit addition
runs on a port that ``vpsadbw`` does not need; after every 32 words the sums move on to 64 bits.
Addresses are int64 byte addresses and need no alignment.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.ops.vector_ir import I32, I64, Builder, Loop, Value, constant

TAPS = 8  # bytes that one 64-bit lane takes in
WORDS_IN_16_BITS = 65535 // (TAPS * 255)
I8, I16 = ir.IntType(8), ir.IntType(16)
SUM_OF_DIFFERENCES = {256: "llvm.x86.avx2.psad.bw", 512: "llvm.x86.avx512.psad.bw.512"}


def _load(b: Builder, address: Value, kind: ir.Type) -> Value:
    loaded = b.load(b.inttoptr(address, kind.as_pointer()))
    loaded.align = 1
    return loaded


def _shuffle(b: Builder, first: Value, second: Value, order: list[int]) -> Value:
    return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, len(order)), order))


def _repeat(b: Builder, scalar: Value, vector: ir.VectorType) -> Value:
    """The scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return _shuffle(b, first, undefined, [0] * vector.count)


def _call(b: Builder, name: str, result: ir.Type, *arguments: Value) -> Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


def _add_words(b: Builder, sums: list[Value], row: Any, lanes: list[Value], bits: int) -> list[Any]:
    """Sums + |row − lane| for all pairs; ``row(i)`` loads one word."""
    vector, per_lane = lanes[0].type, ir.VectorType(I16, bits // 16)
    bytes_ = ir.VectorType(I8, bits // 8)
    added: list[Any] = []
    for i in range(len(sums) // len(lanes)):
        word = b.bitcast(_repeat(b, row(i), vector), bytes_)
        for lane in lanes:
            sad = _call(b, SUM_OF_DIFFERENCES[bits], vector, word, b.bitcast(lane, bytes_))
            pair = (b.bitcast(value, per_lane) for value in (sums[len(added)], sad))
            total = _call(b, f"llvm.uadd.sat.v{per_lane.count}i16", per_lane, *pair)
            added.append(b.bitcast(total, vector))
    return added


def _store(b: Builder, sums: list[Value], address: Value, left: Value) -> None:
    """The low halves of neighbouring 64-bit sums, into the first ``left`` lanes as int32.

    Memory behind the other lanes is not touched.
    """
    halves = ir.VectorType(I32, 2 * sums[0].type.count)
    first, last = b.bitcast(sums[0], halves), b.bitcast(sums[-1], halves)
    count = len(sums) * sums[0].type.count
    integers = ir.VectorType(I32, count)
    packed = _shuffle(b, first, last, list(range(0, 2 * count, 2)))
    lanes = ir.Constant(integers, list(range(count)))
    mask = b.icmp_signed("<", lanes, _repeat(b, b.trunc(left, I32), integers))
    pointer = b.inttoptr(address, integers.as_pointer())
    name = f"llvm.masked.store.v{count}i32.p0"
    _call(b, name, ir.VoidType(), packed, pointer, ir.Constant(I32, 4), mask)


def tile_of(bits: int, rows: int, vectors: int) -> Any:
    """−Σ|a − b| of ``rows`` rows × ``vectors`` vectors of lanes.

    Arguments (int64): addresses of the first row and of the first vector, and bytes to the next
    ones; address of the table (pairs: where a word lies in a row, in a vector) and its length;
    address of the output, bytes to its next row, lanes to store.
    """

    @intrinsic
    def tile(context, a, a_step, v, v_step, table, words, y, y_step, left):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            a, a_step, v, v_step, table, words, y, y_step, left = args
            vector = ir.VectorType(I64, bits // 64)
            zeros = [ir.Constant(vector, [0] * vector.count)] * (rows * vectors)
            most = constant(WORDS_IN_16_BITS)
            chunks = b.udiv(b.add(words, constant(WORDS_IN_16_BITS - 1)), most)
            outer = Loop(b, chunks, zeros)
            first = b.mul(outer.index, most)
            rest = b.sub(words, first)
            inner = Loop(b, b.select(b.icmp_signed("<", rest, most), rest, most), zeros)
            pair = b.add(table, b.shl(b.add(first, inner.index), constant(4)))
            row = b.add(a, _load(b, pair, I64))
            at = b.add(v, _load(b, b.add(pair, constant(8)), I64))
            lanes = [
                _load(b, b.add(at, b.mul(v_step, constant(j))), vector) for j in range(vectors)
            ]
            word = lambda i: _load(b, b.add(row, b.mul(a_step, constant(i))), I64)  # noqa: E731
            sums = inner.close(_add_words(b, inner.values, word, lanes, bits))
            sums = outer.close([b.sub(*both) for both in zip(outer.values, sums, strict=True)])
            for i in range(rows):
                of_row = sums[i * vectors : (i + 1) * vectors]
                _store(b, of_row, b.add(y, b.mul(y_step, constant(i))), left)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return tile


@intrinsic
def interleave(context, source, step, target):  # type: ignore[no-untyped-def]
    """Eight bytes from each of eight rows, ``step`` apart, to eight words of one byte from each."""

    def zip_(b, first, second, kind):  # type: ignore[no-untyped-def]
        lanes = kind.count
        first, second = b.bitcast(first, kind), b.bitcast(second, kind)
        orders = ([k // 2 + h + lanes * (k % 2) for k in range(lanes)] for h in (0, lanes // 2))
        return [_shuffle(b, first, second, order) for order in orders]

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, step, target = args
        eight, sixteen = (ir.VectorType(I8, n) for n in (8, 16))
        rows = [_load(b, b.add(source, b.mul(step, constant(i))), eight) for i in range(8)]
        order = [k // 2 + 8 * (k % 2) for k in range(16)]
        pairs = [_shuffle(b, rows[i], rows[i + 1], order) for i in range(0, 8, 2)]
        shorts, ints = ir.VectorType(I16, 8), ir.VectorType(I32, 4)
        fours = [zip_(b, pairs[i], pairs[i + 1], shorts) for i in (0, 2)]
        for half in (0, 1):
            for k, words in enumerate(zip_(b, fours[0][half], fours[1][half], ints)):
                at = b.add(target, constant(32 * half + 16 * k))
                stored = b.store(b.bitcast(words, sixteen), b.inttoptr(at, sixteen.as_pointer()))
                stored.align = 1
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def copy_bytes(context, source, target, count):  # type: ignore[no-untyped-def]
    """``count`` bytes from one address to another."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, target, count = args
        addresses = (b.inttoptr(at, I8.as_pointer()) for at in (target, source))
        no = ir.Constant(ir.IntType(1), 0)
        _call(b, "llvm.memcpy.p0.p0.i64", ir.VoidType(), *addresses, count, no)
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate
