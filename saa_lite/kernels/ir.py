"""A vocabulary of LLVM instructions: for tiles, which are functions of their own, and for moves.

:class:`Code` writes instructions on int64 (numbers, or byte addresses) and on vectors. Those of a
tile (:func:`function`) have as many lanes as the machine's registers hold of a type, so that LLVM
need not split them, and a generator decides by itself how many registers its innermost loop takes.
What moves numbers about is written into the functions that Numba compiles (:func:`inlined`), in
vectors of 512 bits: LLVM splits them where registers are shorter.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Value = Any
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32 = ir.FloatType()
FLOAT = 4  # bytes


class Code(ir.IRBuilder):
    """What follows in a block; ``bits`` is the length of a vector."""

    def __init__(self, block: ir.Block, bits: int = 512) -> None:
        super().__init__(block)
        self.bits = bits
        self.floats = ir.VectorType(F32, bits // 32)

    @property
    def arguments(self) -> tuple[Value, ...]:
        """The values that the function is called with."""
        return tuple(self.function.args)

    @staticmethod
    def number(value: int) -> Value:
        """An int64 constant."""
        return ir.Constant(I64, value)

    def same(self, value: float, kind: ir.VectorType | None = None) -> Value:
        """A constant in every lane."""
        kind = kind or self.floats
        return ir.Constant(kind, [value] * kind.count)

    def at(self, address: Value, offset: int) -> Value:
        """A constant number of bytes further."""
        return self.add(address, self.number(offset)) if offset else address

    def times(self, value: Value, factor: int) -> Value:
        """A constant multiple."""
        return self.mul(value, self.number(factor))

    def load_from(self, address: Value, kind: ir.Type, alignment: int = 4) -> Value:
        """A value in memory."""
        return self.load(self.pointer(address, kind), align=alignment)

    def store_at(self, value: Value, address: Value, alignment: int = 4) -> None:
        """Into memory."""
        self.store(value, self.pointer(address, value.type), align=alignment)

    def first_lanes(self, count: Value, kind: ir.VectorType) -> Value:
        """A mask of lanes 0 … count − 1 (``count`` int64) of a vector."""
        lanes = ir.VectorType(I32, kind.count)
        numbers = ir.Constant(lanes, list(range(kind.count)))
        return self.icmp_signed("<", numbers, self.repeat(self.trunc(count, I32), lanes))

    def load_lanes(self, address: Value, mask: Value, kind: ir.VectorType) -> Value:
        """The masked lanes, 0 in the others; memory behind those is not touched."""
        name, nothing = f"llvm.masked.load.{_short(kind)}.p0", ir.Constant(kind, None)
        places = self.pointer(address, kind), ir.Constant(I32, 4)
        return self.intrinsic(name, kind, *places, mask, nothing)

    def store_lanes(self, value: Value, address: Value, mask: Value) -> None:
        """Store the masked lanes and leave the memory behind the others alone."""
        kind = value.type
        name = f"llvm.masked.store.{_short(kind)}.p0"
        places = self.pointer(address, kind), ir.Constant(I32, 4)
        self.intrinsic(name, ir.VoidType(), value, *places, mask)

    def pointer(self, address: Value, kind: ir.Type) -> Value:
        """An address as LLVM's loads and stores take it."""
        return self.inttoptr(address, kind.as_pointer())

    def repeat(self, scalar: Value, kind: ir.VectorType | None = None) -> Value:
        """The scalar in every lane."""
        undefined = ir.Constant(kind or self.floats, ir.Undefined)
        first = self.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.shuffle(first, first, [0] * undefined.type.count)

    def shuffle(self, first: Value, second: Value, order: list[int]) -> Value:
        """A vector of the lanes named in ``order``, those of the second behind the first's."""
        return self.shuffle_vector(
            first, second, ir.Constant(ir.VectorType(I32, len(order)), order)
        )

    def zipped(self, first: Value, second: Value, part: int) -> list[Value]:
        """The lower and the upper halves of each ``part`` lanes, interleaved."""
        count, half = first.type.count, part // 2
        orders = (
            [
                at + up + k // 2 + count * (k % 2)
                for at in range(0, count, part)
                for k in range(part)
            ]
            for up in (0, half)
        )
        return [self.shuffle(first, second, order) for order in orders]

    def intrinsic(
        self, name: str, result: ir.Type, *arguments: Value, fast: Sequence[str] = ()
    ) -> Value:
        """Call an LLVM intrinsic by its full name."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        known = self.module.globals.get(name)
        return self.call(known or ir.Function(self.module, kind, name), arguments, fastmath=fast)

    def absolute(self, value: Value) -> Value:
        """|value|, lane by lane."""
        return self.intrinsic(f"llvm.fabs.{_short(value.type)}", value.type, value)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a·b + c, fused where the machine can."""
        return self.intrinsic(f"llvm.fmuladd.{_short(a.type)}", a.type, a, b, c)

    def larger(self, a: Value, b: Value) -> Value:
        """max(a, b), lane by lane; b where one of them is NaN, as the x86 instruction."""
        return self.select(self.fcmp_ordered(">", a, b), a, b)

    def clip_to_one(self, value: Value) -> Value:
        """Clip to [−1, 1]; what becomes of NaN depends on the machine."""
        for name, bound in (("minnum", 1.0), ("maxnum", -1.0)):
            full, limit = f"llvm.{name}.{_short(value.type)}", self.same(bound)
            value = self.intrinsic(full, value.type, value, limit, fast=("nnan", "nsz"))
        return value

    def range_to_one(self, value: Value) -> Value:
        """Clip to [−1, 1] with AVX-512 DQ; NaN becomes ±1."""
        # vrangeps, immediate 2: of value and 1 the smaller magnitude, with the sign of value.
        everywhere, current_rounding = ir.Constant(I16, -1), ir.Constant(I32, 4)
        arguments = value, self.same(1.0), ir.Constant(I32, 2), value, everywhere, current_rounding
        return self.intrinsic("llvm.x86.avx512.mask.range.ps.512", value.type, *arguments)

    def all_lanes(self, mask: Value) -> Value:
        """Whether every lane of a mask is set."""
        return self.intrinsic(f"llvm.vector.reduce.and.{_short(mask.type)}", I1, mask)

    def choose(
        self, condition: Value, given: list[Value], make: Callable[[], list[Value]]
    ) -> list[Value]:
        """``given`` where the condition holds, else what ``make()`` computes then."""
        before = self.block
        otherwise, after = self.append_basic_block("otherwise"), self.append_basic_block("after")
        self.cbranch(condition, after, otherwise)
        self.position_at_end(otherwise)
        made, last = make(), self.block
        self.branch(after)
        self.position_at_end(after)
        chosen = [self.phi(value.type) for value in given]
        for phi, *both in zip(chosen, given, made, strict=True):
            for value, block in zip(both, (before, last), strict=True):
                phi.add_incoming(value, block)
        return chosen

    def hidden(self, value: Value, register: str = "r") -> Value:
        """The value as LLVM cannot foresee it; addresses it would rebuild in a slower way.

        Args:
            register: the kind that holds it in LLVM's inline assembly, "r" for an int64.
        """
        kind = ir.FunctionType(value.type, [value.type])
        return self.asm(kind, "", f"={register},0", [value], side_effect=False)

    def loop(self, count: Value, carried: Sequence[Value]) -> "Loop":
        """``count`` ≥ 1 rounds, with values carried from one to the next."""
        return Loop(self, count, carried)


