"""Pictures as pixels: files read, sizes brought to one.

Image sets in memory are brought to square images of one size.

**Picture files to RGB in 8 bits: what has a defined range is scaled, the rest refused by name.**

- 1 to 8 bits, palettes, CMYK, YCbCr, LAB, HSV: Pillow's own conversion to RGB.
- 16-bit grey: round(x / 257), so that 65535 becomes 255; grey of other depths by its own greatest
  value. Of 16-bit colour Pillow keeps the upper eight bits, at most one level less or more.
- 32-bit integers, signed integers and floats are refused: nothing says which value is white.
- A TIFF may say that its greatest sample is far below that (10 bits in 16, or a dark picture). Its
  format forbids to brighten it therefore; a warning says so.

Transparency is dropped as by torchvision's ``ImageFolder``: a transparent pixel has the colour that
the file holds for it. Pictures stand upright as viewers show them, that is, turned and mirrored as
their EXIF orientation says (``ImageFolder`` leaves them lying). Of an animation, or of a file with
several pages, the first picture is taken, and a warning says so. Pillow's own warnings, such as
that of a very large picture, are passed on with the file's name.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from saa_lite.data.image_set import ImageSet
from saa_lite.errors import DataError

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


BAR_FROM = 500  # fewer files need no progress bar
GREY = ("1", "L", "LA", "La")
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")  # unsigned; Pillow's modes by byte order
DEEP_FORMATS = ("PNG", "PPM")  # whose 16-bit grey some versions of Pillow hold in mode "I"
UNBOUNDED = {"I": "32-bit integers", "F": "floating-point numbers"}
BITS, PHOTOMETRIC, GREATEST, FORMAT = 258, 262, 281, 339  # tags of TIFF
WHITE_IS_ZERO, SIGNED = 0, 2  # values of the second and the last
ORIENTATION = 274  # tag of EXIF
UPRIGHT = {  # by its value; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXTRA_PICTURES = ("MPO",)  # a photograph beside its preview or depth map is no animation


def read_pictures(paths: Sequence[Path], size: int | None, name: str) -> Tensor:
    """Decode files to RGB, uint8 [N, 3, size, size], each cut to its central square first.

    With ``size=None`` all pictures must have one size, and keep it.

    Raises:
        DataError: a file that cannot be read or decoded, whose values have no defined range, that
            is larger than Pillow's limit, or sizes that differ; it is named.
    """
    pictures: list[np.ndarray] = []
    remarks: list[str] = []
    for path in tqdm(paths, desc=f"reading {name}", disable=len(paths) < BAR_FROM, leave=False):
        picture = _read_picture(path, size, remarks)
        if pictures and picture.shape != pictures[0].shape:
            raise DataError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]} pixels where others are "
                f"{pictures[0].shape[1]}x{pictures[0].shape[0]}: pass size= to scale them all"
            )
        pictures.append(picture)
    if remarks:
        more = f" (and {len(remarks) - 1} more such remarks)" if len(remarks) > 1 else ""
        warnings.warn(f"{remarks[0]}{more}", UserWarning, stacklevel=2)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _read_picture(path: Path, size: int | None, remarks: list[str]) -> np.ndarray:
    """RGB [H, W, 3]; what is odd about the file, and no reason to refuse it, joins ``remarks``."""
    try:
        # Warnings are recorded, so that they neither go to the terminal without the file's name nor
        # become errors where the caller asked Python for that. Pillow gets an open file, since it
        # maps a named TIFF into memory with height and width exchanged where it has to turn it.
        with (
            warnings.catch_warnings(record=True, action="always") as caught,
            path.open("rb") as file,
            Image.open(file) as picture,
        ):
            pixels = _decode(picture, size)
            if getattr(picture, "is_animated", False) and picture.format not in EXTRA_PICTURES:
                remarks.append(f"{path} holds several pictures; the first is taken")
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"the picture {path} has more pixels than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} "
            "that Pillow reads; scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except Exception as error:  # Pillow reports damaged files in many ways
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"cannot read the picture {path}: {reason}") from error
    remarks += dict.fromkeys(f"{path}: {warning.message}" for warning in caught)
    return pixels


def _decode(picture: Image.Image, size: int | None) -> np.ndarray:
    """RGB [H, W, 3]; with ``size``, the central square scaled to it.

    Raises:
        ValueError: values whose range nobody knows; besides, whatever Pillow does.
    """
    if size is not None:
        # JPEG files are decoded at reduced resolution, never below twice the target.
        picture.draft("RGB", (2 * size, 2 * size))
    picture.load()  # turns a TIFF, which then has no orientation any more
    orientation = picture.getexif().get(ORIENTATION)
    upright = to_rgb(picture)
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    if size is None:
        return np.asarray(upright)
    width, height = upright.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = upright.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def is_grey(picture: Image.Image) -> bool:
    """Whether the picture's mode has one channel of light; a palette is taken for coloured."""
    return picture.mode in (*GREY, *DEEP_GREY, *UNBOUNDED)


def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture in mode RGB, without transparency.

    Raises:
        ValueError: its values have no range that its format defines.

    Warns:
        UserWarning: the file says that its samples leave the upper bits unused.
    """
    mode = picture.mode
    tags = getattr(picture, "tag_v2", {})  # of a TIFF
    if SIGNED in tags.get(FORMAT, ()):
        raise ValueError(
            "its pixels are signed integers, of which no format says how large white is; save it "
            "with unsigned ones"
        )
    _warn_of_unused_bits(tags)
    if mode in DEEP_GREY or (mode == "I" and picture.format in DEEP_FORMATS):
        return Image.fromarray(_eight_bits(picture)).convert("RGB")
    if mode in UNBOUNDED:
        raise ValueError(
            f"its pixels are {UNBOUNDED[mode]}, of which no format says how large white is; save "
            "it with 8 or 16 bits"
        )
    if mode == "La":  # grey times its transparency; Pillow takes two steps from there
        picture = picture.convert("LA")
    elif mode == "P" and isinstance(picture.info.get("transparency"), bytes):
        picture = picture.convert("RGBA")  # it warns on the straight way, to the same colours
    return picture.convert("RGB")


def _warn_of_unused_bits(tags: Mapping[int, Any]) -> None:
    """By the tag MaxSampleValue, which "is not to be used to affect the visual appearance"."""
    bits, greatest = max(tags.get(BITS, (1,))), max(tags.get(GREATEST, (0,)))
    if 0 < greatest < 2 ** (bits - 1):
        warnings.warn(
            f"its greatest sample is {greatest}, it says, and white is taken to be {2**bits - 1}; "
            "if it is not that dark, scale its samples first",
            UserWarning,
            stacklevel=2,
        )


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """Deep grey as uint8 [H, W]: 255 · x / white, rounded."""
    tags = getattr(picture, "tag_v2", {})  # of a TIFF
    bits = tags.get(BITS, (16,))[0]
    white = 2**bits - 1
    levels = np.asarray(picture).astype(np.uint32)
    scaled = ((levels * 255 + white // 2) // white).astype(np.uint8)
    # Pillow inverts such grey itself, but not that of 16 bits.
    return 255 - scaled if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else scaled
