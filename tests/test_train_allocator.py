"""Freed memory is found again without a page fault, unless the user has said otherwise."""

import os
import subprocess
import sys

import pytest

from saa_lite.train.allocator import keep_freed_memory

glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(os, "confstr_names")
    or "CS_GNU_LIBC_VERSION" not in os.confstr_names,
    reason="the GNU C library is not in use",
)  # fmt: skip
FAULTS = """
import ctypes, resource, sys
from saa_lite.train.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 2**26 // 2**16  # at the largest page size in use, 64 KiB


def faults(choice: str, **variables: str) -> tuple[int, int]:
    """Whether memory was kept, and page faults of 64 MiB after as much was freed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    out = subprocess.run(
        [sys.executable, "-c", FAULTS, choice],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return int(out[0]), int(out[1])


@glibc
def test_freed_memory_is_found_again() -> None:
    kept, warm = faults("keep")
    assert kept
    assert warm < PAGES // 10
    assert faults("leave")[1] >= PAGES


@glibc
def test_the_users_choice_stands() -> None:
    kept, cold = faults("keep", MALLOC_MMAP_THRESHOLD_="65536")
    assert not kept
    assert cold >= PAGES


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
