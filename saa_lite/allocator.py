"""What the GNU C library does with freed memory, chosen when a process starts.

By default it hands a large block back to the system when it is freed and asks for a new one at
once. Every page of a new one is a fault and is filled with zeros, and a training step allocates the
same tensors again and again, those of an augmented network the largest. With everything kept there
are no faults, but holes, since the sizes of these tensors change from step to step.

``KEEP_SMALLER`` is between the two. Freed blocks of less than 8 MiB are kept, nearly all that
training on small images needs; larger ones go back, unless they found room between kept ones. Time
of an augmented step over what its multiply-accumulates predict, for NetAug, AugShift and AugAdd
(MobileNetV2-w0.35, r160, batch 32, two threads on two cores of an AMD EPYC, a virtual machine):
1.25, 1.27 and 1.15 by default (six steps by hand; of one thread no difference was seen), 0.84, 0.86
and 0.96 with everything kept, which held up to 3.8 GB (the whole protocol). Time and memory with
``KEEP_SMALLER`` stand in table 3 (``shiftaddaug-supp/tab3``).

``KEEP_SMALLER`` also takes the small blocks' caches away. They hold the splinters that alignment
leaves between two tensors, so that these cannot be joined for a larger one.
"""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "GLIBC_TUNABLES"
KEEP_SMALLER = (
    "glibc.malloc.mmap_threshold=8388608:glibc.malloc.trim_threshold=17179869184:"
    "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
)
HAND_BACK = "glibc.malloc.mmap_threshold=65536"  # every tensor of 64 KiB or more on its own
OLDER_NAMES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def has_tunables() -> bool:
    """Whether the C library is the one that all this is about."""
    return platform.libc_ver()[0] == "glibc"


def restart_keeping_small_blocks() -> None:
    """Start this program again, with the same arguments, where small freed blocks are kept.

    Returns where there is nothing to do: the C library is another one, the process was started
    with settings of its allocator (see mallopt(3)), or the system refuses.
    """
    if not has_tunables() or _chosen():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    again = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, again, os.environ | {VARIABLE: _with_others(KEEP_SMALLER)})
    except OSError:
        return  # slower, and no worse


def in_force() -> str:
    """The allocator's settings in the environment, "default" where there are none to set."""
    if not has_tunables():
        return "default"
    tunables = os.environ.get(VARIABLE, "").split(":")
    settings = [setting for setting in tunables if setting.startswith("glibc.malloc.")]
    settings += [f"{name}={os.environ[name]}" for name in OLDER_NAMES if name in os.environ]
    return ":".join(settings) or "default"


def _chosen() -> bool:
    return in_force() != "default"


def _with_others(tunables: str) -> str:
    """``tunables`` and those in force that are not about memory."""
    others = os.environ.get(VARIABLE, "").split(":")
    kept = [other for other in others if other and not other.startswith("glibc.malloc.")]
    return ":".join([*kept, tunables])


@contextmanager
def allocator(tunables: str) -> Iterator[None]:
    """Processes that start inside use these ``tunables``, whatever was set before."""
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
