"""Small freed blocks are found again without a page fault, unless the user says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from saa_lite import cli
from saa_lite.allocator import (
    HAND_BACK,
    KEEP_SMALLER,
    OLDER_NAMES,
    VARIABLE,
    allocator,
    in_force,
    restart_keeping_small_blocks,
)

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
FAULTS = """
import ctypes, resource, sys
from saa_lite.allocator import restart_keeping_small_blocks
restart_keeping_small_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
size = int(sys.argv.pop(1))
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *sys.argv[1:])
"""
SMALL, LARGE = 7 * 2**20, 9 * 2**20  # for the C library's own settings, both are large at first
LARGEST_PAGE = 2 * 2**20  # that a system gives of itself


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, *OLDER_NAMES):
        monkeypatch.delenv(name, raising=False)


def faults(size: int) -> int:
    """Page faults of a process's second block of ``size`` bytes; the first was freed."""
    command = [sys.executable, "-c", FAULTS, str(size), "first argument", "-2"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert out[1] == "first argument -2\n"
    return int(out[0])


@glibc
def test_small_blocks_are_found_again_after_the_restart_and_large_ones_go_back() -> None:
    assert faults(SMALL) == 0
    assert faults(LARGE) >= LARGE // LARGEST_PAGE


@glibc
@pytest.mark.parametrize(
    ("name", "value"), [(VARIABLE, HAND_BACK), ("MALLOC_MMAP_THRESHOLD_", "65536")]
)
def test_the_users_choice_stands(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert faults(SMALL) > 0
    assert in_force() == (value if name == VARIABLE else f"{name}={value}")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    restart_keeping_small_blocks()
    assert VARIABLE not in os.environ


@glibc
def test_processes_started_inside_keep_or_hand_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with allocator(HAND_BACK):
        assert faults(SMALL) > 0
        with allocator(KEEP_SMALLER):
            assert faults(SMALL) == 0
        assert os.environ[VARIABLE] == in_force() == HAND_BACK
    assert VARIABLE not in os.environ
    assert in_force() == "default"


@glibc
def test_settings_of_other_things_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    monkeypatch.setenv(VARIABLE, "glibc.rtld.optional_static_tls=2048")
    assert faults(SMALL) == 0
    assert in_force() == "default"
    with allocator(KEEP_SMALLER):
        assert os.environ[VARIABLE] == f"glibc.rtld.optional_static_tls=2048:{KEEP_SMALLER}"
        assert in_force() == KEEP_SMALLER


@glibc
def test_measuring_processes_ignore_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "17179869184")
    with allocator(HAND_BACK):
        assert faults(SMALL) > 0
    assert os.environ["MALLOC_MMAP_MAX_"] == "0"


def test_a_system_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "no such program")
    restart_keeping_small_blocks()
    assert VARIABLE not in os.environ


@glibc
def test_small_blocks_have_no_caches() -> None:
    """A freed block is joined with its neighbour at once, so that both make room for a larger."""
    code = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = sorted(libc.malloc(1000) for _ in range(2000))
rows = [b for b in blocks if {b + 1008, b + 2016, b + 3024} <= set(blocks)]
libc.free(rows[-1] + 1008)
libc.free(rows[-1] + 2016)
print(libc.malloc(2008) == rows[-1] + 1008)
"""
    with allocator(KEEP_SMALLER):
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out == "True\n"


@glibc
def test_the_module_restarts_and_keeps_its_exit_status() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "saa_lite", "run", "no such item"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == cli.USER_ERROR
    assert done.stderr.count("import time: self [us]") == 2  # of two processes
    assert "no such item" in done.stderr


PROGRAM = ["python", "-m", "saa_lite"]


@pytest.mark.parametrize(
    ("program", "command", "restarts"),
    [
        (PROGRAM, ["run", "nonsense"], 1),
        (["python", "/somewhere/bin/saa-lite"], ["run", "nonsense"], 1),
        (PROGRAM, ["train"], 1),
        (PROGRAM, ["notebooks"], 1),
        (PROGRAM, ["items"], 0),
        (["python", "host.py"], ["run", "nonsense"], 0),
    ],
)
def test_only_the_program_itself_restarts(
    program: list[str], command: list[str], restarts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(cli, "restart_keeping_small_blocks", lambda: calls.append(1))
    monkeypatch.setattr(sys, "orig_argv", [*program, *command])
    monkeypatch.setattr(cli, "_run", lambda arguments: 0)
    cli.main(command)
    assert calls == []
    monkeypatch.setattr(sys, "argv", ["saa-lite", *command])
    cli.main()
    assert len(calls) == restarts
