"""Loops of the same instructions as the kernels', without memory: what a core could do at best.

All sums stay in registers, as in a tile; what is added comes out of an empty piece of assembly, so
that LLVM can neither foresee it nor share it between sums.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from llvmlite import ir

from saa_lite.kernels.adder_u8 import add_distances
from saa_lite.kernels.ir import I16, I64, Code, Value, function
from saa_lite.kernels.machine import Machine, addresses_of, fingerprint, machine_of

SUMS = 10  # independent: enough to hide the latency of two additions a cycle
Step = Callable[[Code, Machine, list[Value], Value, Value], list[Value]]


def _adder(code: Code, machine: Machine, sums: list[Value], a: Value, b: Value) -> list[Value]:
    (total,) = sums
    if machine.absolute:
        return [code.fsub(total, code.absolute(code.fsub(a, b)))]
    return [code.fadd(total, code.larger(a, b))]


def _multiply(code: Code, machine: Machine, sums: list[Value], a: Value, b: Value) -> list[Value]:
    return [code.multiply_add(a, b, sums[0])]


def _bytes(code: Code, machine: Machine, sums: list[Value], a: Value, b: Value) -> list[Value]:
    whole = ir.VectorType(I64, machine.bits // 64)
    words = (code.bitcast(value, whole) for value in (sums[0], a, b))
    return [code.bitcast(add_distances(code, machine, *words), sums[0].type)]


def _shift(code: Code, machine: Machine, sums: list[Value], a: Value, b: Value) -> list[Value]:
    """Two numbers to a word: added as they are, and shifted right (``saa_lite.ops.shift_ir``)."""
    words = ir.VectorType(I16, machine.bits // 16)
    both, high, word = (code.bitcast(value, words) for value in (*sums, a))
    new = code.add(both, word), code.add(high, code.ashr(word, code.same(8, words)))
    return [code.bitcast(value, a.type) for value in new]


# The operations on one vector, how many sums they go into, and numbers of how many bits.
STEPS: dict[str, tuple[Step, int, int]] = {
    "adder": (_adder, 1, 32),
    "convolution": (_multiply, 1, 32),
    "uint8": (_bytes, 1, 8),
    "shift": (_shift, 2, 8),
}


def limit_loop(module: ir.Module, name: str, machine: Machine, kernel: str) -> None:
    """Write a function of the number of rounds and of where a vector may be stored."""
    code = function(module, name, "rounds result", machine.bits)
    rounds, result = code.arguments
    step, each, _ = STEPS[kernel]
    start = [code.same(float(i)) for i in range(SUMS // each * each)]
    loop = code.loop(rounds, [*start, code.same(0.5), code.same(1.5)])
    *sums, a, b = loop.values
    following: list[Value] = []
    for i in range(0, len(sums), each):
        a, b = (code.hidden(value, machine.any_vector) for value in (a, b))
        following += step(code, machine, sums[i : i + each], a, b)
    total, *rest = loop.close([*following, a, b])[:-2]
    for value in rest:
        total = code.fadd(total, value)
    code.store_at(total, result)
    code.ret_void()


def results_of(kernel: str, bits: int) -> int:
    """|x − w|, multiply-adds or weights times numbers in one round."""
    _, each, number = STEPS[kernel]
    return SUMS // each * bits // number


def module_of(machine: Machine) -> ir.Module:
    """The loops of all kernels, by their names."""
    module = ir.Module("limits")
    for kernel in STEPS:
        limit_loop(module, kernel, machine, kernel)
    return module


@lru_cache
def loops_of(bits: int, folder: Path) -> dict[str, int]:
    """The loops' addresses, compiled for vectors of ``bits`` bits and kept in ``folder``."""
    machine = machine_of(bits)
    file = folder / f"limits-{bits}-{fingerprint(machine)}.o"
    return addresses_of(partial(module_of, machine), machine, list(STEPS), file)