class Loop:
    """``for index in range(count)``: emit the body, then :meth:`close`; see :meth:`Code.loop`."""

    def __init__(self, code: Code, count: Value, carried: Sequence[Value]) -> None:
        self.code, self.count = code, count
        before = code.block
        self.body = code.append_basic_block("loop")
        code.branch(self.body)
        code.position_at_end(self.body)
        self.index = self._carry(code.number(0), before)
        self.values = [self._carry(value, before) for value in carried]

    def _carry(self, value: Value, before: Any) -> Value:
        phi = self.code.phi(value.type)
        phi.add_incoming(value, before)
        return phi

    def close(self, values: Sequence[Value]) -> list[Value]:
        """End the body with the new values; returns them for use after the loop."""
        code = self.code
        following = code.add(self.index, code.number(1))
        for phi, value in zip([self.index, *self.values], [following, *values], strict=True):
            phi.add_incoming(value, code.block)
        after = code.append_basic_block("after")
        code.cbranch(code.icmp_signed("<", following, self.count), self.body, after)
        code.position_at_end(after)
        return list(values)


def _short(kind: ir.Type) -> str:
    """The type in an intrinsic's name, e.g. v8f32."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_short(kind.element)}"
    return "f32" if kind == F32 else f"i{kind.width}"


def function(module: ir.Module, name: str, arguments: str, bits: int) -> Code:
    """The body of a new function, for vectors of ``bits`` bits; ``arguments``: names of int64."""
    kind = ir.FunctionType(ir.VoidType(), [I64] * len(arguments.split()))
    return Code(ir.Function(module, kind, name).append_basic_block("entry"), bits)


def inlined(write: Callable[..., None]) -> Any:
    """What ``write(code, *arguments)`` writes, for compiled functions to call with int64."""
    names = list(inspect.signature(write).parameters)[1:]

    def define(_context: Any, *_arguments: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            code = Code(builder.block)
            write(code, *values)
            builder.position_at_end(code.block)
            return context.get_dummy_value()

        return types.void(*[types.int64] * len(names)), generate

    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, either) for name in ("context", *names)]
    define.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    define.__name__, define.__doc__ = write.__name__, write.__doc__
    return intrinsic(define)
