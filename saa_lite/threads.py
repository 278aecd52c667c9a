"""How the threads of OpenMP wait for each other: asleep, not spinning.

Between two pieces of work torch's threads (and Numba's, where it uses OpenMP) wait in a loop that
takes a core, by default for milliseconds. Where nothing else runs that saves the time of waking up.
On a busy machine the loop takes the core from the very thread that is waited for: on two cores that
ten other processes used, too, a small convolution took 56 ms in place of 0.1 ms, and half an epoch
of ResNet-20 on digits 139 s in place of 25 s (30 s without any spinning; by hand, AMD EPYC, a
virtual machine). So threads spin for microseconds and then sleep.

GNU OpenMP reads this once, when torch is imported, from the environment. Importing ``saa_lite``
first is enough; a choice of one's own stands.
"""

import os

WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # the second is GNU's alone
CHOICES = (*WAITING, "KMP_BLOCKTIME")  # what users may have set themselves; Intel's the last


def wait_asleep() -> None:
    """Let this process's threads, and those of processes it starts, sleep while they wait."""
    if not any(name in os.environ for name in CHOICES):
        os.environ.update(WAITING)
