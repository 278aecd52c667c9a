"""Random augmentation of whole batches, on the device that holds them.

Every function takes uint8 images [B, C, H, W] and a CPU generator, and returns uint8 images of
the same shape on the same device. All random numbers are drawn on the CPU, one set per image,
so a batch is augmented alike on every device; and a generator that begins again in the same state
moves masks as it moved their images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError

RESIZED_CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop
GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601-2 luma, as torchvision's rgb_to_grayscale


@dataclass(frozen=True)
class Augment:
    """The usual chain: crop, then mirror, then colour.

    Attributes:
        crop_padding: black border in pixels around the image before a random crop back to its
            size (AdderNet official code: 4); 0 switches the crop off.
        flip: mirror left to right with probability 1/2.
        resized_crop: (smallest, largest) share of the area for a random resized crop, which then
            replaces the padded crop; None switches it off.
        brightness, saturation: strength of the colour jitter (NetAug official code: 32/255 and
            0.5); 0 switches it off.
    """

    crop_padding: int = 4
    flip: bool = True
    resized_crop: tuple[float, float] | None = None
    brightness: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise UsageError(f"crop_padding must be 0 or more pixels; got {self.crop_padding}")
        if self.resized_crop and not 0 < self.resized_crop[0] <= self.resized_crop[1] <= 1:
            raise UsageError(
                f"resized_crop must be two rising shares in (0, 1]; got {self.resized_crop}"
            )
        for name in ("brightness", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1; got {getattr(self, name)}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = self._moved(images, generator)
        if self.brightness or self.saturation:
            images = color_jitter(
                images, generator, brightness=self.brightness, saturation=self.saturation
            )
        return images

    def with_masks(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The images as by a call, and their masks uint8 [B, H, W] moved along.

        A mask's pixel keeps its value: the nearest one is taken. What comes in from outside the
        image is :data:`~saa_lite.data.image_set.VOID`.
        """
        state = generator.get_state()
        augmented = self(images, generator)
        generator.set_state(state)
        return augmented, self._moved(masks[:, None], generator, are_masks=True)[:, 0]

    def _moved(self, pixels: Tensor, generator: torch.Generator, are_masks: bool = False) -> Tensor:
        """Crop and mirror: what masks share with their images."""
        if self.resized_crop:
            pixels = random_resized_crop(
                pixels, generator, scale=self.resized_crop, nearest=are_masks
            )
        elif self.crop_padding:
            fill = VOID if are_masks else 0
            pixels = random_crop(pixels, generator, padding=self.crop_padding, fill=fill)
        return random_flip(pixels, generator) if self.flip else pixels


def random_crop(
    images: Tensor, generator: torch.Generator, padding: int = 4, fill: int = 0
) -> Tensor:
    """Shift each image by -padding..padding pixels in both directions; ``fill`` comes in."""
    height, width = images.shape[2:]
    top, left = torch.randint(0, 2 * padding + 1, (2, len(images)), generator=generator)
    padded = F.pad(images, (padding,) * 4, value=fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view, [B, C, 2p+1, 2p+1, H, W]
    device = images.device
    return windows[torch.arange(len(images), device=device), :, top.to(device), left.to(device)]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(-1), images)


def random_resized_crop(
    images: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    *,
    nearest: bool = False,
) -> Tensor:
    """Cut out a random box and scale it up to the full size, bilinear or from the nearest pixel.

    The box has a share ``scale`` of the area and an aspect ratio (log-uniform) in ``ratio``,
    drawn as torchvision's RandomResizedCrop does; ten failures give the largest central box.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = _random_boxes(len(images), (height, width), scale, ratio, generator)
    if nearest:
        chosen = _nearest(top, tall, height)[:, None, :, None].to(images.device)
        rows = images.gather(2, chosen.expand(-1, images.shape[1], -1, width))
        chosen = _nearest(left, wide, width)[:, None, None, :].to(images.device)
        return rows.gather(3, chosen.expand_as(rows))
    rows = _resize_matrix(top, tall, height).to(images.device)[:, None]  # [B, 1, H, H]
    columns = _resize_matrix(left, wide, width).to(images.device)[:, None]  # [B, 1, W, W]
    return _to_uint8(rows @ images.float() @ columns.transpose(2, 3))


def _random_boxes(
    batch: int,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width of one box per image, each int64 [B]."""
    height, width = size
    draws = torch.rand(2, batch, RESIZED_CROP_ATTEMPTS, generator=generator)
    area = height * width * (scale[0] + draws[0] * (scale[1] - scale[0]))
    low, high = torch.log(torch.tensor(ratio))
    aspect = torch.exp(low + draws[1] * (high - low))
    tall, wide = (area / aspect).sqrt().round().long(), (area * aspect).sqrt().round().long()
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = fits.int().argmax(1, keepdim=True)
    any_fits = fits.any(1)
    # Where nothing fitted: the whole image, narrowed to the nearest allowed aspect ratio.
    largest_wide = min(width, round(height * ratio[1]))
    largest_tall = min(height, round(width / ratio[0]))
    tall = torch.where(any_fits, tall.gather(1, first)[:, 0], largest_tall)
    wide = torch.where(any_fits, wide.gather(1, first)[:, 0], largest_wide)
    offset = torch.rand(2, batch, generator=generator)
    offset = torch.where(any_fits, offset, 0.5)
    top = (offset[0] * (height - tall + 1)).floor().long().clamp(max=height - tall)
    left = (offset[1] * (width - wide + 1)).floor().long().clamp(max=width - wide)
    return top, left, tall, wide


def _nearest(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Per image the source pixel that holds the centre of each target pixel, int64 [B, size]."""
    centre = (torch.arange(size) + 0.5) * (length / size)[:, None]
    return start[:, None] + torch.minimum(centre.floor().long(), length[:, None] - 1)


def _resize_matrix(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Per image the matrix [size, size] that scales ``length`` pixels from ``start`` to ``size``.

    Bilinear: each target pixel weighs the source pixels of the box by a triangle, normalised at
    the box's edge. The box is never larger than the image, so nothing has to be smoothed.
    """
    step = (length / size)[:, None]  # source pixels per target pixel, [B, 1]
    centre = (torch.arange(size) + 0.5) * step  # within the box, [B, size]
    source = torch.arange(size) - start[:, None] + 0.5  # pixel centres, [B, size]
    inside = (source > 0) & (source < length[:, None])
    distance = (source[:, None, :] - centre[:, :, None]).abs()
    weight = (1 - distance).clamp(min=0) * inside[:, None, :]
    return weight / weight.sum(2, keepdim=True)


def color_jitter(
    images: Tensor,
    generator: torch.Generator,
    brightness: float = 32 / 255,
    saturation: float = 0.5,
) -> Tensor:
    """Scale brightness, then saturation, by factors uniform in 1 ± strength.

    torchvision's ColorJitter shuffles the two steps; the fixed order is our reading, and differs
    only where a value is clipped. Saturation leaves grey images as they are.
    """
    draws = 2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1
    bright, colourful = (1 + draws * torch.tensor([brightness, saturation]).view(2, 1, 1, 1, 1)).to(
        images.device
    )
    scaled = (images * bright).clamp(0, 255)
    if images.shape[1] == 3:
        weights = torch.tensor(GREY_WEIGHTS, device=images.device).view(1, 3, 1, 1)
        grey = (scaled * weights).sum(1, keepdim=True)
        scaled = grey + colourful * (scaled - grey)
    return _to_uint8(scaled)


def _to_uint8(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
