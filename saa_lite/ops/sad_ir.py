"""Moving bytes about for the uint8 adder: words of eight channels out of planes, and copies.

Addresses are int64 byte addresses and need no alignment.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.ops.vector_ir import I32, Builder, Value, constant

I8, I16 = ir.IntType(8), ir.IntType(16)


def _load(b: Builder, address: Value, kind: ir.Type) -> Value:
    loaded = b.load(b.inttoptr(address, kind.as_pointer()))
    loaded.align = 1
    return loaded


def _shuffle(b: Builder, first: Value, second: Value, order: list[int]) -> Value:
    return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, len(order)), order))


def _call(b: Builder, name: str, result: ir.Type, *arguments: Value) -> Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


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
