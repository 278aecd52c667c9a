"""What this machine could do at best: the same instructions without any memory access.

The adder's two or three operations per |x − w| and the convolution's one fused multiply-add run on
the same units; so do the bytes' sums of absolute differences. Measured, not looked up: clock rates
under wide vector instructions are not published for every processor. They also vary from moment to
moment, so a share of a limit means something only if both were timed side by side:
:func:`limit_call` is a contender.
"""

import ctypes
import time
from collections.abc import Callable

import numpy as np

from saa_lite.kernels import machine
from saa_lite.kernels.compile import cache_folder
from saa_lite.kernels.limits import STEPS, loops_of, results_of

KERNELS = tuple(STEPS)
ROUNDS = 20_000


def limit_call(kernel: str, results: int) -> Callable[[], object]:
    """A call that takes one core as long as so many results cost it at least."""
    rounds = max(1, round(results / results_of(kernel, machine.VECTOR_BITS)))
    address = loops_of(machine.VECTOR_BITS, cache_folder())[kernel]
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
