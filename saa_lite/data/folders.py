"""Sets made of pictures: folders of classes, and other libraries' data sets.

**Folders of pictures: ``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png``.**

Classes are the sub-folders in alphabetical order and files are found as by torchvision's
``ImageFolder``: recursively, by the usual extensions; but files and folders whose names begin with
a dot (``._x.png``, ``.ipynb_checkpoints``) are other programs' notes, and passed over. What becomes
of pixels, transparency and EXIF orientation says :mod:`saa_lite.data.pictures`.

**Data sets of other libraries: pairs of a picture and a label, as torchvision's sets give them.**
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saa_lite.data.arrays import SPLITS
from saa_lite.data.image_set import ImageSet, dealt, names_by_number
from saa_lite.data.pictures import is_grey, read_pictures, resize_images, to_rgb
from saa_lite.errors import DataError, UsageError, check_choice


def load_folder(
    path: Path, split: str, *, size: int | None = None, count: int | None = None, seed: int = 0
) -> ImageSet:
    """Read one split as RGB; only the ``count`` pictures of the subset are decoded.

    Raises:
        DataError: a missing folder, a class without pictures, train and test with different
            classes, a file that is no picture or whose values have no defined range, or pictures
            of different sizes without ``size``.
    """
    # torchvision takes a second to import; only sets on disk need it.
    from torchvision.datasets.folder import make_dataset  # noqa: PLC0415

    classes = _classes(path / split)
    other = path / ("test" if split == "train" else "train")
    if other.is_dir() and (difference := set(classes) ^ set(_classes(other))):
        raise DataError(
            f"{path}: train and test must have the same classes; "
            f"only one of them has {', '.join(sorted(difference))}"
        )
    try:
        found = make_dataset(
            path / split,
            {name: label for label, name in enumerate(classes)},
            is_valid_file=lambda file: _is_picture(Path(file), path / split),
        )
    except OSError as error:
        raise DataError(f"cannot read {path / split}: {error.strerror or error}") from error
    labels = torch.tensor([label for _, label in found])
    chosen = dealt(labels, count, seed, f"{path} ({split})")
    pictures = read_pictures([Path(found[i][0]) for i in chosen], size, path.name)
    return ImageSet(path.name, split, pictures, labels[chosen], tuple(classes))


def _classes(folder: Path) -> list[str]:
    """Names of the class folders, each checked to hold a picture."""
    from torchvision.datasets.folder import IMG_EXTENSIONS  # noqa: PLC0415

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; pictures are expected as {folder}/CLASS/*.png")
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not names:
        raise DataError(f"{folder} has no class folders in it, as in {folder}/CLASS/*.png")
    for name in names:
        if not any(_is_picture(f, folder) for f in (folder / name).rglob("*")):
            raise DataError(
                f"the class folder {folder / name} has no picture in it; "
                f"allowed are {', '.join(IMG_EXTENSIONS)}"
            )
    return names


def _is_picture(file: Path, folder: Path) -> bool:
    """By its extension, unless it, or a folder below ``folder`` that it lies in, is hidden."""
    from torchvision.datasets.folder import IMG_EXTENSIONS  # noqa: PLC0415

    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in IMG_EXTENSIONS and not hidden


LEVELS = "its picture must be uint8, or float with the levels k / 255 of ToTensor"
ROUNDING = 0.01  # levels; x / 255 in float32 comes back nearer than that


def as_image_set(
    dataset: Iterable[tuple[Any, Any]],
    split: str,
    *,
    name: str | None = None,
    size: int | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """Read (picture, label) pairs into memory, as uint8.

    Each pair is read once, so a transform that draws random numbers would be frozen: crops, mirror
    images and normalisation are the business of :func:`saa_lite.train.train`.

    Args:
        dataset: one of torchvision's or your own, a list, or any iterable of pairs. A picture is a
            PIL image (:mod:`saa_lite.data.pictures` says what becomes of its mode; it is not
            turned), or a tensor or array [C, H, W] or [H, W] with C = 1 or 3, of dtype uint8 or,
            as ``ToTensor`` makes it, float with levels k / 255. A label is an integer
            from 0 on.
        split: ``"train"`` or ``"test"``.
        name: of the set; by default that of the class in small letters, so that torchvision's
            ``CIFAR10`` is ``"cifar10"`` and has the published normalisation.
        size: height and width to which the largest central square is scaled; without it all
            pictures must have one size.
        class_names: in the order of the labels; by default ``dataset.classes``, else the numbers up
            to the largest label.

    Raises:
        UsageError: ``dataset`` is something else, or empty, or a label has no name.
        DataError: an item is no such pair, or of another size than the first; its number is named.
    """
    check_choice("split", split, SPLITS)
    kind = type(dataset).__name__
    pictures, labels = _read_pairs(dataset, kind, size)
    channels = max(len(picture) for picture in pictures)  # grey ones among coloured ones become RGB
    images = torch.stack([picture.expand(channels, -1, -1) for picture in pictures])
    names = class_names if class_names is not None else getattr(dataset, "classes", None)
    return ImageSet(
        kind.lower() if name is None else name,
        split,
        images,
        torch.tensor(labels),
        names_by_number(max(labels) + 1) if names is None else tuple(map(str, names)),
    )


def _read_pairs(
    dataset: Iterable[tuple[Any, Any]], kind: str, size: int | None
) -> tuple[list[Tensor], list[int]]:
    """Pictures [C, H, W] of one height and width, and their labels; ``kind`` is for messages."""
    pictures: list[Tensor] = []
    labels: list[int] = []
    for index, item in enumerate(_items(dataset)):
        try:
            picture, label = _pair(item)
        except (TypeError, ValueError, OSError) as error:  # OSError: a file that is read late
            raise DataError(f"item {index} of the {kind}: {error}") from error
        if size is not None:
            picture = resize_images(picture[None], size)[0]
        if pictures and picture.shape[1:] != pictures[0].shape[1:]:
            raise DataError(
                f"item {index} of the {kind} is {picture.shape[2]}x{picture.shape[1]} pixels where "
                f"others are {pictures[0].shape[2]}x{pictures[0].shape[1]}: pass size= to scale "
                "them all"
            )
        pictures.append(picture)
        labels.append(label)
    if not pictures:
        raise UsageError(f"a data set must hold at least one picture; the {kind} is empty")
    return pictures, labels


def _items(dataset: Any) -> Iterable[Any]:
    """By number where the set can be asked so: not every such set says where it ends."""
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise UsageError("a data set is wanted; got a DataLoader of one: pass its .dataset")
    if isinstance(dataset, Mapping):
        raise UsageError(
            f"a data set of (picture, label) pairs is wanted; got {type(dataset).__name__}: a set "
            "of arrays is made by ImageSet(name, split, images, labels, class_names)"
        )
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return (dataset[index] for index in range(len(dataset)))
    if not isinstance(dataset, Iterable):
        raise UsageError(
            "a data set must give (picture, label) pairs when it is iterated over; got "
            f"{type(dataset).__name__}"
        )
    return dataset


def _pair(item: Any) -> tuple[Tensor, int]:
    """Picture, uint8 [C, H, W], and label of one item; what is wrong with it, as the errors say."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        count = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
        raise TypeError(f"it must be a pair (picture, label); got {type(item).__name__}{count}")
    picture, label = item
    try:
        number = operator.index(label)
    except TypeError as error:
        raise TypeError(f"its label must be an integer; got {label!r}") from error
    if number < 0:
        raise ValueError(f"its label must be a number from 0 on; got {number}")
    return _picture(picture), number


