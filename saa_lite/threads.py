"""How the threads of OpenMP wait for each other: asleep, not spinning.

Between two pieces of work torch's threads (and Numba's, where it uses OpenMP) wait in a loop that
takes a core, by default for milliseconds. Where nothing else runs, that saves the time to wake up.
On a busy machine the loop takes the core from the very thread that is waited for. With both cores
kept busy by something else, an epoch of ResNet-20 on digits took 46 s with adder layers and 43 s
with convolutions, and 13 s either way with threads that spin for microseconds and then sleep (9 and
6 s with one thread); a small convolution, beside ten processes, 56 ms and 0.1 ms. (By hand; two
threads on two cores of an Intel Xeon at 2.80 GHz, a virtual machine.)

GNU OpenMP reads this from the environment when torch is imported, and never again: ``saa_lite`` has
to be imported first, or the variables be set before. A choice of one's own stands.
"""

import os

WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # the second is GNU's alone
CHOICES = (*WAITING, "KMP_BLOCKTIME")  # what users may have set themselves; Intel's the last


def wait_asleep() -> None:
    """Let this process's threads, and those of processes it starts, sleep while they wait."""
    if not any(name in os.environ for name in CHOICES):
        os.environ.update(WAITING)
