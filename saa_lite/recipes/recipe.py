"""One training, written down so that anybody can repeat it."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saa_lite.data import ImageSet, load_dataset
from saa_lite.errors import SaaLiteError, UsageError, check_choice
from saa_lite.files import PACKAGE
from saa_lite.models import create_model, create_segmenter
from saa_lite.nn.plumbing import set_options
from saa_lite.train import TrainConfig
from saa_lite.train.config import without_defaults
from saa_lite.train.task import TASKS, Task

SMALL = 64  # height up to which a network keeps its resolution: CIFAR's 32, not ImageNet's 224
KINDS = {
    str: ("a text", ("model", "conv", "dataset", "weights", "task")),
    int: ("an integer", ("size", "train_images", "output_stride")),
    dict: ("a table", ("options",)),
}
LATER = {"task": "classification", "output_stride": None}
OUTSIDE = ("name", "config")  # fields that are no keys of the file
TRAINING = "training"  # the table of the file with fields of TrainConfig


@dataclass(frozen=True)
class Recipe:
    """What is trained on what, and how.

    Attributes:
        name: of its file; empty where it comes from the command line.
        model, conv: of :func:`~saa_lite.models.create_model`.
        dataset, size, train_images: of :func:`~saa_lite.data.load_dataset`, the last as its
            ``count`` of the training split; all test images are tested.
        config: the hyper-parameters. Its seed is also that of the initial weights.
        options: options of layers that ``create_model`` has no argument for, such as the ``eta``
            of adder layers.
        weights: trained weights that the training begins with, instead of fresh ones.
        task: ``"classification"``, or ``"segmentation"`` of images with masks, for which ``model``
            is the encoder of :func:`~saa_lite.models.create_segmenter`.
        output_stride: of that encoder, 8 unless given.

    Raises:
        UsageError: a value of another kind.
    """

    model: str
    conv: str
    dataset: str
    config: TrainConfig
    name: str = ""
    size: int | None = None
    train_images: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    task: str = "classification"
    output_stride: int | None = None

    def __post_init__(self) -> None:
        for kind, (said, names) in KINDS.items():
            for name in names:
                value = getattr(self, name)
                if value is not None and type(value) is not kind:
                    raise UsageError(f"{name} must be {said}; got {value!r}")
        check_choice("task", self.task, tuple(TASKS))
        if self.output_stride is not None and self.task != "segmentation":
            raise UsageError("output_stride is for task='segmentation'")

    @property
    def learned(self) -> Task:
        """The task as the loop knows it."""
        return TASKS[self.task]

    def load(
        self, split: str, *, root: Path | str | None = None, download: bool = False
    ) -> ImageSet:
        """The images of one split, ``"train"`` or ``"test"``."""
        count = self.train_images if split == "train" else None
        return load_dataset(
            self.dataset, split, root=root, download=download, size=self.size, count=count
        )

    def network(self, train_set: ImageSet) -> nn.Module:
        """The network before its first step.

        Raises:
            UsageError: unknown names, or weights or options that it cannot have.
        """
        classes = len(self.learned.names(train_set))
        return self.network_for(classes, tuple(train_set.images.shape[1:]))

    def network_for(self, classes: int, image_shape: tuple[int, ...]) -> nn.Module:
        """The same for so many classes and images [C,H,W]."""
        torch.manual_seed(self.config.seed)
        options: dict[str, Any] = {
            "small_input": image_shape[1] <= SMALL,
            "in_channels": image_shape[0],
            "weights": self.weights,
        }
        network: nn.Module
        if self.task == "segmentation":
            stride = 8 if self.output_stride is None else self.output_stride
            network = create_segmenter(
                self.model, classes, self.conv, output_stride=stride, **options
            )
        else:
            network = create_model(self.model, classes, self.conv, **options)
        set_options(network, self.options)
        return network

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON values of all that decides the result, by name."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in OUTSIDE}
        return without_defaults(own, LATER) | self.config.as_settings()

    @classmethod
    def from_settings(cls, values: Mapping[str, Any]) -> "Recipe":
        """The recipe that gave these settings."""
        training = {f.name for f in fields(TrainConfig)}
        config = TrainConfig(**{k: v for k, v in values.items() if k in training})
        return cls(config=config, **{k: v for k, v in values.items() if k not in training})


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """A recipe of the package by its name, or one of your own by the path of its TOML file.

    Raises:
        UsageError: there is none, or it says something that no recipe says, in one sentence.
    """
    path = Path(name)
    if path.suffix != ".toml":
        check_choice("recipe (a name, or the path of a .toml file)", name, list_recipes())
        path = _folder() / f"{name}.toml"
    try:
        return parse(name, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (SaaLiteError, ValueError, TypeError) as error:
        raise UsageError(f"recipe {path}: {error}") from error


def parse(name: str, text: str) -> Recipe:
    """A recipe from the text of its file.

    Raises:
        ValueError: it is no TOML; a field is unknown, missing or outside its range.
    """
    values = tomllib.loads(text)
    training = values.pop(TRAINING, {})
    _check_fields("", values, Recipe)
    _check_fields(f"{TRAINING}.", training, TrainConfig)
    return Recipe(name=name, config=TrainConfig(**training), **values)


def _check_fields(prefix: str, given: Mapping[str, Any], kind: Any) -> None:
    """Every name is a field, and what has no default is there."""
    known = {f.name: f for f in fields(kind) if f.name not in OUTSIDE}
    for name in given:
        if name not in known:
            raise ValueError(f"{prefix}{name} is unknown; known are {', '.join(known)}")
    for name, one in known.items():
        if one.default is MISSING and one.default_factory is MISSING and name not in given:
            raise ValueError(f"{prefix}{name} is missing")


def _folder() -> Path:
    return PACKAGE / "recipes"
