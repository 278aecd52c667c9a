"""Trainings for two processes; run as a script, this is the second of them."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import augment_samples
import torch
import torch.distributed as dist
from torch import nn
from train_samples import make_set

from saa_lite.augment import AugmentedTraining
from saa_lite.data import ImageSet
from saa_lite.errors import SaaLiteError, Stopped
from saa_lite.nn import make_conv
from saa_lite.train import Distillation, Method, TrainConfig, parallel, train

IMAGES = 27  # batches of 8, 8, 8 and 3: the last is one micro-batch, and the first process idle
CONFIG = TrainConfig(epochs=2, batch_size=8, lr=0.05, crop_padding=1, nesterov=False)


def sets() -> tuple[ImageSet, ImageSet]:
    return make_set("train").subset(IMAGES, 0), make_set("test", 1)


def plain(seed: int) -> nn.Module:
    """Batch norm, and an adder layer that takes the step of the whole gradient's length."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(),
        make_conv("adder", 5, 7, 3, stride=2, bias=False), nn.BatchNorm2d(7), nn.Flatten(),
        nn.Linear(7 * 9, 4),
    )  # fmt: skip


def run(case: str, folder: Path, accumulate: int, seed: int = 0) -> tuple[nn.Module, list[Any]]:
    """``case``: "plain", "augmented", the same "distilled" in place by a teacher that is detached
    or "attached", or "stopped" by a signal to the second process.
    """
    config = replace(CONFIG, accumulate=accumulate)
    method: Method | None = None
    model = plain(seed)
    if case == "augmented":  # of few updates: adder networks make rounding grow
        config = replace(config, batch_size=14)
        method, model = (
            AugmentedTraining(batch_norm_images=16),
            augment_samples.model("adder", seed),
        )
    if case in ("distilled", "attached"):
        config = replace(config, batch_size=14)
        distillation = Distillation(0.5, detach=case == "distilled")
        method = AugmentedTraining(batch_norm_images=16, distillation=distillation)
        model = augment_samples.model("conv", seed)
    if case == "stopped" and seed:
        method = Stopping()
    return model, train(model, *sets(), config, method=method, checkpoint=folder, progress=False)


class Stopping(Method):
    """A signal comes to this process before the second epoch."""

    def begin_epoch(self, run: Any) -> None:
        if run.epoch == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


def join(store: Path, rank: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2,
        timeout=timedelta(seconds=120),
    )  # fmt: skip


def second(store: Path, case: str, folder: Path) -> subprocess.Popen[bytes]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    return subprocess.Popen(
        [sys.executable, __file__, str(store), case, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )


if __name__ == "__main__":
    join(Path(sys.argv[1]), 1)
    assert (parallel.rank(), parallel.count()) == (1, 2)
    with suppress(SaaLiteError):
        parallel.start_together(plain(0), updates=8)
    for case in sys.argv[2].split():
        with suppress(Stopped):
            run(case, Path(sys.argv[3]) / case, accumulate=1, seed=9)  # the first gives its weights
    dist.destroy_process_group()
