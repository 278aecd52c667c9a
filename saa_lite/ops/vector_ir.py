"""Sixteen floats at once: the few LLVM building blocks of what moves numbers for the tiles.

Left to itself LLVM vectorises plain Numba loops over channels badly (short loops, possible
aliasing). So the innermost moves are written as explicit ``<16 x float>`` operations through
``numba.extending.intrinsic``. The types are legal on every target: with AVX-512 one register, else
LLVM splits them. Addresses are int64 byte addresses throughout.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from saa_lite.kernels.machine import VECTOR_BITS

LANES = 16
WIDE = VECTOR_BITS == 512
F32, I1, I32, I64 = ir.FloatType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(F32, LANES)
FLOAT = 4  # bytes
BYTES = FLOAT * LANES  # of a vector
MASK = ir.VectorType(I1, LANES)
INTEGERS = ir.VectorType(I32, LANES)

Builder = Any
Value = Any


def constant(value: int) -> Value:
    """An int64 constant."""
    return ir.Constant(I64, value)


def vector_of(value: float) -> Value:
    """A vector constant with ``value`` in every lane."""
    return ir.Constant(VECTOR, [value] * LANES)


def broadcast(builder: Builder, scalar: Value, vector: ir.VectorType = VECTOR) -> Value:
    """The scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def load(builder: Builder, address: Value, kind: ir.Type) -> Value:
    """Load a value of type ``kind``; four-byte alignment is all that is assumed of vectors."""
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 8 if kind is I64 else 4
    return loaded


def first_lanes(builder: Builder, count: Value) -> Value:
    """Mask that selects lanes 0 … count − 1 (``count`` int64)."""
    lanes = ir.Constant(ir.VectorType(I32, LANES), list(range(LANES)))
    limit = broadcast(builder, builder.trunc(count, I32), ir.VectorType(I32, LANES))
    return builder.icmp_signed("<", lanes, limit)


def store(builder: Builder, value: Value, address: Value) -> None:
    """Store a whole vector; four-byte alignment is all that is assumed."""
    builder.store(value, builder.inttoptr(address, VECTOR.as_pointer())).align = 4


def gather_lanes(builder: Builder, address: Value, step: Value, mask: Value) -> Value:
    """The floats at address, address + step, … (bytes) in the masked lanes, 0 in the others."""
    integers = ir.VectorType(I64, LANES)
    steps = builder.mul(
        broadcast(builder, step, integers), ir.Constant(integers, list(range(LANES)))
    )
    places = builder.add(broadcast(builder, address, integers), steps)
    pointers = builder.inttoptr(places, ir.VectorType(F32.as_pointer(), LANES))
    kind = ir.FunctionType(VECTOR, [pointers.type, I32, MASK, VECTOR])
    function = cgutils.get_or_insert_function(
        builder.module, kind, "llvm.masked.gather.v16f32.v16p0"
    )
    return builder.call(function, [pointers, ir.Constant(I32, 4), mask, vector_of(0.0)])


def shuffle(builder: Builder, first: Value, second: Value, order: list[int]) -> Value:
    """A vector of the lanes named in ``order``: 0 … 15 of the first, 16 … 31 of the second."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, LANES), order))


def load_lanes(builder: Builder, address: Value, mask: Value) -> Value:
    """Load the masked lanes, 0 in the others; memory behind those is not touched."""
    pointer = builder.inttoptr(address, VECTOR.as_pointer())
    kind = ir.FunctionType(VECTOR, [pointer.type, I32, MASK, VECTOR])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.load.v16f32.p0")
    return builder.call(function, [pointer, ir.Constant(I32, 4), mask, vector_of(0.0)])


def store_lanes(builder: Builder, value: Value, address: Value, mask: Value) -> None:
    """Store the masked lanes and leave the memory behind the others alone."""
    pointer = builder.inttoptr(address, VECTOR.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [VECTOR, pointer.type, I32, MASK])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.store.v16f32.p0")
    builder.call(function, [value, pointer, ir.Constant(I32, 4), mask])


def opaque(builder: Builder, value: Value) -> Value:
    """An int64 that LLVM cannot see through: it would rebuild addresses in a slower way."""
    kind = ir.FunctionType(I64, [I64])
    return builder.asm(kind, "", "=r,0", [value], side_effect=False)


class Loop:
    """``for index in range(count)`` with values carried from one round to the next; count ≥ 1."""

    def __init__(self, builder: Builder, count: Value, initial: list[Value]) -> None:
        self.builder, self.count = builder, count
        before = builder.block
        self.body = builder.append_basic_block("body")
        self.after = builder.append_basic_block("after")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.index = self._carried(constant(0), before)
        self.values = [self._carried(value, before) for value in initial]

    def _carried(self, value: Value, before: Value) -> Value:
        phi = self.builder.phi(value.type)
        phi.add_incoming(value, before)
        return phi

    def close(self, values: list[Value]) -> list[Value]:
        """End the body with the new values; returns them for use after the loop."""
        builder = self.builder
        following = builder.add(self.index, constant(1))
        for phi, value in zip([self.index, *self.values], [following, *values], strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, self.count), self.body, self.after)
        builder.position_at_end(self.after)
        return values
