"""Hyper-parameters that experiments share, and one network trained by them.

Budget and recipe of a target's training come with what of them tells two trainings apart. Below is
what every item that trains does: load both splits, start a seeded model, train it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from inspect import signature
from itertools import dropwhile
from typing import Any, TypeVar

import torch
from torch import nn

from saa_lite.augment.config import EXPAND, WIDTH
from saa_lite.data import Batches, ImageSet, load_dataset
from saa_lite.items.base import Context, Unit
from saa_lite.models import create_model
from saa_lite.train import TrainConfig, train
from saa_lite.train.config import without_defaults

Made = TypeVar("Made")
OUTSIDE = {"dataset", "network", "seeds", "methods"}
"""Settings that say which trainings there are, not what one of them is."""


@dataclass(frozen=True)
class Settings:
    """Budget and recipe; all but :data:`OUTSIDE` is in the hash.

    ``methods`` names those to train; empty, all of the item.

    The defaults are NetAug's official code where it says something: label smoothing, Nesterov,
    multiples, α = 1, sorting and drawn widths in the first half. Rate and decay are what the
    ShiftAddAug authors are said to use. (``AugmentedTraining()`` and ``TrainConfig()`` by
    themselves have the plainest defaults: no order of channels, widths drawn to the end, AdderNet's
    rate. Records and checkpoints hold the values of both, so neither can follow the other.)

    Attributes:
        net_width: of the target, where ``create_model`` lets one choose it.
        fan, sort_every: see :class:`AugmentConfig` and :class:`AugmentedTraining`.
        validation_images: so many images of the training split are kept from training. Settings
            are chosen by them: where ``test_images`` is 0, they are tested.
        rates: pairs of a method and its learning rate, where ``lr`` is not everyone's.
        protocol: what was fixed before the first run, see :mod:`saa_lite.protocols`.
        eta: of all adder layers of the target, whatever they start from: root mean square of the
            gradient that moves an adder weight. 0.2 is AdderNet's, for weights of N(0, 1).
        mixup, smallest_crop: see :class:`saa_lite.train.TrainConfig`; of every pass of a step.
        task: ``"segmentation"`` makes ``network`` the encoder of a segmenter, with an output stride
            of 8 at most; an ``image_size`` of 0 then leaves images as they are.
    """

    dataset: str
    network: str
    image_size: int
    small_input: bool
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    warmup_epochs: float = 0.5
    crop_padding: int = 4
    flip: bool = True
    width: tuple[float, ...] = WIDTH
    expand: tuple[float, ...] = EXPAND
    alpha: float = 1.0
    width_epochs: float = 0.5
    sort: bool = True
    batch_norm_images: int = 16_000
    methods: tuple[str, ...] = ()
    net_width: int = 16
    fan: str = "own"
    sort_every: int = 0
    decay_norms: bool = True
    channels_last: bool = True
    test_every: int = 1
    validation_images: int = 0
    rates: tuple[tuple[str, float], ...] = ()
    protocol: str = ""
    eta: float = 0.2
    mixup: float = 0.0
    smallest_crop: float = 1.0
    task: str = "classification"


FIRST_LATER = "net_width"
LATER = {
    f.name: f.default for f in dropwhile(lambda field: field.name != FIRST_LATER, fields(Settings))
}
"""Settings that came later. At their defaults they stay out of the hash, as they did before."""


def recipe_settings(settings: Settings) -> dict[str, Any]:
    """What the methods of a seed share, as the plain JSON that is hashed."""
    shared = {f.name for f in fields(Settings)} - OUTSIDE  # not what an item's own settings add
    recipe = {k: v for k, v in asdict(settings).items() if k in shared}
    recipe = without_defaults(recipe, LATER)
    return (
        recipe
        | {name: list(recipe[name]) for name in ("width", "expand")}
        | ({"rates": dict(settings.rates)} if settings.rates else {})
    )


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


def configured(kind: Callable[..., Made], settings: Any, **others: Any) -> Made:
    """What ``settings`` say of a configuration, by the names of its arguments, and ``others``.

    So a field that both have, such as the learning rate, is written down in no third place.

    Args:
        kind: a class such as :class:`saa_lite.train.TrainConfig`.
    """
    names = [name for name in signature(kind).parameters if hasattr(settings, name)]
    return kind(**{name: getattr(settings, name) for name in names} | others)


def digits_config(unit: Unit, settings: Any, **others: Any) -> TrainConfig:
    """The settings' recipe without mirroring: a mirrored digit is another sign."""
    return configured(TrainConfig, settings, seed=unit.seed, flip=False, **others)


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
