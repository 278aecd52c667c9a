"""What every item that trains networks does: load both splits, start a seeded model, train it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from saa_lite.data import Batches, ImageSet, load_dataset
from saa_lite.items.base import Context, Unit
from saa_lite.models import create_model
from saa_lite.train import TrainConfig, train


def paired_units(
    context: Context, settings: Any, model: str, methods: Sequence[str], together: str = ""
) -> Iterator[Unit]:
    """One unit per seed and method, seed by seed, so that an unfinished campaign is balanced.

    Args:
        settings: a dataclass with ``dataset``, ``seeds`` and ``epochs``; all of its fields but the
            first two are part of the configuration.
        together: see :meth:`saa_lite.items.base.Context.unit`.
    """
    recipe = {k: v for k, v in asdict(settings).items() if k not in ("dataset", "seeds")}
    for seed in range(settings.seeds):
        for method in methods:
            yield context.unit(
                method=method,
                model=model,
                dataset=settings.dataset,
                seed=seed,
                epochs=settings.epochs,
                settings=recipe,
                together=together,
            )


def load_splits(
    context: Context,
    dataset: str,
    train_images: int | None,
    test_images: int | None,
    size: int | None = None,
) -> tuple[ImageSet, ImageSet]:
    """Class-balanced subsets of both splits, None for all images; ``size`` as the set's own."""
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


def full_batches(unit: Unit, train_set: ImageSet, batch_size: int) -> Batches:
    """Shuffled training batches without augmentation, none smaller than ``batch_size``."""
    return Batches(
        train_set,
        batch_size,
        shuffle=True,
        seed=unit.seed,
        device=unit.context.device,
        drop_last=True,
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
