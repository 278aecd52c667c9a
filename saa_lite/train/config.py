"""The hyper-parameters of a training run, and what is checked before its first step."""

import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from saa_lite.data import Augment, Batches, ImageSet, normalization
from saa_lite.data.batches import Targets
from saa_lite.data.image_set import check_image_set
from saa_lite.errors import SaaLiteError, UsageError, check_choice
from saa_lite.nn.plumbing import OperatorConv2d
from saa_lite.ops.convolution import overruns
from saa_lite.train.evaluate import evaluation_mode
from saa_lite.train.task import CLASSIFICATION, Task

OPTIMIZERS = ("sgd", "radam")
LATER: dict[str, Any] = {
    "decay_norms": True, "test_every": 1, "mixup": 0.0, "smallest_crop": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of :func:`saa_lite.train.train` beside model and data.

    Attributes:
        epochs: passes over the training set.
        batch_size: images per optimiser step (at least 2), whatever ``accumulate`` is.
        lr: highest learning rate, reached after warm-up and lowered to 0 along a cosine.
        momentum, nesterov: of SGD; RAdam has its own defaults and ignores them.
        weight_decay: on all parameters as in AdderNet's official code, except ``shift`` and
            ``sign`` of DeepShift-PS layers (ShiftAddNet, official code).
        decay_norms: whether norms and biases decay, too; not so in NetAug's official code.
        warmup_epochs: epochs of linear warm-up; may be a fraction.
        label_smoothing: share of the target given to all classes alike; only in training.
        accumulate: number of micro-batches that a batch is cut into. Costs time, saves memory;
            order, augmentation, steps and learning rate stay the same. Batch norm sees the
            micro-batches, so networks with it train slightly differently.
        amp: mixed precision: float16 with loss scaling on CUDA, bfloat16 on the CPU.
        seed: order, augmentation and dropout; not the initial weights, which come with the model.
        crop_padding, flip: augmentation, see :class:`saa_lite.data.Augment`.
        eval_batch_size: images per batch of the evaluation after each epoch.
        channels_last: memory format of weights and images; faster on most hardware. On a CPU a
            network with a strided 1 × 1 ``nn.Conv2d`` of fewer than 16 channels stays contiguous:
            oneDNN's gradient of it, in this format, writes where it must not. Where a network
            calls ``F.conv2d`` so by itself, say False.
        optimizer: ``"sgd"``, or ``"radam"`` as DeepShift's authors ask for PS (their README).
        test_every: epochs between tests; the last epoch is always tested. Epochs without a test
            have neither ``test_loss`` nor ``test_accuracy`` in the history.
        mixup: α of mixup from 0 to 1, see :mod:`saa_lite.train.task`; 0 mixes nothing.
        smallest_crop: smallest share of the area of a random box that is scaled up to the image's
            size, in place of the padded crop; 1 scales nothing.

    Raises:
        UsageError: a value outside its range, in one sentence.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    warmup_epochs: float = 0
    label_smoothing: float = 0.0
    accumulate: int = 1
    amp: bool = False
    seed: int = 0
    crop_padding: int = 4
    flip: bool = True
    eval_batch_size: int = 500
    channels_last: bool = True
    optimizer: str = "sgd"
    decay_norms: bool = True
    test_every: int = 1
    mixup: float = 0.0
    smallest_crop: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "eval_batch_size", "test_every"):
            self._check_integer(name, 1)
        self._check_integer("batch_size", 2)  # batch norm cannot normalise a single image
        for name in ("seed", "crop_padding"):
            self._check_integer(name, 0)
        for name in ("nesterov", "amp", "flip", "channels_last", "decay_norms"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be True or False; got {getattr(self, name)!r}")
        self._check_number("lr", "above 0", lambda x: x > 0)
        self._check_number("weight_decay", "of at least 0", lambda x: x >= 0)
        share = "of at least 0 and below 1"
        self._check_number("momentum", share, lambda x: 0 <= x < 1)
        self._check_number("label_smoothing", share, lambda x: 0 <= x < 1)
        below = f"of at least 0 and below epochs={self.epochs}"
        self._check_number("warmup_epochs", below, lambda x: 0 <= x < self.epochs)
        self._check_number("mixup", "from 0 to 1", lambda x: 0 <= x <= 1)
        self._check_number("smallest_crop", "above 0 and at most 1", lambda x: 0 < x <= 1)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.accumulate > self.batch_size // 2:
            raise UsageError(
                "accumulate must leave two images for each micro-batch of a batch of "
                f"{self.batch_size}; got {self.accumulate}"
            )
        if self.nesterov and self.momentum == 0 and self.optimizer == "sgd":
            raise UsageError("nesterov=True needs a momentum above 0; got momentum=0")

    def _check_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{name} must be an integer of at least {least}; got {value!r}")

    def _check_number(self, name: str, allowed: str, fits: Any) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not fits(value):
            raise UsageError(f"{name} must be a finite number {allowed}; got {value!r}")

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON values by field name: what a record and a checkpoint keep.

        What was added later is left out at its default, so that older runs keep their identity.
        """
        return without_defaults(asdict(self), LATER)


def without_defaults(values: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without those entries that equal ``defaults``."""
    return {k: v for k, v in values.items() if k not in defaults or v != defaults[k]}


class DivergenceError(SaaLiteError):
    """The training loss is no longer a finite number.

    Attributes:
        epoch: in which that happened, counted from 0.
    """

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


def resolve_device(device: torch.device | str) -> torch.device:
    """The device by name.

    Raises:
        UsageError: torch knows no such device, or this machine has none.
    """
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {str(device)!r} cannot be used: {reason}") from error
    return resolved


def check_training(
    model: nn.Module, train_set: ImageSet, test_set: ImageSet, config: TrainConfig, task: Task
) -> None:
    """Two sets of one kind, at least two images, and a network that mixed precision can train."""
    if not isinstance(task, Task):
        raise UsageError(f"task must be CLASSIFICATION or SEGMENTATION; got {task!r}")
    check_image_set("train_set", train_set)
    check_image_set("test_set", test_set)
    facts = [
        {"in_channels": chosen.in_channels, task.counted: len(task.names(chosen))}
        for chosen in (train_set, test_set)
    ]
    for name, ours in facts[0].items():
        theirs = facts[1][name]
        if ours != theirs:
            raise UsageError(
                f"train_set and test_set must have the same {name}; got {ours} and {theirs}"
            )
    if len(train_set) < 2 or not len(test_set):
        raise UsageError(
            f"training needs at least 2 images and testing 1; got {len(train_set)} and "
            f"{len(test_set)}"
        )
    if config.mixup and task.targets == "masks":
        raise UsageError(f"mixup mixes labels, not masks; got mixup={config.mixup}")
    if config.amp and any(
        getattr(module, "adaptive_lr", None) == "backward" for module in model.modules()
    ):
        raise UsageError(
            "amp=True cannot be combined with adaptive_lr='backward': the loss scale is divided "
            "out of a gradient that no longer carries it; use adaptive_lr='step'"
        )


def check_fits(model: nn.Module, batches: Batches, num_classes: int, task: Task) -> None:
    """Send one image through the network: does it take this shape, and are there enough logits?"""
    _, images, _ = next(batches.epoch(0))
    shape = "×".join(str(size) for size in images.shape[1:])
    with torch.no_grad(), evaluation_mode(model):
        try:
            logits = model(images[:1])
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"the model does not take images of {shape}: {reason}") from error
    if logits.ndim < 2 or logits.shape[1] < num_classes or not task.fits(images, logits):
        raise UsageError(
            f"the model must give logits for {num_classes} classes{task.of_each}; its output is "
            f"{list(logits.shape)}"
        )


