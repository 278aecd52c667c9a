"""Trained networks for every item that quantises them: the package's own, or trained here once.

With the setting ``weights`` it is the one network that ``create_model(…, weights=…)`` returns. Else
a network is told apart by operator, model, data set, recipe and seed. It is looked for among the
tracked ones (``data/measured/adder-quant/networks``), then trained, or its training resumed, in
``data/runs/adder-quant/networks``. Tracked weights are stored in float16, biases and norms as they
were; what items call full precision is the network as loaded.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from saa_lite.container import read_container
from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.errors import CheckpointError
from saa_lite.files import measured_dir
from saa_lite.items.base import Context, dataset_label
from saa_lite.items.training import configured, load_splits
from saa_lite.locks import LEASE, Lease
from saa_lite.models import create_model, list_weights, weights_info
from saa_lite.quantize import to_integer
from saa_lite.quantize.adder_layers import QuantizedAdder
from saa_lite.records import config_hash, pack_hits, run_folder
from saa_lite.train import TrainConfig, evaluation_mode, train
from saa_lite.train.checkpoint import first_difference, layers_of

PLACE = "adder-quant/networks"
KINDS = {"CNN": "conv", "BNN": "binary", "AddNN": "adder"}  # Table 1's names


RECIPE = (
    "epochs", "crop_padding", "flip", "nesterov", "optimizer", "lr", "warmup_epochs"
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """How the networks of an item are trained; the settings of such items begin with these.

    Attributes:
        size: height and width of the images; 8² digits lose nothing at 16².
        flip: mirror images in training; False for digits, whose mirror image is another sign.
        calibration_batches: so many batches of ``batch_size`` are read before quantising, the
            same for every method: the first of the training set, in its own order as in the
            released code, without augmentation.
        weights: of :func:`~saa_lite.models.create_model`. Nothing is trained then: there is one
            network of each operator, and a seed is that of what a method draws.
    """

    dataset: str
    model: str
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    size: int = 32
    batch_size: int = 128
    crop_padding: int = 4
    flip: bool = True
    nesterov: bool = True
    optimizer: str = "sgd"
    lr: float = 0.1
    warmup_epochs: float = 0.0
    calibration_batches: int = 10
    weights: str = ""

    OUTSIDE: ClassVar[tuple[str, ...]] = ("dataset", "model", "seeds")

    def shared(self) -> dict[str, object]:
        """What a record's configuration says: every field that methods and seeds share.

        Of a network that comes trained, its name says how it was.
        """
        outside = (*self.OUTSIDE, *(RECIPE if self.weights else ("weights",)))
        return {name: value for name, value in asdict(self).items() if name not in outside}

    def epochs_of(self, kind: str) -> int:
        """Epochs that the network of an operator was trained for."""
        if not self.weights:
            return self.epochs
        return int(weights_info(self.model, kind, weights=self.weights).training["epochs"])

    def comes_trained(self, kind: str) -> bool:
        """Whether the package has the network of this operator."""
        return (self.model, kind, self.weights) in list_weights()

    def recipe(self) -> dict[str, object]:
        """The part that the trained network depends on."""
        names = {field.name for field in fields(Training)}
        names -= {"test_images", "calibration_batches"}
        return {name: value for name, value in self.shared().items() if name in names}

    def config(self, seed: int) -> TrainConfig:
        """Otherwise the default recipe, which is that of the recorded loss curves."""
        return configured(TrainConfig, self, seed=seed)


@dataclass(frozen=True)
class Network:
    """A trained network in evaluation mode, with the images it was trained and is tested on."""

    model: nn.Module
    train_set: ImageSet
    test_set: ImageSet
    device: str

    @torch.no_grad()
    def logits(self, model: nn.Module | None = None) -> Tensor:
        """float64 [N, classes] on the test images, of the network or of a quantised copy of it.

        Adder layers on a shared scale sum integers here, which give the same bits sooner.
        """
        chosen = self.model if model is None else model
        if any(isinstance(layer, QuantizedAdder) for layer in chosen.modules()):
            chosen = to_integer(chosen)
        mean, std = normalization(self.train_set)
        batches = Batches(self.test_set, 250, mean=mean, std=std, device=self.device)
        with evaluation_mode(chosen):
            found = [chosen(images) for _, images, _ in batches.epoch(0)]
        return torch.cat(found).double().cpu()

    def accuracy(self, logits: Tensor) -> float:
        """Right answers in % of the test images."""
        return 100 * (logits.argmax(1) == self.test_set.labels).double().mean().item()

    def hits(self, logits: Tensor) -> str:
        """Which test images are right, as records keep it."""
        return pack_hits((logits.argmax(1) == self.test_set.labels).tolist())

    def calibration(self, settings: Training) -> list[Tensor]:
        """Normalised calibration batches [B, C, H, W], none smaller than the others."""
        batches = Batches(
            self.train_set, settings.batch_size, device=self.device, drop_last=True
        ).epoch(0)
        count = range(settings.calibration_batches)
        return [images for _, (_, images, _) in zip(count, batches, strict=False)]


SHIPPED: dict[str, Any] = {
    "dataset": "cifar10", "model": "resnet20", "weights": "cifar10",
    "train_images": 50_000, "test_images": 10_000, "epochs": 0, "seeds": 1,
    "batch_size": 128, "calibration_batches": 8,
}  # fmt: skip
"""Settings of the profile ``shipped``: 1,024 calibration images, every test image."""


def logit_error(logits: Tensor, exact: Tensor) -> float:
    """‖logits − exact‖² / ‖exact‖² in %; unlike accuracy it does not saturate near 100 %."""
    return 100 * ((logits - exact).square().sum() / exact.square().sum()).item()


def trained_network(settings: Training, context: Context, kind: str, seed: int) -> Network:
    """The network of one operator (``"conv"``, ``"binary"``, ``"adder"``, …) and seed."""
    train_set, test_set = load_splits(
        context, settings.dataset, settings.train_images, settings.test_images, settings.size
    )
    if settings.weights:
        shipped = create_model(settings.model, conv=kind, weights=settings.weights)
        return Network(shipped.to(context.device), train_set, test_set, context.device)
    torch.manual_seed(seed)
    model = create_model(
        settings.model, train_set.num_classes, kind, in_channels=train_set.in_channels
    )
    name = network_name(settings, kind, seed)
    if tracked_path(name).is_file():
        _load(model.to(context.device), tracked_path(name))
    else:
        folder = training_folder(name, settings.test_images)
        _train(model, train_set, test_set, settings.config(seed), context, folder)
    return Network(model.eval(), train_set, test_set, context.device)


def _train(
    model: nn.Module,
    train_set: ImageSet,
    test_set: ImageSet,
    config: TrainConfig,
    context: Context,
    folder: Path,
) -> None:
    """A finished training is only loaded; two items never train the same network side by side."""
    lease = Lease(folder.with_name(folder.name + LEASE))
    lease.take(wait=True)
    try:
        train(
            model,
            train_set,
            test_set,
            config,
            device=context.device,
            checkpoint=folder,
            progress=context.progress,
        )
    finally:
        lease.leave()


def network_name(settings: Training, kind: str, seed: int) -> str:
    """``adder-resnet20-cifar100-0123456789ab-0``: the number is the recipe's hash."""
    dataset = dataset_label(settings.dataset).replace(":", "_")
    return f"{kind}-{settings.model}-{dataset}-{config_hash(settings.recipe())[:12]}-{seed}"


