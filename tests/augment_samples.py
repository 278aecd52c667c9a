"""Small augmented models and runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from train_samples import make_set

from saa_lite.augment import AugmentConfig, AugmentedNet, AugmentedTraining, augment
from saa_lite.models import create_model
from saa_lite.models.resnet import CifarResNet
from saa_lite.train import TrainConfig
from saa_lite.train import train as fit
from saa_lite.train.run import Run

TARGETS = ("resnet20", "mobilenet_v2_w035", "mcunet")
KINDS = ("conv", "shift", "adder")
READINGS = ("block", "output", "input", "free")
CONFIG = TrainConfig(epochs=2, batch_size=16, lr=0.02, crop_padding=1, warmup_epochs=0.5)


def target(name: str, kind: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name, 4, kind, small_input=True)


def small_target(kind: str = "shift", seed: int = 0) -> nn.Module:
    """One block a stage of the ResNet for small images."""
    torch.manual_seed(seed)
    return CifarResNet(1, 4, kind, 3)


def model(kind: str = "shift", seed: int = 0, **options: Any) -> AugmentedNet:
    plain = small_target(kind, seed)
    options = {"width": (1.0, 1.5), "expand": (1.0, 1.5)} | options
    return augment(plain, AugmentConfig(**options))


def begun(
    net: AugmentedNet, training: AugmentedTraining, **changes: Any
) -> tuple[Run, AugmentedTraining]:
    """A run of ``CONFIG``, changed, at the beginning of its first epoch; and its method."""
    sets = make_set("train"), make_set("test", 1)
    config = replace(CONFIG, **changes)
    run = Run(net, *sets, config, method=training, device="cpu", folder=None)
    training.begin_epoch(run)
    net.train()
    return run, training


def images(count: int = 8, size: int = 8) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def warm_up(net: AugmentedNet, steps: int = 2) -> None:
    """Give every norm statistics of its own."""
    net.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(steps):
            net(images())
            with net.configured(net.largest):
                net(images())
            with net.configured(net.draw(generator)):
                net(images())
    net.eval()


def train(
    net: nn.Module,
    method: AugmentedTraining | None = None,
    config: TrainConfig = CONFIG,
    folder: Path | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    sets = make_set("train"), make_set("test", 1)
    options = {"progress": False, "checkpoint": folder} | options
    return fit(net, *sets, config, method=method, **options)
