"""What the GNU C library does with freed memory, chosen when a process starts.

By default it hands a large block back to the system when it is freed and asks for a new one at
once. Every page of a new one is a fault and is filled with zeros. A training step allocates the
same tensors again and again, those of an augmented network the largest, and paid for this with a
fifth of its time or more: eight steps of AugShift (MobileNetV2-w0.35, r160, batch 32, one core of
an AMD EPYC, a virtual machine) took 21.4 s of processor time, with ``KEEP`` 16.6 s.

The price is memory: holes between tensors stay. What training holds, and what its tensors need,
stands in table 3 (``shiftaddaug-supp/tab3``). ``KEEP`` also takes the small blocks' caches away.
They hold the splinters that alignment leaves between two tensors, so that these cannot be joined
for a larger one: with the caches it was about a quarter more.
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
OLDER_NAMES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def has_tunables() -> bool:
    """Whether the C library is the one that all this is about."""
    return platform.libc_ver()[0] == "glibc"


def restart_keeping_memory() -> None:
    """Start this program again, with the same arguments, in a process that keeps freed memory.

    Returns where there is nothing to do: the C library is another one, the process was started
    with settings of its allocator (see mallopt(3)), or the system refuses.
    """
    if not has_tunables() or _chosen():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    again = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, again, os.environ | {VARIABLE: _with_others(KEEP)})
    except OSError:
        return  # slower, and no worse


def _chosen() -> bool:
    tunables = os.environ.get(VARIABLE, "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in OLDER_NAMES)


def _with_others(tunables: str) -> str:
    """``tunables`` and those in force that are not about memory."""
    others = os.environ.get(VARIABLE, "").split(":")
    kept = [other for other in others if other and not other.startswith("glibc.malloc.")]
    return ":".join([*kept, tunables])


@contextmanager
def allocator(tunables: str) -> Iterator[None]:
    """Processes that start inside use ``KEEP`` or ``HAND_BACK``, whatever was set before."""
    names = (VARIABLE, *OLDER_NAMES)
    before = {name: os.environ[name] for name in names if name in os.environ}
    chosen = _with_others(tunables)
    for name in OLDER_NAMES:
        os.environ.pop(name, None)
    os.environ[VARIABLE] = chosen
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        os.environ.update(before)
