"""What holds for every test: no network, and a closing list of what could not be tested here."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saa_lite.threads import wait_asleep

wait_asleep()  # what is imported below reads it
# One thread, also in subprocesses and notebook kernels: arrays are small, and two OpenMP threads
# that spin on one busy core are many times slower. Tests of threading ask for two themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

ALLOWED = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Connections leave this machine for nothing; kernels and test servers use the loopback."""
    patch = pytest.MonkeyPatch()
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ALLOWED:
            raise RuntimeError(f"a test tried to reach the network: {address[0]}")
        connect(self, address)

    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="also what is marked weekly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--whole"):
        left = [item for item in items if item.get_closest_marker("weekly")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("weekly")]
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):  # keywords also hold the names of folders
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where the time goes, by files: single tests say little when there are thousands of them."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[Path(report.nodeid.split("::")[0]).name] += report.duration
    dearest = ", ".join(f"{name} {taken:.0f} s" for name, taken in seconds.most_common(25))
    terminalreporter.write_line(f"{sum(seconds.values()):.0f} s of tests, most of it: {dearest}")
    if not torch.cuda.is_available():
        terminalreporter.write_line(
            "Not tested here: the GPU paths. On a machine with an NVIDIA GPU and a CUDA build of "
            "torch the same command runs them."
        )
