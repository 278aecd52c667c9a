"""Moving float32 numbers about in explicit vectors: copies, sums, gathers and transpositions.

Compiled kernels call these with int64 byte addresses. Where fewer numbers than a vector holds are
left, lanes are masked: memory behind them is neither read nor written.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.ops import vector_ir as v

I8 = ir.IntType(8)


@intrinsic
def call(context, address, arguments):  # type: ignore[no-untyped-def]
    """Call the function at an address with a tuple of int64, such as a tile of this package."""

    def generate(_context, b, signature, args):  # type: ignore[no-untyped-def]
        address, values = args
        kind = ir.FunctionType(ir.VoidType(), [v.I64] * signature.args[1].count)
        b.call(b.inttoptr(address, kind.as_pointer()), cgutils.unpack_tuple(b, values))
        return _context.get_dummy_value()

    return types.void(types.int64, arguments), generate


@intrinsic
def copy_bytes(context, source, target, count):  # type: ignore[no-untyped-def]
    """``count`` bytes from one address to another."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, target, count = args
        pointers = [b.inttoptr(at, I8.as_pointer()) for at in (target, source)]
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer()] * 2 + [v.I64, v.I1])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.memcpy.p0.p0.i64")
        b.call(function, [*pointers, count, ir.Constant(v.I1, 0)])
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def clear_bytes(context, target, count):  # type: ignore[no-untyped-def]
    """``count`` bytes set to zero."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        target, count = args
        pointer = b.inttoptr(target, I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I8, v.I64, v.I1])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.memset.p0.i64")
        b.call(function, [pointer, ir.Constant(I8, 0), count, ir.Constant(v.I1, 0)])
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def add_run(context, source, target, run):  # type: ignore[no-untyped-def]
    """``run`` ≥ 1 floats at ``source`` added to those at ``target``."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, target, run = args
        vectors = b.sdiv(b.add(run, v.constant(v.LANES - 1)), v.constant(v.LANES))
        loop = v.Loop(b, vectors, [])
        mask = v.first_lanes(b, b.sub(run, b.mul(loop.index, v.constant(v.LANES))))
        here, there = (b.add(at, b.mul(loop.index, v.constant(v.BYTES))) for at in (source, target))
        total = b.fadd(v.load_lanes(b, there, mask), v.load_lanes(b, here, mask))
        v.store_lanes(b, total, there, mask)
        loop.close([])
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def sum_runs(context, address, step, run, count, target):  # type: ignore[no-untyped-def]
    """Sums of ``run`` ≥ 1 floats at address, address + step, …: ``count`` of them, at most 16.

    They go to ``target``, side by side. The order of summation does not depend on ``count``.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        address, step, run, count, target = args
        last, heads = b.sub(count, v.constant(1)), []
        for i in range(v.LANES):
            index = b.select(b.icmp_signed("<", v.constant(i), count), v.constant(i), last)
            heads.append(b.add(address, b.mul(step, index)))
        vectors = b.sdiv(b.add(run, v.constant(v.LANES - 1)), v.constant(v.LANES))
        loop = v.Loop(b, vectors, [v.vector_of(0.0)] * v.LANES)
        mask = v.first_lanes(b, b.sub(run, b.mul(loop.index, v.constant(v.LANES))))
        apart = b.mul(loop.index, v.constant(v.BYTES))
        sums = loop.close(
            [
                b.fadd(value, v.load_lanes(b, b.add(head, apart), mask))
                for value, head in zip(loop.values, heads, strict=True)
            ]
        )
        v.store_lanes(b, _sums_of_lanes(b, sums), target, v.first_lanes(b, count))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _sums_of_lanes(b: Any, vectors: list[Any]) -> Any:
    """Sixteen vectors to one of their sums: neighbours are added lane to lane, four times."""
    while len(vectors) > 1:
        half = len(vectors) // 2
        first, second = _halves(half)
        pairs = list(zip(vectors[:half], vectors[half:], strict=True))
        vectors = [
            b.fadd(v.shuffle(b, *pair, first), v.shuffle(b, *pair, second)) for pair in pairs
        ]
    return vectors[0]


@intrinsic
def gather_run(context, source, lane_step, lanes, step, count, target, sums):  # type: ignore[no-untyped-def]
    """``count`` ≥ 1 vectors to ``target``, each gathered from ``lanes`` places ``lane_step`` apart.

    The places move on by ``step`` from vector to vector. Unused lanes are 0. The sum of the
    vectors is added to the one at ``sums``.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, lane_step, lanes, *rest = args
        mask = v.first_lanes(b, lanes)
        _move(b, *rest, source, lambda here: v.gather_lanes(b, here, lane_step, mask))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


@intrinsic
def move_run(context, source, lanes, step, count, target, sums):  # type: ignore[no-untyped-def]
    """As :func:`gather_run`, the lanes lying side by side."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, lanes, *rest = args
        mask = v.first_lanes(b, lanes)
        _move(b, *rest, source, lambda here: v.load_lanes(b, here, mask))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


def _move(b: Any, step: Any, count: Any, target: Any, sums: Any, source: Any, load: Any) -> None:
    loop = v.Loop(b, count, [v.vector_of(0.0), source, target])
    total, here, there = loop.values
    some = load(here)
    v.store(b, some, there)
    following = [b.fadd(total, some), b.add(here, step), b.add(there, v.constant(v.BYTES))]
    total, _, _ = loop.close(following)
    v.store(b, b.fadd(v.load(b, sums, v.VECTOR), total), sums)


@intrinsic
def transpose_tile(context, source, source_step, rows, columns, target, target_step):  # type: ignore[no-untyped-def]
    """Up to 16 × 16 floats: row i, column j of ``source`` to row j, column i of ``target``."""

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        source, source_step, rows, columns, target, target_step = args
        nothing = ir.Constant(v.MASK, [0] * v.LANES)

        def mask_of(row: Any, count: Any, length: Any) -> Any:
            inside = b.icmp_signed("<", v.constant(row), count)
            return b.select(inside, v.first_lanes(b, length), nothing)

        lines = []
        for i in range(v.LANES):
            address = b.add(source, b.mul(source_step, v.constant(i)))
            lines.append(v.load_lanes(b, address, mask_of(i, rows, columns)))
        for j, line in enumerate(_transposed(b, lines)):
            address = b.add(target, b.mul(target_step, v.constant(j)))
            v.store_lanes(b, line, address, mask_of(j, columns, rows))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


def _transposed(b: Any, lines: list[Any]) -> list[Any]:
    """Sixteen vectors as columns: four rounds that swap quarters of ever smaller squares."""
    for half in (8, 4, 2, 1):
        first, second = _halves(half)
        for i in range(v.LANES):
            if i & half:
                continue
            upper, lower = lines[i], lines[i + half]
            lines[i] = v.shuffle(b, upper, lower, first)
            lines[i + half] = v.shuffle(b, upper, lower, second)
    return lines


def _halves(half: int) -> tuple[list[int], list[int]]:
    """Two shuffles of two vectors that trade places between lanes ``half`` apart."""
    lanes = range(v.LANES)
    first = [k if not k & half else v.LANES + k - half for k in lanes]
    second = [k + half if not k & half else v.LANES + k for k in lanes]
    return first, second
