"""What this machine could do at best: the same instructions without any memory access.

The adder's two operations per |x − w| (a maximum and an addition) and the convolution's one fused
multiply-add run on the same units. Measured, not looked up: clock rates under wide vector
instructions are not published for every processor.
"""

import time
from typing import Any

from numba import types
from numba.extending import intrinsic

from saa_lite.ops import vector_ir as v
from saa_lite.ops._compile import compiled

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


@compiled()
def _run_two_operations(count: int, seed: float) -> float:
    return _two_operations(count, seed)


@compiled()
def _run_multiply_adds(count: int, seed: float) -> float:
    return _multiply_adds(count, seed)


def limit(kernel: str, attempts: int = 25) -> float:
    """Results per second of one core: |x − w| for "adder", multiply-adds for "convolution"."""
    import numpy as np  # noqa: PLC0415

    run = {"adder": _run_two_operations, "convolution": _run_multiply_adds}[kernel]
    seed, best = np.float32(0.0), float("inf")
    for _ in range(attempts):
        started = time.perf_counter()
        run(ROUNDS, seed)
        best = min(best, time.perf_counter() - started)
    return ROUNDS * CHAINS * v.LANES / best
