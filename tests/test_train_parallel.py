"""Two processes that train together do what one does that accumulates two micro-batches."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from parallel_samples import CONFIG, join, plain, run, second, sets
from torch import Tensor

from saa_lite.errors import SaaLiteError, Stopped, UsageError
from saa_lite.train import parallel
from saa_lite.train.run import Run

CASES = ("plain", "augmented", "distilled", "attached", "stopped")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """What the first of two processes ends with, case by case; and what it left in its folders."""
    folder, threads = tmp_path_factory.mktemp("two"), torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict = {"folder": folder}
    with second(folder / "store", " ".join(CASES), folder) as other:
        join(folder / "store", 0)
        try:
            with pytest.raises(SaaLiteError, match="process 0 found a checkpoint after 4 updates"):
                parallel.start_together(plain(0), updates=4)
            for case in CASES[:-1]:
                found[case] = run(case, folder / case, accumulate=1)
            with pytest.raises(Stopped):  # the other was asked, and both stop
                run("stopped", folder / "stopped", accumulate=1)
        finally:
            dist.destroy_process_group()
    assert other.returncode == 0
    yield found
    torch.set_num_threads(threads)


def distance(left: Tensor, right: Tensor) -> float:
    """The largest difference, in terms of the largest entry."""
    if not left.numel() or torch.equal(left, right):
        return 0.0
    return float((left - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("case", CASES[:-1])
def test_two_processes_equal_one_that_accumulates(case: str, together, tmp_path: Path) -> None:
    model, history = together[case]
    alone, expected = run(case, tmp_path, accumulate=2)
    one, _ = run(case, tmp_path / "one", accumulate=1)
    state = model.state_dict()
    for name, value in alone.state_dict().items():
        assert distance(state[name], value) < 1e-4, name
    assert max(distance(v, state[name]) for name, v in one.state_dict().items()) > 1e-2
    assert [row.keys() for row in history] == [row.keys() for row in expected]
    for row, right in zip(history, expected, strict=True):
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(right[name], rel=1e-5), name


def test_the_first_process_saves_for_all(together) -> None:
    model, history = together["plain"]
    loaded, again = run("plain", together["folder"] / "plain", accumulate=1, seed=3)
    assert again == history
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_signal_to_one_process_stops_all_after_the_same_update(together, tmp_path: Path) -> None:
    """And one process goes on with what two have begun."""
    model = plain(5)
    found = Run(model, *sets(), CONFIG, device="cpu", folder=together["folder"] / "stopped")
    found.resume()
    assert (found.epoch, found.step) == (1, 1)
    _, history = run("stopped", together["folder"] / "stopped", accumulate=1)
    assert [row["epoch"] for row in history] == [1, 2]


def test_processes_join_where_torchrun_has_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with parallel.joined("cuda:1") as device:
        assert (device, dist.is_initialized()) == ("cuda:1", False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for name, value in (told | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    with parallel.joined("cpu") as device:
        assert (device, dist.is_initialized()) == ("cpu", True)
        assert (parallel.rank(), parallel.count()) == (0, 1)
    assert not dist.is_initialized()
    with pytest.raises(UsageError, match="say cuda instead of cuda:1"), parallel.joined("cuda:1"):
        pass
