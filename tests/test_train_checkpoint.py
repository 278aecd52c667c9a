"""Checkpoints: killed at any point and resumed to the same bits; damaged, foreign, missing."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from saa_lite.data import ImageSet
from saa_lite.errors import CheckpointError, SaaLiteError, UsageError
from saa_lite.nn import make_conv
from saa_lite.train import TrainConfig, container, load_checkpoint, loop, run, save_checkpoint
from saa_lite.train import train as fit

CONFIG = TrainConfig(epochs=3, batch_size=8, lr=0.05, crop_padding=1, warmup_epochs=0.5)
STEPS = 4  # per epoch
LAST, PREVIOUS = "last.safetensors", "previous.safetensors"


def make_set(split: str, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (8 * STEPS, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet("noise", split, images, torch.arange(8 * STEPS) % 4, tuple("abcd"))


def make_model(kind: str = "shift", seed: int = 0) -> nn.Module:
    """Everything that carries state: batch norm, dropout, latent weights under channels_last."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        make_conv(kind, 5, 7, 3, stride=2, bias=False),
        nn.BatchNorm2d(7),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(7 * 9, 4),
    )


def train(folder: Path | None, config: TrainConfig = CONFIG, seed: int = 0, **options):
    model = make_model(seed=seed)
    sets = make_set("train"), make_set("test", 1)
    options = {"checkpoint_every": 3, "progress": False, "checkpoint": folder} | options
    return model, fit(model, *sets, config, **options)


def assert_same_run(left, right) -> None:
    """Equal weights, bit for bit, and equal histories but for the clock."""
    for name, value in left[0].state_dict().items():
        assert torch.equal(value, right[0].state_dict()[name]), name
    without_time = [[{**row, "seconds": 0} for row in history] for _, history in (left, right)]
    assert without_time[0] == without_time[1]


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
    if point == "step":  # in the middle of the second epoch
        loop.train_step = die_in_call(7, loop.train_step)
    elif point == "evaluation":  # the epoch's steps are done, its row is not written
        run.evaluate = die_in_call(2, run.evaluate)
    elif point == "save":  # half of the third checkpoint is on disk
        container.save_file = die_in_call(3, container.save_file, before=half_a_file)
    elif point == "rename":  # the old one is moved away, the new one not yet in place
        keep = container.keep_previous
        container.keep_previous = die_in_call(3, keep, before=keep)


@pytest.mark.filterwarnings("ignore:.*going on from:UserWarning")
@pytest.mark.parametrize("point", ["step", "evaluation", "save", "rename"])
def test_killed_and_resumed(point: str, tmp_path: Path, uninterrupted) -> None:
    child = subprocess.run(
        [sys.executable, __file__, point, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
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


class StoppedError(Exception):
    """Stands for whatever ends a run."""


def stop_after(epochs: int, folder: Path, config: TrainConfig = CONFIG, **options) -> None:
    def stop(row: dict) -> None:
        if row["epoch"] == epochs:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(folder, config, on_epoch=stop, **options)


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


# --- missing, foreign --------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no usable checkpoint: .*does not exist"):
        load_checkpoint(tmp_path / "nowhere", make_model())


def test_other_model(tmp_path: Path) -> None:
    """The same tensor names and shapes, another operator: the layers' own description tells."""
    save_checkpoint(tmp_path, make_model("conv"))
    adder = make_model("adder", seed=1)
    before = {name: value.clone() for name, value in adder.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"of another model: 3 is Conv2d\(.*there and AdderConv2d\("
    ):
        load_checkpoint(tmp_path, adder)
    assert all(torch.equal(value, before[name]) for name, value in adder.state_dict().items())


def test_other_tensors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_model())
    with pytest.raises(CheckpointError, match=r"0\.weight is torch\.float32 .* and torch\.float64"):
        load_checkpoint(tmp_path, make_model().double())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.2}, r"another configuration: lr is 0\.05 there and 0\.2 here"),
        ({"epochs": 4, "seed": 1}, "epochs is 3 there and 4 here"),
        ({"optimizer": "radam"}, "optimizer is 'sgd' there and 'radam' here"),
    ],
)
def test_other_configuration(changes: dict, message: str, tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path, replace(CONFIG, **changes))


def test_other_data_of_the_same_name(tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    with pytest.raises(CheckpointError, match=r"train_set is 'noise train, 32 images, CRC \w{8}'"):
        fit(make_model(), make_set("train", 2), make_set("test", 1), CONFIG, checkpoint=tmp_path)


def test_weights_without_optimiser(tmp_path: Path) -> None:
    model = make_model()
    save_checkpoint(tmp_path, model, state={"note": "weights only"})
    assert load_checkpoint(tmp_path, make_model(seed=1)) == {"note": "weights only"}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CheckpointError, match="holds no optimiser state"):
        load_checkpoint(tmp_path, model, optimizer)


# --- the file ----------------------------------------------------------------------------------


def test_floats_in_the_state_keep_their_bits(tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1e-310, 1 / 3, -0.0, 2.0**80 + 1]
    model = make_model()
    save_checkpoint(tmp_path, model, state={"numbers": numbers})
    loaded = load_checkpoint(tmp_path, model)["numbers"]
    assert [x.hex() for x in loaded] == [x.hex() for x in numbers]


def test_nan_in_the_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain finite JSON"):
        save_checkpoint(tmp_path, make_model(), state={"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_nan_weights_keep_their_bits(tmp_path: Path) -> None:
    """Only JSON refuses NaN; a tensor may hold what it likes."""
    model, twin = nn.Linear(2, 2), nn.Linear(2, 2)
    model.weight.data.fill_(float("nan"))
    save_checkpoint(tmp_path, model)
    load_checkpoint(tmp_path, twin)
    assert twin.weight.isnan().all()


def test_tied_weights_and_views_are_saved(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model.to(torch.bfloat16)

    model, twin = tied(), tied()
    save_checkpoint(tmp_path, model)
    load_checkpoint(tmp_path, twin)
    assert torch.equal(twin[1].weight, model[0].weight)


def test_any_reader_of_safetensors_can_open_it(tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    tensors, document = container.read_container(tmp_path / LAST)
    assert {name.partition(".")[0] for name in tensors} == {"model", "optimizer"}
    assert document["run"]["epoch"] == 1
    length = int.from_bytes((tmp_path / LAST).read_bytes()[:8], "little")
    header = json.loads((tmp_path / LAST).read_bytes()[8 : 8 + length])
    assert set(header["__metadata__"]) == {"state", "sha256"}


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaaLiteError, match="cannot write") as error:
        save_checkpoint(tmp_path / "file" / "folder", make_model())
    assert "\n" not in str(error.value)


if __name__ == "__main__":  # the child of test_killed_and_resumed
    torch.set_num_threads(1)
    arm(sys.argv[1])
    train(Path(sys.argv[2]))