def training_folder(name: str, test_images: int) -> Path:
    """Where a network's training keeps its checkpoints (ignored), tested on so many images."""
    return run_folder(PLACE) / f"{name}-tested-on-{test_images}"


def tracked_path(name: str) -> Path:
    """Where a network is tracked."""
    return measured_dir() / PLACE / f"{name}.safetensors"


def tracked_network(kind: str, model: str, dataset: str, seed: int = 0) -> nn.Module:
    """The tracked one of this description, in evaluation mode; needs no images.

    Raises:
        CheckpointError: none or several are of this description, or the file is damaged.
    """
    name = f"{kind}-{model}-{dataset}-*-{seed}"
    found = sorted(tracked_path(name).parent.glob(tracked_path(name).name))
    if len(found) != 1:
        raise CheckpointError(f"{len(found)} tracked networks are called {name}: one is needed")
    _, document = read_container(found[0])
    network = create_model(*document["create_model"])
    _load(network, found[0])
    return network.eval()


def _load(model: nn.Module, path: Path) -> None:
    """Restore a tracked network in place.

    Raises:
        CheckpointError: the file is damaged, or of another network.
    """
    tensors, document = read_container(path)
    if difference := first_difference(layers_of(model), document["layers"]):
        name, here, there = difference
        raise CheckpointError(
            f"{path} is of another model: {name} is {there} there and {here} here"
        )
    model.load_state_dict(tensors)
