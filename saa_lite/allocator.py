"""What the GNU C library does with freed memory, chosen when a process starts.

By default it hands a large block back to the system when it is freed and asks for a new one at
once. Every page of a new one is a fault and is filled with zeros. A training step allocates the
same tensors again and again, those of an augmented network the largest, and paid for this with more
than a third of its time: eight steps of AugShift (MobileNetV2-w0.35, r160, batch 32, one core of an
AMD EPYC, a virtual machine) took 30.5 s of processor time, with ``KEEP`` 18.9 s; peak memory was
3.1 GB by default and 3.2 GB with ``KEEP``.

``KEEP`` takes the small blocks' caches away as well. They hold the splinters that alignment leaves
between two tensors, so that these cannot be joined for a larger one: 4.2 GB with them.
"""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "GLIBC_TUNABLES"
KEEP = (
    "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:"
    "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
)
HAND_BACK = "glibc.malloc.mmap_threshold=65536"  # every tensor of 64 KiB or more on its own


def restart_keeping_memory() -> None:
    """Start this program again, with the same arguments, in a process that keeps freed memory.

    Returns where there is nothing to do: the C library is another one, or the process was started
    with an allocator's variables (``GLIBC_TUNABLES``, ``MALLOC_…_``; see mallopt(3)).
    """
    if platform.libc_ver()[0] != "glibc" or _chosen():
        return
    os.environ[VARIABLE] = KEEP
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _chosen() -> bool:
    return any(name == VARIABLE or name.startswith("MALLOC_") for name in os.environ)


@contextmanager
def allocator(tunables: str) -> Iterator[None]:
    """Processes that start inside use ``KEEP``, ``HAND_BACK`` or other tunables."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = tunables
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
