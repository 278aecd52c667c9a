"""Loss, accuracy and what else a task measures on a set; running statistics taken anew.

:func:`reestimate_batch_norm` is needed whenever weights change after training: a sub-network cut
from a wide one (NetAug's official code does so before every evaluation), or quantised weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.data import Batches, ImageSet
from saa_lite.data.batches import image_batches
from saa_lite.errors import UsageError
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
    beside them, see :mod:`saa_lite.train.task`. Otherwise both are averages over images. So
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


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    """Replace running mean and variance by their plain average over ``batches``.

    A norm that no batch passes through (the unused part of a wide network) keeps what it had.
    Every batch counts the same (``momentum=None``, a cumulative average), so a small last batch
    counts too much: leave it out. While estimating, only batch norm is in training mode, dropout
    is off. Weights, modes and momenta are afterwards what they were.

    Args:
        batches: normalised images [B, C, H, W], or tuples that hold them, such as those of a
            ``DataLoader`` or of ``Batches.epoch``.

    Raises:
        TypeError: a batch holds no tensor.
        UsageError: ``batches`` is empty, or no series of batches, or a norm gets a single value per
            channel.
    """
    iterator = image_batches("batches", batches)
    first = next(iterator, None)
    if first is None:
        raise UsageError("batches must hold at least one batch to estimate statistics from")
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    before = [{k: v.clone() for k, v in norm.named_buffers()} for norm in norms]
    with evaluation_mode(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None
        try:
            for batch in chain([first], iterator):
                model(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UsageError(
                "a batch has one value per channel at a norm, of which there is no variance "
                f"({error}); give batches of two or more images"
            ) from error
        finally:
            for norm, momentum, buffers in zip(norms, momenta, before, strict=True):
                norm.momentum = momentum
                if not norm.num_batches_tracked:
                    norm.load_state_dict(buffers, strict=False)
