"""What this machine could do at best: the same instructions without any memory access.

The adder's two operations per |x − w| (a maximum and an addition) and the convolution's one fused
multiply-add run on the same units; so do the int8 shift's three integer operations per 64 numbers
(see :mod:`saa_lite.ops.shift_ir`). Measured, not looked up: clock rates under wide vector
instructions are not published for every processor. They also vary from moment to moment, so a share
of a limit means something only if both were timed side by side: :func:`limit_call` is a contender.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from saa_lite.ops import vector_ir as v
from saa_lite.ops._compile import compiled
from saa_lite.ops.shift_ir import LANES as SHIFT_LANES
from saa_lite.ops.shift_ir import PIXELS, WORDS

CHAINS = 12  # independent sums: enough to hide the latency of an addition
ROUNDS = 20_000


def _loop(two_operations: bool) -> Any:
    @intrinsic
    def loop(context, count, seed):  # type: ignore[no-untyped-def]
        def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
            count, seed = args
            some = v.broadcast(b, seed)
            starts = [b.fadd(some, v.vector_of(float(index))) for index in range(CHAINS)]
            loop = v.Loop(b, count, starts)
            if two_operations:
                sums = [b.fadd(some, v.larger(b, some, value)) for value in loop.values]
            else:
                sums = [v.multiply_add(b, value, some, some) for value in loop.values]
            total, *rest = loop.close(sums)
            for value in rest:
                total = b.fadd(total, value)
            return v.sum_of_lanes(b, total)

        return types.float32(types.int64, types.float32), generate

    return loop


_two_operations, _multiply_adds = _loop(True), _loop(False)


@intrinsic
def _shift_operations(context, count, seed):  # type: ignore[no-untyped-def]
    """What a tap costs a tile of the int8 shift: twice added, once shifted right, per 64 numbers.

    Without memory: the word to be shifted is the sum itself.
    """

    def generate(_context, b, _signature, args):  # type: ignore[no-untyped-def]
        count, seed = args
        vector = ir.VectorType(v.I64, WORDS.count * 16 // 64)
        zeros = ir.Constant(ir.VectorType(v.I32, vector.count), [0] * vector.count)
        first = b.insert_element(ir.Constant(vector, ir.Undefined), seed, ir.Constant(v.I32, 0))
        some = b.bitcast(b.shuffle_vector(first, first, zeros), WORDS)
        eights = ir.Constant(WORDS, [8] * WORDS.count)
        starts = [ir.Constant(WORDS, [i] * WORDS.count) for i in range(2 * PIXELS)]
        loop = v.Loop(b, count, starts)
        both, high = loop.values[:PIXELS], loop.values[PIXELS:]
        high = [b.add(h, b.ashr(w, eights)) for h, w in zip(high, both, strict=True)]
        total, *rest = loop.close([*(b.add(w, some) for w in both), *high])
        for value in rest:
            total = b.add(total, value)
        return b.extract_element(b.bitcast(total, vector), ir.Constant(v.I32, 0))

    return types.int64(types.int64, types.int64), generate


@compiled()
def _run_two_operations(count: int, seed: float) -> float:
    return _two_operations(count, seed)


@compiled()
def _run_multiply_adds(count: int, seed: float) -> float:
    return _multiply_adds(count, seed)


@compiled()
def _run_shift_operations(count: int, seed: int) -> int:
    return _shift_operations(count, seed)


# The loop, its seed, and the results of one pass through it.
LOOPS: dict[str, tuple[Callable[[int, Any], object], object, int]] = {
    "adder": (_run_two_operations, np.float32(0), CHAINS * v.LANES),
    "convolution": (_run_multiply_adds, np.float32(0), CHAINS * v.LANES),
    "shift": (_run_shift_operations, 1, PIXELS * SHIFT_LANES),
}


def limit_call(kernel: str, results: int) -> Callable[[], object]:
    """A call that takes one core as long as so many results cost it at least."""
    run, seed, at_once = LOOPS[kernel]
    count = max(1, round(results / at_once))
    return lambda: run(count, seed)


def limit(kernel: str, attempts: int = 25) -> float:
    """Most results per second of one core: |x − w| for "adder", multiply-adds for "convolution".

    Also "shift", in weights times numbers. The best of a moment, to describe the machine.
    """
    results, best = ROUNDS * LOOPS[kernel][2], float("inf")
    call = limit_call(kernel, results)
    for _ in range(attempts):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return results / best
