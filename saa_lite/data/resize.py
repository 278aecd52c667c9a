"""Image sets in memory to square images of one size."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.data.image_set import ImageSet

CHUNK = 1024  # images scaled at a time, in float32


def resize_set(image_set: ImageSet, size: int) -> ImageSet:
    """The largest central square of every image, scaled to ``size`` (antialiased bilinear).

    Masks are scaled by nearest neighbour, so they keep their values.
    """
    if image_set.images.shape[2:] == (size, size):
        return image_set
    masks = image_set.masks
    if masks is not None:
        square = _central_square(masks)[:, None]
        masks = F.interpolate(square, (size, size), mode="nearest-exact")[:, 0]
    return replace(image_set, images=resize_images(image_set.images, size), masks=masks)


def resize_images(images: Tensor, size: int) -> Tensor:
    """The same of the images alone, uint8 [N, C, H, W]."""
    parts = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True).round().byte()
        for part in _central_square(images).split(CHUNK)
    ]
    return torch.cat(parts)


def _central_square(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]
