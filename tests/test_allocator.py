"""Freed memory is found again without a page fault, unless the user has said otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from saa_lite import cli
from saa_lite.allocator import HAND_BACK, KEEP, VARIABLE, allocator, restart_keeping_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
FAULTS = """
import ctypes, resource, sys
from saa_lite.allocator import restart_keeping_memory
restart_keeping_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *sys.argv[1:])
"""
PAGES = 2**26 // 2**16  # at the largest page size in use, 64 KiB


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name == VARIABLE or name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)


def faults() -> int:
    """Page faults of a process's third 64 MiB block; the two before were freed."""
    command = [sys.executable, "-c", FAULTS, "first argument", "-2"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert out[1] == "first argument -2\n"
    return int(out[0])


@glibc
def test_freed_memory_is_found_again_after_the_restart() -> None:
    assert faults() < PAGES // 10


@glibc
@pytest.mark.parametrize(
    ("name", "value"), [(VARIABLE, HAND_BACK), ("MALLOC_MMAP_THRESHOLD_", "65536")]
)
def test_the_users_choice_stands(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert faults() >= PAGES


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    restart_keeping_memory()
    assert VARIABLE not in os.environ


@glibc
def test_processes_started_inside_keep_or_hand_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with allocator(HAND_BACK):
        assert faults() >= PAGES
        with allocator(KEEP):
            assert faults() < PAGES // 10
        assert os.environ[VARIABLE] == HAND_BACK
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("command", "restarts"), [(["run", "nonsense"], 1), (["items"], 0), (["doctor"], 0)]
)
def test_only_the_program_itself_restarts(
    command: list[str], restarts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(cli, "restart_keeping_memory", lambda: calls.append(1))
    cli.main(command)
    assert calls == []
    monkeypatch.setattr(sys, "argv", ["saa-lite", *command])
    cli.main()
    assert len(calls) == restarts
