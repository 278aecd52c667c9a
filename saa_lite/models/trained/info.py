"""What is known of a trained network beside its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saa_lite.data import normalize
from saa_lite.errors import UsageError

KNUTH = 2654435761  # ⌊2³²/φ⌉, whose multiples scatter (TAOCP, vol. 3, 6.4)


class WeightsName(NamedTuple):
    """The arguments of :func:`~saa_lite.models.create_model` that name a trained network."""

    model: str
    conv: str
    weights: str

    def __str__(self) -> str:
        return "-".join(self)

    @property
    def spoken(self) -> str:
        """For a sentence: ``the weights 'cifar10' of resnet20 with conv 'adder'``."""
        return f"the weights {self.weights!r} of {self.model} with conv {self.conv!r}"


@dataclass(frozen=True, repr=False)
class WeightsInfo:
    """A trained network: what it knows, how it was trained, how well it does.

    All numbers are of the network as it is loaded, whose weights are float16 in the file, and not
    of the one that was trained.

    Attributes:
        model, conv, weights: arguments of :func:`~saa_lite.models.create_model` that return it; the
            last is also the name of the data set that it was trained on.
        num_classes, in_channels, width: its other arguments; ``width`` is None where the network
            has only one.
        class_names: logit i is of class i.
        image_size: height and width, in pixels, of its images.
        mean, std: per channel, of pixels scaled to [0, 1]; :meth:`normalize` applies them.
        train_images, test_images: how many it was trained and tested on.
        correct: right answers on the test images.
        test_loss: mean cross-entropy on them.
        options: options of its layers that are not at their default, such as the ``eta`` of adder
            layers.
        training: every field of :class:`saa_lite.train.TrainConfig` by name. Its ``seed`` was also
            given to ``torch.manual_seed`` before the network was created.
        history: what :func:`saa_lite.train.train` returned, epoch by epoch, in training.
        probe: logits of :func:`probe_pixels`, one row per image.
        provenance: versions, device and commit of the test.
    """

    model: str
    conv: str
    weights: str
    num_classes: int
    in_channels: int
    width: int | None
    class_names: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    test_images: int
    correct: int
    test_loss: float
    options: Mapping[str, Any]
    training: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    probe: tuple[tuple[float, ...], ...]
    provenance: Mapping[str, Any]

    @property
    def name(self) -> WeightsName:
        """Network, operator and weights."""
        return WeightsName(self.model, self.conv, self.weights)

    @property
    def accuracy(self) -> float:
        """Share of right answers on the test images, 0..1."""
        return self.correct / self.test_images

    def __repr__(self) -> str:
        """One line; history and probe alone would fill screens."""
        size = "×".join(map(str, (self.in_channels, self.image_size, self.image_size)))
        return (
            f"WeightsInfo({self.name}: {self.num_classes} classes, images {size}, "
            f"{100 * self.accuracy:.2f} % of {self.test_images} test images right)"
        )

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels uint8 [B,C,H,W] → the float32 images that the network was trained with.

        Raises:
            UsageError: other than uint8 pixels, or another number of channels.
        """
        return normalize(images, self.mean, self.std)

    def arguments(self, **given: int | None) -> dict[str, Any]:
        """Arguments of :func:`~saa_lite.models.create_model` beside those that name the network.

        Args:
            given: the same arguments as a caller gave them, None where he gave none.

        Raises:
            UsageError: one that contradicts the weights.
        """
        own = {name: getattr(self, name) for name in ("num_classes", "in_channels", "width")}
        for name, value in given.items():
            if value is not None and value != own[name]:
                raise UsageError(
                    f"{name} must be {own[name]} (or left out), as in {self.name.spoken}; "
                    f"got {value!r}"
                )
        return own


def probe_pixels(count: int, channels: int, size: int) -> Tensor:
    """Noise, uint8 [count, channels, size, size], by arithmetic: the same with every torch."""
    numbers = torch.arange(count * channels * size**2)
    scattered = (numbers * KNUTH % 2**32) >> 16  # its high bits
    return (scattered % 256).to(torch.uint8).view(count, channels, size, size)
