"""Pictures of any size to square uint8 tensors of one size."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from saa_lite.data.image_set import ImageSet
from saa_lite.errors import DataError

CHUNK = 1024  # images scaled at a time, in float32
BAR_FROM = 500  # fewer files need no progress bar


def resize_set(image_set: ImageSet, size: int) -> ImageSet:
    """The largest central square of every image, scaled to ``size`` (antialiased bilinear).

    Masks are scaled by nearest neighbour, so they keep their values.
    """
    if image_set.images.shape[2:] == (size, size):
        return image_set
    parts = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True).round().byte()
        for part in _central_square(image_set.images).split(CHUNK)
    ]
    masks = image_set.masks
    if masks is not None:
        square = _central_square(masks)[:, None]
        masks = F.interpolate(square, (size, size), mode="nearest-exact")[:, 0]
    return replace(image_set, images=torch.cat(parts), masks=masks)


def _central_square(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def read_pictures(paths: Sequence[Path], size: int | None, name: str) -> Tensor:
    """Decode files to RGB, uint8 [N, 3, size, size], each cut to its central square first.

    With ``size=None`` all pictures must have one size, and keep it.

    Raises:
        DataError: a file that cannot be read or decoded, or sizes that differ; it is named.
    """
    pictures: list[np.ndarray] = []
    for path in tqdm(paths, desc=f"reading {name}", disable=len(paths) < BAR_FROM, leave=False):
        picture = _read_picture(path, size)
        if pictures and picture.shape != pictures[0].shape:
            raise DataError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]} pixels where others are "
                f"{pictures[0].shape[1]}x{pictures[0].shape[0]}: pass size= to scale them all"
            )
        pictures.append(picture)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _read_picture(path: Path, size: int | None) -> np.ndarray:
    """RGB [H, W, 3]."""
    try:
        with Image.open(path) as picture:
            if size is None:
                return np.asarray(picture.convert("RGB"))
            # JPEG files are decoded at reduced resolution, never below twice the target.
            picture.draft("RGB", (2 * size, 2 * size))
            width, height = picture.size
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            square = picture.convert("RGB").crop((left, top, left + side, top + side))
            return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture that Pillow can read") from error
    except (OSError, SyntaxError, ValueError) as error:  # as Pillow reports damaged files
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the picture {path}: {reason}") from error
