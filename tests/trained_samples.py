"""Small trained-like networks to write and read, described as the shipped ones are."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saa_lite.models import WeightsInfo, create_model
from saa_lite.models.trained import files, stored, write_trained
from saa_lite.train import TrainConfig

INFO = WeightsInfo(
    model="resnet8",
    conv="adder",
    weights="toys",
    num_classes=7,
    in_channels=1,
    width=4,
    class_names=tuple("abcdefg"),
    image_size=16,
    mean=(0.25,),
    std=(0.5,),
    train_images=100,
    test_images=40,
    correct=30,
    test_loss=0.7,
    options={"eta": 0.6},
    training=asdict(TrainConfig(epochs=2, seed=3)),
    history=({"epoch": 1, "test_accuracy": 0.5}, {"epoch": 2, "test_accuracy": 0.75}),
    probe=((0.0,) * 7,),
    provenance={"commit": "unknown"},
)


def trained_like(info: WeightsInfo = INFO, seed: int = 0) -> nn.Module:
    """A network of that description whose norms have seen images; in evaluation mode."""
    torch.manual_seed(seed)
    net = create_model(
        info.model, info.num_classes, info.conv, in_channels=info.in_channels, width=info.width
    )
    with torch.no_grad():
        net(torch.randn(16, info.in_channels, info.image_size, info.image_size))
    return net.eval()


def use_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``folder`` be where trained networks lie; there is none yet."""
    (folder / files.INDEX).write_text("[]")
    monkeypatch.setattr(files, "FOLDER", folder)


def publish(**changes: Any) -> nn.Module:
    """Write a network; return it as it was before."""
    info = replace(INFO, **changes)
    net = trained_like(info)
    write_trained(info, stored(net))
    return net