def _picture(picture: Any) -> Tensor:
    if isinstance(picture, Image.Image):
        pixels = torch.from_numpy(np.array(to_rgb(picture))).permute(2, 0, 1)
        return pixels[:1] if is_grey(picture) else pixels
    if not isinstance(picture, (Tensor, np.ndarray)):
        raise TypeError(
            f"its picture must be a PIL image, a tensor or an array; got {type(picture).__name__}"
        )
    pixels = torch.as_tensor(picture)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or len(pixels) not in (1, 3) or not pixels.numel():
        raise ValueError(
            f"its picture must be [C, H, W] with C = 1 or 3, or [H, W]; got {list(picture.shape)}"
        )
    return pixels if pixels.dtype == torch.uint8 else _levels(pixels)


def _levels(pixels: Tensor) -> Tensor:
    """Levels k / 255 as uint8 k."""
    if pixels.is_complex() or pixels.is_meta or pixels.layout != torch.strided:
        raise ValueError(f"{LEVELS}; got {pixels.dtype} on {pixels.device}, {pixels.layout}")
    values = pixels.double()  # which can be compared, other than unsigned integers
    levels = values * 255
    rounded = levels.round()
    if (
        not pixels.is_floating_point()
        or not bool(((levels - rounded).abs() < ROUNDING).all())  # NaN is none
        or rounded.min() < 0
        or rounded.max() > 255
    ):
        raise ValueError(
            f"{LEVELS}; got {pixels.dtype} from {float(values.min()):.5g} to "
            f"{float(values.max()):.5g} (give the set without normalisation, and scale pictures "
            "before ToTensor)"
        )
    return rounded.byte()
