"""Pictures and the masks beside them: ``PATH/train/images``, ``PATH/train/masks``, ``PATH/test/…``.

A mask has its picture's name, whatever the extension, and its size; a pixel's number says its
class: the grey level, or of a picture with a palette the index, as in PASCAL VOC. Grey of 16 bits
holds numbers, too, nothing is scaled. ``PATH/classes.txt`` names the classes, line by line from 0;
one of them may be called ``void``. 255 is void always.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from saa_lite.data.arrays import ONE_CLASS
from saa_lite.data.image_set import VOID, ImageSet, dealt
from saa_lite.data.pictures import ORIENTATION, read_pictures
from saa_lite.errors import DataError

NAMES_FILE = "classes.txt"
VOID_NAME = "void"
NUMBERS = ("1", "L", "P", "I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's modes of one channel
SIDEWAYS = range(5, 9)  # orientations of EXIF that exchange width and height
SHOWN = 40  # characters of a list of names in an error


def load_mask_folder(
    path: Path, split: str, *, size: int | None = None, count: int | None = None, seed: int = 0
) -> ImageSet:
    """Read one split; only ``count`` pictures and masks are decoded.

    With ``size`` pictures and masks lose their longer sides alike and are scaled to that square,
    masks from the nearest pixel.

    Raises:
        DataError: a missing folder, list of names, picture or mask, a mask of another size than
            its picture or with a number that has no name, or files that cannot be read.
    """
    names = _names(path / NAMES_FILE)
    pairs = _pairs(path / split / "images", path / split / "masks")
    chosen = dealt(torch.zeros(len(pairs), dtype=torch.int64), count, seed, f"{path} ({split})")
    return read_pairs([pairs[i] for i in chosen], path.name, split, names, size)


def read_pairs(
    pairs: Sequence[tuple[Path, Path]],
    name: str,
    split: str,
    names: Sequence[str],
    size: int | None,
    *,
    first: int = 0,
) -> ImageSet:
    """Decode pictures and their masks.

    Args:
        names: of the mask values; void is the one called so.
        first: the number that the first class has in the files.

    Raises:
        DataError: see :func:`load_mask_folder`.
    """
    images = read_pictures([picture for picture, _ in pairs], size, name)
    masks = []
    for picture, mask in pairs:
        numbers = _read_numbers(mask)
        _check_size(picture, mask, numbers)
        masks.append(_square(numbers, size) if size is not None else numbers)
    found = _as_classes(torch.from_numpy(np.stack(masks)), [m for _, m in pairs], names, first)
    kept = tuple(n for n in names if n != VOID_NAME)
    labels = torch.zeros(len(pairs), dtype=torch.int64)
    return ImageSet(name, split, images, labels, ONE_CLASS, found, kept)


def _names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); it must name the classes of the masks, one "
            "a line from 0 on"
        ) from error
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names or "" in names or len(set(names)) < len(names) or len(names) > VOID:
        raise DataError(f"{path} must hold 1..{VOID} different names, one a line")
    return names


def _pairs(pictures: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pictures and masks of one name, in the order of names."""
    found = [_by_stem(folder) for folder in (pictures, masks)]
    for folder, stems, others in ((masks, found[1], found[0]), (pictures, found[0], found[1])):
        if missing := sorted(others.keys() - stems.keys()):
            listed = ", ".join(missing)
            shown = listed if len(listed) <= SHOWN else f"{missing[0]} and {len(missing) - 1} more"
            raise DataError(f"{folder} has no file for {shown}; every picture needs its mask")
    return [(found[0][stem], found[1][stem]) for stem in sorted(found[0])]


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; pictures are expected in PATH/train/images and "
            "PATH/test/images, their masks in PATH/train/masks and PATH/test/masks"
        )
    files = [f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")]
    if not files:
        raise DataError(f"{folder} is empty")
    stems = {file.stem: file for file in files}
    if len(stems) < len(files):
        twice = next(file for file in files if stems[file.stem] != file)
        raise DataError(f"{folder} has two files called {twice.stem}")
    return stems


def _read_numbers(path: Path) -> np.ndarray:
    """The class number of every pixel, int64 [H, W]."""
    try:
        with Image.open(path) as picture:
            mode, numbers = picture.mode, np.asarray(picture)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture that Pillow can read") from error
    except OSError as error:
        raise DataError(f"cannot read the mask {path}: {error}") from error
    if mode == "RGB" and (numbers == numbers[:, :, :1]).all():
        numbers = numbers[:, :, 0]  # grey that was saved in colour
    elif mode not in NUMBERS:
        raise DataError(
            f"{path} is a picture in mode {mode}; a mask holds one number per pixel, in grey or as "
            "the index of a palette"
        )
    return numbers.astype(np.int64)


def _check_size(picture: Path, mask: Path, numbers: np.ndarray) -> None:
    with Image.open(picture) as opened:
        width, height = opened.size
        if opened.getexif().get(ORIENTATION, 1) in SIDEWAYS:  # pictures are read upright
            width, height = height, width
    if numbers.shape != (height, width):
        raise DataError(
            f"{mask} is {numbers.shape[1]}x{numbers.shape[0]} pixels where its picture is "
            f"{width}x{height}"
        )


def _square(numbers: np.ndarray, size: int) -> np.ndarray:
    """The central square, scaled to ``size`` from the nearest pixels."""
    side = min(numbers.shape)
    top, left = ((length - side) // 2 for length in numbers.shape)
    nearest = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    return numbers[top + nearest][:, left + nearest]


def _as_classes(masks: Tensor, paths: Sequence[Path], names: Sequence[str], first: int) -> Tensor:
    """Numbers of files as those of the classes that remain, uint8."""
    table = torch.full((VOID + 1,), -1, dtype=torch.int64)
    table[VOID] = VOID
    kept = [i for i, name in enumerate(names) if name != VOID_NAME]
    for i in range(len(names)):
        table[first + i] = kept.index(i) if i in kept else VOID
    known = (masks >= 0) & (masks <= VOID)
    classes = torch.where(known, table[masks.clamp(0, VOID)], -1)
    if bool((classes < 0).any()):
        at = int((classes < 0).flatten(1).any(1).nonzero()[0])
        number = int(masks[at][classes[at] < 0][0])
        raise DataError(
            f"{paths[at]} holds {number}, which is no class; classes are {first}.."
            f"{first + len(names) - 1}, and {VOID} where no pixel is labelled"
        )
    return classes.byte()
