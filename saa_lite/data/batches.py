"""Batches whose content is a pure function of (seed, epoch, step).

There is no generator state: training that stops after step s resumes with
``epoch(e, start_step=s + 1)`` and sees exactly the batches it would have seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from saa_lite.data.augment import Augment
from saa_lite.data.image_set import ImageSet, check_image_set
from saa_lite.data.seeds import generator_for
from saa_lite.errors import UsageError, check_choice

AugmentFunction = Callable[[Tensor, torch.Generator], Tensor]
Batch = tuple[int, Tensor, Tensor]
Targets = Literal["labels", "masks"]

# The constants that the CIFAR literature trains with (mean, std of the training set).
PUBLISHED_NORMALIZATION = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


def normalization(train_set: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel to train with, in units of [0, 1] pixels.

    Published constants for CIFAR, else the statistics of ``train_set``; give the same pair to
    the test batches. A constant channel counts as one grey level of deviation.
    """
    check_image_set("train_set", train_set)
    if train_set.name in PUBLISHED_NORMALIZATION:
        return PUBLISHED_NORMALIZATION[train_set.name]
    mean, std = train_set.statistics()
    return mean, tuple(max(value, 1 / 255) for value in std)


class Batches:
    """An image set on a device, dealt out in normalised float32 batches.

    Args:
        image_set: its uint8 images and labels are moved to ``device`` once.
        batch_size: images per step; the last batch may be smaller.
        shuffle: a new order each epoch; otherwise the set's own order.
        seed: together with epoch and step it fixes order and augmentation.
        augment: called as ``augment(images uint8 [B, C, H, W], generator)``.
        mean, std: per channel, in units of [0, 1] pixels; None takes :func:`normalization`
            for a training split, and is refused for a test split of an unknown set, whose own
            statistics no model was trained with.
        drop_last: leave out a last batch that is not full.
        channels_last: give images in that memory format, faster on most hardware.
        targets: ``"labels"``, or ``"masks"``, which need an :class:`Augment` that moves them along
            with their images.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        augment: AugmentFunction | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
        drop_last: bool = False,
        channels_last: bool = False,
        targets: Targets = "labels",
    ) -> None:
        check_image_set("image_set", image_set)
        check_choice("targets", targets, ("labels", "masks"))
        if batch_size < 1:
            raise UsageError(f"batch_size must be 1 or more; got {batch_size}")
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.augment, self.drop_last = augment, drop_last
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.mean, self.std = _resolve_normalization(image_set, mean, std)
        self.images, self.labels = image_set.images.to(device), image_set.labels.to(device)
        self.masks = None
        if targets == "masks":
            self.masks = _masks(image_set, augment).to(device)
        self._affine = _affine(self.mean, self.std, device)

    def __len__(self) -> int:
        """Steps per epoch."""
        full, rest = divmod(len(self.labels), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield (step, images float32 [B, C, H, W] normalised, labels int64 [B]).

        With masks as targets, int64 [B, H, W] stand in place of the labels.
        """
        order = self.order(epoch).to(self.labels.device)
        for step in range(start_step, len(self)):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            images = self.images[chosen]
            # 0 is the order's stream, so the steps' streams start at 1.
            generator = generator_for(self.seed, epoch, step + 1)
            if self.masks is not None:
                targets = self.masks[chosen]
                if isinstance(self.augment, Augment):
                    images, targets = self.augment.with_masks(images, targets, generator)
                yield step, self.normalize(images), targets.long()
                continue
            if self.augment is not None:
                images = self.augment(images, generator)
            yield step, self.normalize(images), self.labels[chosen]

    def order(self, epoch: int) -> Tensor:
        """The indices of one epoch, int64 [N], on the CPU."""
        if not self.shuffle:
            return torch.arange(len(self.labels))
        return torch.randperm(len(self.labels), generator=generator_for(self.seed, epoch, 0))

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to float32 with mean 0 and deviation 1 per channel."""
        shift, scale = self._affine
        normalized = torch.addcmul(shift, images.float(), scale)
        return normalized.contiguous(memory_format=self.memory_format)


def _masks(image_set: ImageSet, augment: AugmentFunction | None) -> Tensor:
    """The masks, if there are any and ``augment`` can move them."""
    if image_set.masks is None:
        raise UsageError(f"{image_set.name} ({image_set.split}) has no masks to learn from")
    if not isinstance(augment, Augment | None):
        raise UsageError(
            "with masks as targets augment must be an Augment, which moves masks along with their "
            f"images, or None; got {augment!r}"
        )
    return image_set.masks


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels uint8 [B, C, H, W] as a network wants them that was trained with this pair: float32.

    The bits are those of :meth:`Batches.normalize`.

    Raises:
        UsageError: other than uint8 pixels, such as ones that are normalised already, or another
            number of channels.
    """
    channels = len(mean)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != channels:
        raise UsageError(
            f"images must be pixels, uint8 [B, {channels}, H, W]; "
            f"got {images.dtype} {list(images.shape)}"
        )
    shift, scale = _affine(mean, std, images.device)
    return torch.addcmul(shift, images.float(), scale)


def _affine(
    mean: Sequence[float], std: Sequence[float], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """(x / 255 − mean) / std as one addition and one multiplication, [1, C, 1, 1] each."""
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    scale = [1 / (255 * s) for s in std]
    added, factor = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (shift, scale))
    return added, factor


def images_of(batch: Any) -> Tensor:
    """The images of a batch: itself, or the first tensor of a tuple such as (images, labels).

    Raises:
        TypeError: it holds no tensor, or one picture instead of a batch.
    """
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, (tuple, list)):
        if len(batch) == 2 and isinstance(batch[1], int):
            raise TypeError(
                "a batch must hold many images; got one picture with its label: deal the data set "
                "out with a DataLoader or Batches"
            )
        for part in batch:
            if isinstance(part, Tensor):
                return part
    raise TypeError(
        f"a batch must be a tensor of images or a tuple that holds one; got {type(batch).__name__}"
    )


def image_batches(argument: str, batches: Iterable[Any]) -> Iterator[Tensor]:
    """The images of all ``batches``, one batch after the other.

    Raises:
        TypeError: a batch without images.
        UsageError: ``batches`` is no series of batches but images, or a set of them.
    """
    if isinstance(batches, (ImageSet, Tensor, Batches, Mapping)) or not isinstance(
        batches, Iterable
    ):
        raise UsageError(
            f"{argument} must be batches of normalised images, such as "
            "Batches(train_set, 100).epoch(0), a DataLoader or a list of tensors; got "
            f"{type(batches).__name__}"
        )
    return map(images_of, batches)


def _resolve_normalization(
    image_set: ImageSet, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if mean is None or std is None:
        if mean is not None or std is not None:
            raise UsageError("mean and std must be given together, or neither")
        if image_set.split != "train" and image_set.name not in PUBLISHED_NORMALIZATION:
            raise UsageError(
                f"batches of {image_set.name} ({image_set.split}) need mean and std of the "
                "training set: pass those of normalization(train_set)"
            )
        return normalization(image_set)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != image_set.in_channels:
            raise UsageError(
                f"{name} must have one value per channel ({image_set.in_channels}); "
                f"got {len(values)}"
            )
    if min(std) <= 0:
        raise UsageError(f"std must be positive; got {tuple(std)}")
    return tuple(mean), tuple(std)
