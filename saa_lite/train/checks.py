"""What is checked before the first step, so that a wrong combination says so in one sentence."""

import math

import torch
from torch import nn

from saa_lite.data import Batches, ImageSet
from saa_lite.data.image_set import check_image_set
from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.nn.plumbing import OperatorConv2d
from saa_lite.ops.convolution import overruns
from saa_lite.train.config import TrainConfig
from saa_lite.train.evaluate import evaluation_mode
from saa_lite.train.task import Task


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
