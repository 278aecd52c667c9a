"""Loops of the same instructions as the kernels', without memory: what a core could do at best.

All sums stay in registers, as in a tile; what is added comes out of an empty piece of assembly, so
that LLVM can neither foresee it nor share it between sums.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from llvmlite import ir

from saa_lite.kernels.adder_u8 import add_distances
from saa_lite.kernels.ir import I64, Code, Value, function
from saa_lite.kernels.machine import Machine, addresses_of, fingerprint, machine_of

SUMS = 10  # independent: enough to hide the latency of two additions a cycle
Step = Callable[[Code, Machine, Value, Value, Value], Value]


def _adder(code: Code, machine: Machine, total: Value, a: Value, b: Value) -> Value:
    if machine.absolute:
        return code.fsub(total, code.absolute(code.fsub(a, b)))
    return code.fadd(total, code.larger(a, b))


def _multiply(code: Code, machine: Machine, total: Value, a: Value, b: Value) -> Value:
    return code.multiply_add(a, b, total)


def _bytes(code: Code, machine: Machine, total: Value, a: Value, b: Value) -> Value:
    whole = ir.VectorType(I64, machine.bits // 64)
    words = (code.bitcast(value, whole) for value in (total, a, b))
    return code.bitcast(add_distances(code, machine, *words), total.type)


# The operations on one vector, and numbers of how many bits it holds.
STEPS: dict[str, tuple[Step, int]] = {
    "adder": (_adder, 32),
    "convolution": (_multiply, 32),
    "uint8": (_bytes, 8),
}


def limit_loop(module: ir.Module, name: str, machine: Machine, kernel: str) -> None:
    """Write a function of the number of rounds and of where a vector may be stored."""
    code = function(module, name, "rounds result", machine.bits)
    rounds, result = code.arguments
    step, _ = STEPS[kernel]
    start = [code.same(float(i)) for i in range(SUMS)]
    loop = code.loop(rounds, [*start, code.same(0.5), code.same(1.5)])
    *sums, a, b = loop.values
    following: list[Value] = []
    for total in sums:
        a, b = (code.hidden(value, machine.any_vector) for value in (a, b))
        following.append(step(code, machine, total, a, b))
    total, *rest = loop.close([*following, a, b])[:-2]
    for value in rest:
        total = code.fadd(total, value)
    code.store_at(total, result)
    code.ret_void()


def results_of(kernel: str, bits: int) -> int:
    """|x − w| or multiply-adds in one round."""
    return SUMS * bits // STEPS[kernel][1]


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
