"""Freed memory stays with the process, so that the next training step finds it warm.

The GNU C library hands a large block back to the system when it is freed and asks for a new one
at once. Every page of a new one is a fault and is filled with zeros. A training step allocates the
same tensors again and again, those of an augmented network the largest, and paid for this with a
quarter of its time. Measured on two cores of an AMD EPYC, MobileNetV2-w0.35 at r160, batch 32: a
step of NetAug took 1.82 s before and 1.17 s after, one of its base 0.23 s and 0.20 s. The price is
memory: it stays with the process until it ends, and holes between tensors add to it. The costliest
steps of NetAug need 2.7 GB and hold 4.5 GB (``shiftaddaug-supp/tab3``).
"""

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt(3)
UNLIMITED = -1  # read as the largest size


def keep_freed_memory() -> bool:
    """Tell the GNU C library to keep freed memory; done before, or elsewhere, it changes nothing.

    Whoever has set an allocator's variables (``MALLOC_…_``, ``GLIBC_TUNABLES``; see mallopt(3))
    keeps what they say.

    Returns:
        Whether freed memory is kept.
    """
    if platform.libc_ver()[0] != "glibc" or _chosen_by_user():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, UNLIMITED))


def _chosen_by_user() -> bool:
    return any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
