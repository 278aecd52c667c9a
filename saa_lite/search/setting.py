"""What a search is about: a data set, a space of networks for it, and a SuperNet trained on it.

Images are dealt three ways. The SuperNet learns from one part of the training split and candidates
are judged by the rest of it; the test split is left for the networks that come out.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from saa_lite.augment import AugmentedNet
from saa_lite.data import ImageSet, load_dataset
from saa_lite.errors import UsageError
from saa_lite.locks import LEASE, Lease
from saa_lite.search.space import Space
from saa_lite.search.supernet import InheritedAccuracy, SuperNetTraining, make_supernet
from saa_lite.train import TrainConfig, train

FOLDER = "supernet"


@dataclass(frozen=True)
class Setting:
    """Data, space and the SuperNet's training.

    Attributes:
        dataset, image_size: as :func:`saa_lite.data.load_dataset` takes them.
        train_images, validation_images: disjoint parts of the training split.
        stem, widths, strides, multiples, depths, kernels, expansions, operators: of the space.
        epochs, batch_size, lr, weight_decay, crop_padding, flip: of the SuperNet's training.
        batch_norm_images: that measure a candidate's statistics.
        supernet_seed: of the SuperNet's weights and of its training.
    """

    dataset: str
    image_size: int
    train_images: int
    validation_images: int
    stem: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    epochs: int
    multiples: tuple[float, ...] = (1.0, 1.5, 2.0)
    depths: tuple[int, ...] = (1, 2, 3)
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 4, 6)
    operators: tuple[str, ...] = ("shift",)
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-5
    crop_padding: int = 2
    flip: bool = True
    batch_norm_images: int = 1000
    supernet_seed: int = 0

    def space(self, images: ImageSet) -> Space:
        """The space of networks for such images."""
        return Space(
            self.image_size, images.in_channels, images.num_classes, self.stem, self.widths,
            self.strides, self.multiples, self.depths, self.kernels, self.expansions,
            self.operators,
        )  # fmt: skip

    def training(self) -> TrainConfig:
        """How the SuperNet is trained."""
        names = ("epochs", "batch_size", "lr", "weight_decay", "crop_padding", "flip")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        return TrainConfig(
            **options,
            seed=self.supernet_seed,
            warmup_epochs=min(1.0, self.epochs / 10),
            decay_norms=False,
            test_every=self.epochs,
        )

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON by field name."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


CIFAR10 = Setting(
    "cifar10", 16, 45_000, 5000, stem=8, widths=(8, 12, 16, 24), strides=(1, 2, 1, 2), epochs=22,
    expansions=(2, 3, 4), kernels=(3, 5), batch_norm_images=2000,
)  # fmt: skip
SETTINGS = {
    "tiny": Setting(
        "digits", 8, 100, 50, stem=4, widths=(4,), strides=(2,), epochs=1, multiples=(1.0, 2.0),
        depths=(1, 2), kernels=(3, 5), expansions=(2, 3), batch_size=50, crop_padding=1,
        flip=False, batch_norm_images=50,
    ),
    "digits": Setting(
        "digits", 8, 1000, 297, stem=4, widths=(4, 8), strides=(1, 2), epochs=12,
        multiples=(1.0, 1.5, 2.0), depths=(1, 2), kernels=(3, 5), expansions=(2, 3, 4),
        batch_size=100, crop_padding=1, flip=False, batch_norm_images=500,
    ),
    "cifar10": CIFAR10,
    "cifar10-small": replace(
        CIFAR10, train_images=10_000, validation_images=2000, epochs=30, batch_norm_images=1000
    ),
}  # fmt: skip
"""By name: one that shows that the code works, one of a minute, one for records, a smaller one."""


def image_sets(
    setting: Setting, root: Path | None = None, download: bool = False
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images."""
    whole, tested = (
        load_dataset(setting.dataset, split, root=root, download=download, size=setting.image_size)
        for split in ("train", "test")
    )
    asked = setting.train_images + setting.validation_images
    if asked > len(whole):
        raise UsageError(
            f"train_images and validation_images must be at most {len(whole):,} together; got "
            f"{asked:,}"
        )
    shuffled = whole.subset(len(whole))
    held = shuffled.part(setting.train_images, asked)
    return shuffled.part(0, setting.train_images), replace(held, split="validation"), tested


def trained_supernet(
    setting: Setting,
    sets: tuple[ImageSet, ImageSet, ImageSet],
    folder: Path,
    *,
    progress: bool = True,
) -> AugmentedNet:
    """The SuperNet of a setting, trained in ``folder/supernet`` or taken from there.

    Of several processes that ask at once one trains, and the others wait for it.
    """
    model = make_supernet(setting.space(sets[0]), setting.supernet_seed)
    lease = Lease(folder / f"{FOLDER}{LEASE}")
    lease.take(wait=True)
    try:
        train(
            model,
            *sets[:2],
            setting.training(),
            method=SuperNetTraining(setting.batch_norm_images),
            checkpoint=folder / FOLDER,
            progress=progress,
        )
    finally:
        lease.leave()
    return model


def inherited_accuracy(
    setting: Setting, sets: tuple[ImageSet, ImageSet, ImageSet], model: AugmentedNet
) -> InheritedAccuracy:
    """Accuracy of candidates on the validation images."""
    return InheritedAccuracy(
        setting.space(sets[0]),
        model,
        *sets[:2],
        batch_norm_images=setting.batch_norm_images,
    )