def survives_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether torch's own convolutions in the network can be trained in that memory format.

    On a CPU strided 1 × 1 convolutions of few channels may end the process or spoil numbers, see
    :mod:`saa_lite.ops.convolution`. The layers of this package keep clear of that by themselves.
    """
    if device.type != "cpu":
        return True
    for layer in model.modules():
        if isinstance(layer, OperatorConv2d):
            continue
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            read = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.out_channels
            if overruns(read, layer.kernel_size, layer.stride, layer.padding, layer.groups):
                return False
    return True


def check_finite(loss: float, epoch: int, config: TrainConfig) -> None:
    """Stop a run whose loss is NaN or infinite; a checkpoint never holds such a state."""
    if not math.isfinite(loss):
        raise DivergenceError(
            f"training diverged: the loss is {loss} in epoch {epoch} (lr {config.lr}); lower lr "
            "or warm up longer",
            epoch,
        )


def make_batches(
    train_set: ImageSet,
    config: TrainConfig,
    device: torch.device,
    channels_last: bool,
    targets: Targets = "labels",
) -> Batches:
    """Shuffled, augmented batches; a single image left over sits out the epoch.

    Batch norm over logits or pooled features cannot normalise one image.
    """
    mean, std = normalization(train_set)
    resized = (config.smallest_crop, 1.0) if config.smallest_crop < 1 else None
    return Batches(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        augment=Augment(config.crop_padding, config.flip, resized_crop=resized),
        mean=mean,
        std=std,
        device=device,
        drop_last=len(train_set) % config.batch_size == 1,
        channels_last=channels_last,
        targets=targets,
    )


def settings_of(
    config: TrainConfig, train_set: ImageSet, test_set: ImageSet, task: Task = CLASSIFICATION
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was saved."""
    settings = config.as_settings() | {
        f"{role}_set": f"{chosen.name} {chosen.split}, {len(chosen)} images, "
        f"CRC {checksum(chosen, task)}"
        for role, chosen in (("train", train_set), ("test", test_set))
    }
    # Classification came first: its checkpoints say nothing of a task.
    return settings if task is CLASSIFICATION else settings | {"task": task.name}


def checksum(image_set: ImageSet, task: Task = CLASSIFICATION) -> str:
    """CRC-32 of pixels and targets: the same name may stand for other images."""
    targets = image_set.masks if task.targets == "masks" else image_set.labels
    assert targets is not None
    pixels = zlib.crc32(image_set.images.contiguous().numpy().data)
    return f"{zlib.crc32(targets.contiguous().numpy().data, pixels):08x}"
