"""Threads that wait are asleep: not one takes a core that another needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saa_lite import threads
from saa_lite.ops import _launch
from saa_lite.threads import CHOICES, WAITING, wait_asleep

ROOT = Path(__file__).resolve().parent.parent
# Processor seconds that the second thread takes while the first one sleeps after shared work.
WAITED = """
import os, time
import saa_lite, torch
torch.set_num_threads(2)
x = torch.zeros(1 << 20)
x.add_(1)
before = time.process_time() - time.thread_time()
for _ in range(8):
    x.add_(1)
    time.sleep(0.02)
print(time.process_time() - time.thread_time() - before)
"""


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)


def seconds_taken_while_waiting(**environment: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", WAITED],
        env=os.environ | {"OMP_NUM_THREADS": "2"} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other runtimes of OpenMP elsewhere")
def test_importing_the_package_first_lets_threads_sleep() -> None:
    spinning = seconds_taken_while_waiting(OMP_WAIT_POLICY="active")  # a choice that stands
    assert seconds_taken_while_waiting() < spinning / 4


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_of_the_user_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0")
    wait_asleep()
    assert {n: os.environ[n] for n in CHOICES if n in os.environ} == {name: "0"}


def test_otherwise_it_is_ours_and_processes_inherit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.setenv(name, "")  # so that it is taken back
        monkeypatch.delenv(name)
    threads.wait_asleep()
    code = f"import os; print([os.environ.get(name) for name in {CHOICES}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['passive', '1000', None]\n"


def test_conda_sets_the_same() -> None:
    """Where Jupyter is started without make, a kernel may import torch first."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    for name, value in WAITING.items():
        assert f"  {name}: {value}\n" in text.replace('"', "")


def test_the_package_alone_loads_nothing() -> None:
    code = "import sys, saa_lite; print({'torch', 'numba', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_small_work_is_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_launch, "threads_wanted", lambda: 2)
    monkeypatch.setattr(_launch, "announce_first_compilation", lambda dispatcher: None)
    monkeypatch.setattr(_launch.numba, "set_num_threads", lambda count: None)
    drivers = (lambda: "one thread", lambda: "two threads")
    assert _launch.launch(*drivers, work=_launch.SMALL_WORK - 1) == "one thread"
    assert _launch.launch(*drivers, work=_launch.SMALL_WORK) == "two threads"
    assert _launch.launch(*drivers) == "two threads"
    # 2 images of 5 × 7 pixels, 3 filters, 4 channels in a group, kernels of 2 × 3
    assert _launch.work_of((2, 3, 5, 7), (3, 4, 2, 3)) == 2 * 5 * 7 * 3 * (4 * 2 * 3)
