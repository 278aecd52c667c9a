"""Loss and accuracy of a network on a set, and what else a task measures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from saa_lite.data import Batches, ImageSet
from saa_lite.train.task import CLASSIFICATION, Answer, Task, losses_and_hits


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()`` inside; afterwards every module is back in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def evaluate(
    model: nn.Module,
    image_set: ImageSet,
    *,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels_last: bool = False,
    task: Task = CLASSIFICATION,
) -> dict[str, float]:
    """Mean cross-entropy and share of right answers, ``{"loss": …, "accuracy": 0..1}``.

    Of masks (``task=SEGMENTATION``) both are averages over labelled pixels, and ``"miou"`` stands
    beside them, see :mod:`saa_lite.train.confusion`. Otherwise both are averages over images. So
    ``batch_size`` does not matter. (AdderNet's official code divides a sum of batch means by the
    number of images: its printed test loss is about as many times too small as a batch has
    images.) Runs in full precision; ``mean`` and ``std`` are those the model was trained with, see
    :func:`saa_lite.data.normalization`.
    """
    batches = Batches(
        image_set, batch_size, mean=mean, std=std, device=device, channels_last=channels_last,
        targets=task.targets,
    )  # fmt: skip
    with evaluation_mode(model):
        return task.score(answers(model, batches), len(task.names(image_set)))


@torch.no_grad()
def per_image(
    model: nn.Module,
    image_set: ImageSet,
    *,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels_last: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy [N] and right or wrong, bool [N], image by image; see :func:`evaluate`."""
    batches = Batches(
        image_set, batch_size, mean=mean, std=std, device=device, channels_last=channels_last
    )
    with evaluation_mode(model):
        return losses_and_hits(answers(model, batches))


def answers(model: nn.Module, batches: Batches) -> Iterator[Answer]:
    """Logits of every batch of the set's own order, and what they should say."""
    for _, images, targets in batches.epoch(0):
        yield model(images), targets
