"""A campaign of tiny trainings for the tests of sharing, and a process that takes part in it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from saa_lite.data import ImageSet
from saa_lite.errors import Stopped
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import Item, built
from saa_lite.items.runner import share_item
from saa_lite.published import PublishedNumber
from saa_lite.records import PROFILES, Record
from saa_lite.train import DivergenceError, TrainConfig, train
from saa_lite.train.checkpoint import stop_politely

ITEM = "addernet-impacts/eq-gradients"  # has the metric; everything else is made up here
FIRST, LAST = "relative_error", "sign_cosine_slope"
DIVERGED = "part_cosine_slope"  # stands in for diverged_epoch
METHODS = ("conv", "adder")


@dataclass(frozen=True)
class Settings:
    """``pause`` is how many seconds an epoch takes beside its computations."""

    seeds: int = 3
    epochs: int = 4
    pause: float = 0.0
    diverging: int = -1  # the seed whose trainings do

    def after_epoch(self, unit: Unit, epoch: int) -> None:
        """What a test does in the midst of a unit."""
        time.sleep(self.pause)


def noise(split: str) -> ImageSet:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (16, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet("noise", split, images, torch.arange(16) % 4, tuple("abcd"))


def measure(settings: Settings, context: Context) -> Iterator[Record]:
    """Two records per unit, so that a unit can be killed between them."""
    for seed in range(settings.seeds):
        for method in METHODS:
            unit = context.unit(
                method=method, model="linear", dataset="noise", seed=seed, epochs=settings.epochs,
                settings={"epochs": settings.epochs},
            )  # fmt: skip
            if unit.done(FIRST, LAST, instead=DIVERGED):
                continue
            try:
                yield from trained(unit, settings)
            except DivergenceError as error:
                yield unit.record(DIVERGED, error.epoch, "")
                raise


def trained(unit: Unit, settings: Settings) -> Iterator[Record]:
    torch.manual_seed(unit.seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4 if unit.method == "conv" else 5))
    rate = 1e30 if unit.seed == settings.diverging else 0.1
    history = train(
        model, noise("train"), noise("test"),
        TrainConfig(settings.epochs, batch_size=4, seed=unit.seed, flip=False, lr=rate),
        checkpoint=unit.checkpoint, progress=False,
        on_epoch=lambda row: settings.after_epoch(unit, row["epoch"]),
    )  # fmt: skip
    yield unit.record(FIRST, history[-1]["train_loss"], "")
    time.sleep(settings.pause / 4)
    yield unit.record(LAST, history[-1]["test_loss"], "", log=history)


def picture(records: list[Record], published: list[PublishedNumber]) -> Figure:
    return Figure()


def campaign(settings: Settings | None = None) -> Item:
    profiles = dict.fromkeys(PROFILES, settings or Settings())
    return built(ITEM, profiles=profiles, run=measure, draw=picture)


def worker(home: Path, pause: float) -> subprocess.Popen[str]:
    """Another process that takes part, in a session of its own, once it is told a line."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    return subprocess.Popen(
        [sys.executable, __file__, str(pause)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "SAA_HOME": str(home)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    with suppress(Stopped), stop_politely():
        share_item(campaign(Settings(pause=float(sys.argv[1]))), Context("laptop", progress=False))
