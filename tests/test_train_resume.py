"""Runs killed at any point go on to the same bits, also from the previous file."""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from train_samples import (
    CONFIG,
    LAST,
    PREVIOUS,
    STEPS,
    assert_same_run,
    make_model,
    stop_after,
    train,
)

from saa_lite import container
from saa_lite.errors import CheckpointError
from saa_lite.train import load_checkpoint, loop, run, save_checkpoint


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = train(None)
    torch.set_num_threads(threads)
    return result


# --- killed ------------------------------------------------------------------------------------


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_call(number: int, original: Callable, before: Callable = lambda *_: None) -> Callable:
    """A stand-in for ``original`` whose call ``number`` ends the process."""
    calls = 0

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == number:
            before(*arguments)
            die()
        return original(*arguments, **options)

    return counted


def half_a_file(tensors: dict[str, Tensor], path: Path, *_: object) -> None:
    Path(path).write_bytes(b"\x10\x00")


def arm(point: str) -> None:
    """In the child: let one call of one function be the last thing it does."""
    if point == "step":  # in the second epoch, after the checkpoint of its third step
        loop.train_step = die_in_call(2 * STEPS, loop.train_step)
    elif point == "evaluation":  # the epoch's steps are done, its row is not written
        run.evaluate = die_in_call(2, run.evaluate)
    elif point == "save":  # half of the third checkpoint is on disk
        container.save_file = die_in_call(3, container.save_file, before=half_a_file)
    elif point == "rename":  # the old one is moved away, the new one not yet in place
        keep = container.keep_previous
        container.keep_previous = die_in_call(3, keep, before=keep)


def train_armed(point: str, folder: Path) -> None:
    """What the child does."""
    torch.set_num_threads(1)
    arm(point)
    train(folder)


@pytest.fixture(scope="module")
def children():
    """Processes forked by a server that has imported the package once, and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "saa_lite.train", "saa_lite.models"])
    return context


@pytest.mark.filterwarnings("ignore:.*going on from:UserWarning")
@pytest.mark.parametrize("point", ["step", "evaluation", "save", "rename"])
def test_killed_and_resumed(point: str, tmp_path: Path, uninterrupted, children) -> None:
    child = children.Process(target=train_armed, args=(point, tmp_path))
    child.start()
    child.join(240)
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / LAST).is_file() == (point != "rename")
    steps_done = count_steps(lambda: train(tmp_path, seed=9), result := [])
    assert 0 < steps_done < CONFIG.epochs * STEPS  # it neither started again nor had finished
    assert_same_run(uninterrupted, result[0])


def count_steps(call: Callable, result: list) -> int:
    original, count = loop.train_step, 0

    def counted(*arguments):
        nonlocal count
        count += 1
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", counted)
        result.append(call())
    return count


@pytest.mark.parametrize("optimizer", ["sgd", "radam"])
def test_resumed_after_each_epoch(optimizer: str, tmp_path: Path) -> None:
    config = replace(CONFIG, optimizer=optimizer, lr=0.01)
    expected = train(None, config)
    for epoch in (1, 2):
        stop_after(epoch, tmp_path, config)
    assert_same_run(expected, train(tmp_path, config, seed=9))


def test_finished_run_returns_at_once(tmp_path: Path, uninterrupted) -> None:
    train(tmp_path)
    steps = count_steps(lambda: train(tmp_path, seed=9), result := [])
    assert steps == 0
    assert_same_run(uninterrupted, result[0])


# --- damaged -----------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(offset: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset] ^= 4
        path.write_bytes(content)

    return damage


def flip_in(text: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        flip(path.read_bytes().index(text) + len(text))(path)

    return damage


DAMAGES = {
    "truncated": truncate,
    "empty": empty,
    "zeros": zeros,
    "bit of a weight": flip(-20),
    "bit of the header's length": flip(0),
    "bit of the state": flip_in(rb"\"epoch\": "),
    "bit of the hash": flip_in(b'"sha256":"'),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"model": 1})),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_newest_falls_back(damage, tmp_path: Path, uninterrupted) -> None:
    stop_after(2, tmp_path)
    damage(tmp_path / LAST)
    with pytest.warns(UserWarning, match=r"last\.safetensors is damaged.*going on from .*previous"):
        resumed = train(tmp_path, seed=9)
    assert_same_run(uninterrupted, resumed)


def test_damaged_file_never_replaces_the_sound_one(tmp_path: Path) -> None:
    """The save after a fallback must not move the damaged file over the one just used."""
    stop_after(2, tmp_path)
    sound = (tmp_path / PREVIOUS).read_bytes()
    truncate(tmp_path / LAST)
    save_checkpoint(tmp_path, make_model())
    assert (tmp_path / PREVIOUS).read_bytes() == sound


def test_both_damaged(tmp_path: Path) -> None:
    stop_after(2, tmp_path)
    truncate(tmp_path / LAST)
    empty(tmp_path / PREVIOUS)
    with pytest.raises(CheckpointError, match=r"no usable checkpoint: .*last.*; .*previous"):
        train(tmp_path)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        load_checkpoint(tmp_path, make_model())
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))
