"""An image set in memory: uint8 pixels, integer labels, class names and, for some sets, masks."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from saa_lite.errors import UsageError

MOST_CLASSES = 1_000_000
VOID = 255
"""Mask value of pixels that nobody has labelled: neither loss nor metric looks at them."""


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    Attributes:
        name: the set's name, such as ``"cifar10"``; it chooses published normalisation constants.
        split: ``"train"`` or ``"test"``.
        images: uint8 [N, C, H, W], C = 1 (grey) or 3 (RGB).
        labels: int64 [N], each in ``0 .. len(class_names) - 1``.
        class_names: one name per class.
        masks: uint8 [N, H, W] or None: the class of every pixel, or :data:`VOID`.
        mask_names: one name per mask value; without them no network can learn the masks.

    Raises:
        UsageError: tensors of another dtype or of shapes that do not fit together.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    masks: Tensor | None = None
    mask_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_tensor("images", self.images, torch.uint8, 4)
        _check_tensor("labels", self.labels, torch.int64, 1)
        if len(self.labels) != len(self.images):
            raise UsageError(
                f"labels must have one entry per image; got {len(self.labels)} labels "
                f"for {len(self.images)} images"
            )
        if len(self.labels) and not self.class_names:
            raise UsageError("class_names must name every class; got none")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise UsageError(
                f"labels must lie in 0..{self.num_classes - 1}; got "
                f"{int(self.labels.min())}..{int(self.labels.max())}"
            )
        if self.masks is not None:
            self._check_masks(self.masks)

    def _check_masks(self, masks: Tensor) -> None:
        _check_tensor("masks", masks, torch.uint8, 3)
        expected = (len(self), *self.images.shape[2:])
        if tuple(masks.shape) != expected:
            raise UsageError(f"masks must have shape {expected}; got {tuple(masks.shape)}")
        if not self.mask_names:
            return
        counts = torch.bincount(masks.flatten(), minlength=VOID + 1)
        unnamed = counts[len(self.mask_names) : VOID].nonzero().flatten() + len(self.mask_names)
        if len(unnamed):
            raise UsageError(
                f"masks must hold 0..{len(self.mask_names) - 1}, or {VOID} where no pixel is "
                f"labelled; got {int(unnamed[0])}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        return self.images.shape[1]

    def part(self, start: int, stop: int) -> "ImageSet":
        """Images ``start`` … ``stop`` as they lie, which may end before that."""
        chosen = slice(start, stop)
        masks = None if self.masks is None else self.masks[chosen]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], masks=masks)

    def subset(self, n: int, seed: int = 0) -> "ImageSet":
        """The first ``n`` images of a shuffle that deals the classes out in turn.

        Class counts differ by at most one (while every class has images left), and for one
        ``seed`` a smaller subset is contained in every larger one.
        """
        chosen = dealt(self.labels, n, seed, f"{self.name} ({self.split})")
        masks = None if self.masks is None else self.masks[chosen]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], masks=masks)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation (population) of each channel, pixels scaled to [0, 1].

        Counted from the 256 grey levels, so the result is exact and needs no float copy.
        """
        if not len(self):
            raise UsageError(f"{self.name} ({self.split}) is empty and has no statistics")
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in self.images.unbind(1):
            counts = torch.bincount(channel.flatten(), minlength=256).double()
            mean = (counts @ levels / counts.sum()).item()
            means.append(mean)
            deviations.append((counts @ (levels - mean) ** 2 / counts.sum()).sqrt().item())
        return tuple(means), tuple(deviations)


def check_image_set(argument: str, given: object) -> None:
    """Raise :class:`UsageError`, with the ways to an image set, unless ``given`` is one."""
    if not isinstance(given, ImageSet):
        raise UsageError(
            f"{argument} must be an ImageSet; got {type(given).__name__}: load_dataset() reads "
            "one, and saa_lite.data.as_image_set(data_set, split) makes one of (picture, label) "
            "pairs, such as torchvision's sets or the .dataset of a DataLoader"
        )


def names_by_number(count: int) -> tuple[str, ...]:
    """Names for ``count`` classes that have none: "0", "1" and so on.

    Raises:
        UsageError: so many that a label was no number of a class.
    """
    if count > MOST_CLASSES:
        raise UsageError(f"labels must be below {MOST_CLASSES:,}; found {count - 1:,}")
    return tuple(map(str, range(count)))


def dealt(labels: Tensor, n: int | None, seed: int, what: str) -> Tensor:
    """The first ``n`` indices of ``labels`` [N], sorted by (rank within the class, chance).

    ``None`` gives all of them in their own order.
    """
    if n is None:
        return torch.arange(len(labels))
    if not 1 <= n <= len(labels):
        raise UsageError(f"a subset of {what} must have 1..{len(labels)} images; got {n}")
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = torch.argsort(labels[shuffled], stable=True)
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[by_class] = torch.arange(len(labels)) - starts[labels[shuffled][by_class]]
    return shuffled[torch.argsort(rank, stable=True)][:n]


def _check_tensor(argument: str, value: Tensor, dtype: torch.dtype, ndim: int) -> None:
    if value.dtype != dtype or value.ndim != ndim:
        raise UsageError(
            f"{argument} must be a {ndim}-dimensional {dtype} tensor; "
            f"got {value.ndim} dimensions of {value.dtype}"
        )
