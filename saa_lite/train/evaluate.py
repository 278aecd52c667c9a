"""Loss and accuracy of a network on a set."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.data import Batches, ImageSet


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
) -> dict[str, float]:
    """Mean cross-entropy and share of right answers, ``{"loss": …, "accuracy": 0..1}``.

    Both are averages over images, so ``batch_size`` does not matter. (AdderNet's official code
    divides a sum of batch means by the number of images: its printed test loss is about as many
    times too small as a batch has images.) Runs in full precision; ``mean`` and ``std`` are those
    the model was trained with, see :func:`saa_lite.data.normalization`.
    """
    losses, hits = per_image(
        model, image_set, batch_size=batch_size, device=device, mean=mean, std=std,
        channels_last=channels_last,
    )  # fmt: skip
    # Losses are added up in float64, so that 10,000 of them lose nothing.
    return {"loss": losses.double().mean().item(), "accuracy": hits.double().mean().item()}


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
    losses, hits = [], []
    with evaluation_mode(model):
        for _, images, labels in batches.epoch(0):
            logits = model(images)
            losses.append(F.cross_entropy(logits, labels, reduction="none"))
            hits.append(logits.argmax(1) == labels)
    return torch.cat(losses), torch.cat(hits)
