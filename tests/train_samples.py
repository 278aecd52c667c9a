"""A small run that carries every kind of state, for the checkpoint tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from saa_lite.data import ImageSet
from saa_lite.nn import make_conv
from saa_lite.train import TrainConfig, loop
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


class StoppedError(Exception):
    """Stands for whatever ends a run."""


def stop_after(epochs: int, folder: Path, config: TrainConfig = CONFIG, **options) -> None:
    def stop(row: dict) -> None:
        if row["epoch"] == epochs:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(folder, config, on_epoch=stop, **options)


@contextmanager
def stopped_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, the training's step of this number, from 1, does not come any more."""
    step, steps = loop.train_step, 0

    def stop(*arguments):
        nonlocal steps
        steps += 1
        if steps == number:
            raise StoppedError
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stop)
        with pytest.raises(StoppedError):
            yield
