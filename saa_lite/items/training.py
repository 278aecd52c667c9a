"""What every item that trains networks does: load both splits, start a seeded model, train it."""

from typing import Any

import torch
from torch import nn

from saa_lite.data import ImageSet, load_dataset
from saa_lite.items.base import Context, Unit
from saa_lite.models import create_model
from saa_lite.train import TrainConfig, train


def load_splits(
    context: Context, dataset: str, train_images: int, test_images: int, size: int | None = None
) -> tuple[ImageSet, ImageSet]:
    """Class-balanced subsets of the training and the test split; ``size`` as the set's own."""
    counts = {"train": train_images, "test": test_images}
    train_set, test_set = (
        load_dataset(
            dataset, split, root=context.data_root, download=context.download, size=size,
            count=count,
        )
        for split, count in counts.items()
    )  # fmt: skip
    return train_set, test_set


def seeded_model(unit: Unit, train_set: ImageSet) -> nn.Module:
    """The unit's network, its weights drawn from the unit's seed."""
    torch.manual_seed(unit.seed)
    return create_model(
        unit.model, train_set.num_classes, unit.method, in_channels=train_set.in_channels
    )


def digits_config(unit: Unit, batch_size: int, crop_padding: int) -> TrainConfig:
    """The default recipe without mirroring: a mirrored digit is another sign."""
    return TrainConfig(
        epochs=unit.epochs,
        batch_size=batch_size,
        crop_padding=crop_padding,
        flip=False,
        seed=unit.seed,
    )


def train_unit(
    unit: Unit, model: nn.Module, train_set: ImageSet, test_set: ImageSet, config: TrainConfig
) -> list[dict[str, Any]]:
    """Train with the unit's checkpoint, on the device that was asked for; the history per epoch."""
    return train(
        model,
        train_set,
        test_set,
        config,
        device=unit.context.device,
        checkpoint=unit.checkpoint,
        progress=unit.context.progress,
    )
