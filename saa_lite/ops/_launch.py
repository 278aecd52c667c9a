"""Starting Numba kernels beside torch: thread count, forked children, concurrent callers.

A kernel is compiled twice (:mod:`saa_lite.kernels.compile`), serial and parallel. The serial
one runs when torch is set to one thread, for small work, and in a forked child: GNU OpenMP kills a
child that enters a parallel region after its parent did (Numba's documentation, "Threading
layers").
"""

import math
import os
import threading
from collections.abc import Sequence
from typing import Any

import numba
import torch

from saa_lite.kernels.compile import announce_first_compilation, check_compiling

BANDS_PER_THREAD = 4  # enough for threads to even out, few enough that halo rows stay cheap
# Distances or shifts that take a core some tens of microseconds: another thread takes as long to
# wake up, and where the machine is busy a hundred times as long.
SMALL_WORK = 1 << 19
_LOADED_IN = os.getpid()
# Numba's fallback layer, workqueue, aborts the process when two threads launch at once.
_ONE_LAUNCH_AT_A_TIME = threading.Lock()


def threads_wanted() -> int:
    """torch's thread setting, as far as Numba has threads; 1 in a forked child."""
    if os.getpid() != _LOADED_IN:
        return 1
    return min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)


def bands_to_share(images: int, rows: int) -> int:
    """Bands per image: one where there are images enough for all threads."""
    threads = threads_wanted()
    if threads == 1 or images >= BANDS_PER_THREAD * threads:
        return 1
    return min(rows, -(-BANDS_PER_THREAD * threads // images))


def work_of(output: Sequence[int], weight: Sequence[int]) -> int:
    """Taps of all filters at all their places, from the shapes of a convolution."""
    return math.prod(output) * math.prod(weight[1:])


def launch(serial: Any, parallel: Any, *args: Any, work: int = SMALL_WORK) -> Any:
    """Run the driver that fits the number of threads torch is set to; what it returns.

    Args:
        work: in distances or shifts; below ``SMALL_WORK`` one thread does it.
    """
    check_compiling("this operation")
    threads = threads_wanted() if work >= SMALL_WORK else 1
    announce_first_compilation(serial if threads == 1 else parallel)
    if threads == 1:
        return serial(*args)
    with _ONE_LAUNCH_AT_A_TIME:
        numba.set_num_threads(threads)
        return parallel(*args)
