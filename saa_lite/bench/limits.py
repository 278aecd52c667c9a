"""What this machine could do at best: the same instructions without any memory access.

The adder's two or three operations per |x − w| and the convolution's one fused multiply-add run on
the same units; so do the bytes' sums of absolute differences. All sums stay in registers, as in a
tile; what is added comes out of an empty piece of assembly, so that LLVM can neither foresee it nor
share it between sums.

Measured, not looked up: clock rates under wide vector instructions are not published for every
processor. They also vary from moment to moment, so a share of a limit means something only if both
were timed side by side: :func:`limit_call` is a contender.
"""

import ctypes
import hashlib
import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from llvmlite import ir

from saa_lite.kernels import machine
from saa_lite.kernels.adder_u8 import add_distances
from saa_lite.kernels.compile import cache_folder
from saa_lite.kernels.ir import I64, Code, Value, function
from saa_lite.kernels.machine import Machine

ROUNDS = 20_000
SUMS = 10  # independent: enough to hide the latency of two additions a cycle
Step = Callable[[Code, Machine, Value, Value, Value], Value]


def _adder(code: Code, target: Machine, total: Value, a: Value, b: Value) -> Value:
    if target.absolute:
        return code.fsub(total, code.absolute(code.fsub(a, b)))
    return code.fadd(total, code.larger(a, b))


def _multiply(code: Code, target: Machine, total: Value, a: Value, b: Value) -> Value:
    return code.multiply_add(a, b, total)


def _bytes(code: Code, target: Machine, total: Value, a: Value, b: Value) -> Value:
    whole = ir.VectorType(I64, target.bits // 64)
    words = (code.bitcast(value, whole) for value in (total, a, b))
    return code.bitcast(add_distances(code, target, *words), total.type)


# The operations on one vector, and numbers of how many bits it holds.
STEPS: dict[str, tuple[Step, int]] = {
    "adder": (_adder, 32),
    "convolution": (_multiply, 32),
    "uint8": (_bytes, 8),
}
KERNELS = tuple(STEPS)


def limit_loop(module: ir.Module, name: str, target: Machine, kernel: str) -> None:
    """Write a function of the number of rounds and of where a vector may be stored."""
    code = function(module, name, "rounds result", target.bits)
    rounds, result = code.arguments
    step, _ = STEPS[kernel]
    start = [code.same(float(i)) for i in range(SUMS)]
    loop = code.loop(rounds, [*start, code.same(0.5), code.same(1.5)])
    *sums, a, b = loop.values
    following: list[Value] = []
    for total in sums:
        a, b = (code.hidden(value, target.any_vector) for value in (a, b))
        following.append(step(code, target, total, a, b))
    total, *rest = loop.close([*following, a, b])[:-2]
    for value in rest:
        total = code.fadd(total, value)
    code.store_at(total, result)
    code.ret_void()


def results_of(kernel: str, bits: int) -> int:
    """|x − w| or multiply-adds in one round."""
    return SUMS * bits // STEPS[kernel][1]


def module_of(target: Machine) -> ir.Module:
    """The loops of all kernels, by their names."""
    module = ir.Module("limits")
    for kernel in STEPS:
        limit_loop(module, kernel, target, kernel)
    return module


@lru_cache
def loops_of(bits: int) -> dict[str, int]:
    """The loops' addresses, compiled for vectors of ``bits`` bits and kept on disk."""
    found = machine.machine_of(bits)
    module = module_of(found)
    name = hashlib.sha256(str(module).encode()).hexdigest()[:12]
    file = cache_folder() / f"limits-{bits}-{machine.fingerprint(found)}-{name}.o"
    return machine.addresses_of(lambda: module, found, list(STEPS), file)


def limit_call(kernel: str, results: int) -> Callable[[], object]:
    """A call that takes one core as long as so many results cost it at least."""
    rounds = max(1, round(results / results_of(kernel, machine.VECTOR_BITS)))
    address = loops_of(machine.VECTOR_BITS)[kernel]
    loop, result = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2)(address), np.empty(64, np.uint8)
    return lambda: loop(rounds, result.ctypes.data)


def limit(kernel: str, attempts: int = 25) -> float:
    """Most results per second of one core: |x − w| for "adder", multiply-adds for "convolution".

    Also "uint8", in |x − w|. The best of a moment, to describe the machine.
    """
    results, best = ROUNDS * results_of(kernel, machine.VECTOR_BITS), float("inf")
    call = limit_call(kernel, results)
    for _ in range(attempts):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return results / best
