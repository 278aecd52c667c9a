"""Plain-array sets: ``PREFIX-train.npz`` and ``PREFIX-test.npz``.

Each file holds ``images`` (uint8 [N, H, W, 3], [N, H, W, 1] or [N, H, W]) and ``labels``
(integers [N]), and may hold ``class_names`` (str [C]), ``masks`` (uint8 [N, H, W]), their
``mask_names`` (str [M]) and the mask value ``void`` of pixels without a label (255 always is one);
other keys are ignored. A set for segmentation needs no labels: then ``class_names`` name the mask
values, as in CamVid, whose void is 11. Images and masks of another dtype are refused, not scaled:
12 bits in uint16 are as common as 16, and floats in 0..255 as in 0..1. Nothing is ever unpickled. A
set under a known name, such as ``cifar10``, must have that set's classes and images: results on it
stand beside published ones.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from saa_lite.data.image_set import VOID, ImageSet, names_by_number
from saa_lite.errors import DataError, UsageError

Arrays = dict[str, np.ndarray]
KEYS = ("images", "labels", "class_names", "masks", "mask_names", "void")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Facts:
    """What makes a set the one of its name; ``side`` in pixels, None for any size."""

    classes: int
    channels: int
    side: int | None = None


KNOWN = {
    "cifar10": Facts(10, 3, 32),
    "cifar100": Facts(100, 3, 32),
    "mnist": Facts(10, 1, 28),
    "flowers102": Facts(102, 3),
    "food101": Facts(101, 3),
    "voc2012": Facts(1, 3),  # read for its masks
    "oxford-pets": Facts(1, 3),
}
KNOWN_VOID = {"camvid": 11}
ONE_CLASS = ("scene",)  # of images that have masks and no label


def array_path(prefix: Path, split: str) -> Path:
    """``PREFIX-SPLIT.npz``."""
    return prefix.with_name(f"{prefix.name}-{split}.npz")


def load_arrays(prefix: Path, split: str, num_classes: int | None = None) -> ImageSet:
    """Read and check one split.

    The classes are ``class_names`` where the file has them, else the numbers up to
    ``num_classes``, else up to the largest label of *both* splits, so that they agree.

    Raises:
        DataError: the file is missing, unreadable, truncated, does not hold what it must, or is
            not the set whose name it has.
    """
    path = array_path(prefix, split)
    arrays = _named_by_masks(read_npz(path, KEYS))
    _check_arrays(path, arrays)
    names = _class_names(path, arrays, prefix, num_classes)
    labels = arrays["labels"]
    if labels.min() < 0 or labels.max() >= len(names):
        raise DataError(
            f"{path}: labels must lie in 0..{len(names) - 1}; "
            f"found {int(labels.min())}..{int(labels.max())}"
        )
    images = torch.from_numpy(arrays["images"])
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    if prefix.name in KNOWN:
        _check_known(path, prefix.name, len(names), images)
    masks, mask_names = _masks(path, arrays, KNOWN_VOID.get(prefix.name))
    return ImageSet(
        prefix.name, split, images, torch.from_numpy(labels.astype(np.int64)), names, masks,
        mask_names,
    )  # fmt: skip


def _named_by_masks(arrays: Arrays) -> Arrays:
    """Of a set without labels, one class of images, and the names as those of the masks."""
    if "labels" in arrays or not {"images", "masks"} <= arrays.keys():
        return arrays
    labels = np.zeros(len(arrays["images"]), np.int64)
    names = arrays.get("mask_names", arrays.get("class_names"))
    own = {"labels": labels, "class_names": np.array(ONE_CLASS)}
    return arrays | own | ({} if names is None else {"mask_names": names})


def _masks(
    path: Path, arrays: Arrays, void: int | None
) -> tuple[torch.Tensor | None, tuple[str, ...]]:
    """Masks whose void is :data:`VOID`, and their names, by number where the file has none."""
    if "masks" not in arrays:
        return None, ()
    masks = torch.from_numpy(arrays["masks"])
    void = int(arrays["void"]) if "void" in arrays else void
    if void is not None:
        masks = masks.masked_fill(masks == void, VOID)
    values = masks[masks != VOID]
    largest = int(values.max()) if len(values) else 0
    if "mask_names" in arrays:
        names = tuple(str(name) for name in arrays["mask_names"].ravel())
    else:
        names = names_by_number(largest + 1)
    if largest >= len(names):
        raise DataError(
            f"{path}: masks must hold 0..{len(names) - 1}, one value per name, or {VOID} where no "
            f"pixel is labelled; found {largest}"
        )
    return masks, names


def read_npz(path: Path, keys: tuple[str, ...]) -> Arrays:
    """The arrays named ``keys`` that ``path`` holds, without unpickling anything."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in keys if key in stored.files}
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; a plain-array set is a pair PREFIX-train.npz, PREFIX-test.npz"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError) as error:
        # TypeError: a single .npy array under the wrong name is no context manager.
        pickled = "Object arrays" in str(error)
        reason = "it holds pickled objects" if pickled else "it is truncated or not an .npz file"
        raise DataError(
            f"{path} cannot be read: {reason}; write plain arrays with numpy.savez"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _check_arrays(path: Path, arrays: Arrays) -> None:
    for key in ("images", "labels"):
        if key not in arrays:
            raise DataError(f"{path} must hold the arrays 'images' and 'labels'; no {key!r} found")
    images, labels = arrays["images"], arrays["labels"]
    plain = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if images.dtype != np.uint8 or not plain:
        unscaled = images.dtype.kind in "biuf" and images.dtype != np.uint8
        advice = "; scale them to 0..255 first, as only you know which value is white"
        raise DataError(
            f"{path}: images must be uint8 of shape [N, H, W, 3], [N, H, W, 1] or [N, H, W]; "
            f"found {images.dtype} {list(images.shape)}{advice if unscaled else ''}"
        )
    if not images.size:
        raise DataError(f"{path} is empty: images has shape {list(images.shape)}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: labels must be integers of shape [{len(images)}], one per image; "
            f"found {labels.dtype} {list(labels.shape)}"
        )
    if "masks" in arrays:
        _check_masks(path, arrays)


def _check_masks(path: Path, arrays: Arrays) -> None:
    images, masks = arrays["images"], arrays["masks"]
    if masks.dtype != np.uint8 or masks.shape != images.shape[:3]:
        raise DataError(
            f"{path}: masks must be uint8 of shape {list(images.shape[:3])}; "
            f"found {masks.dtype} {list(masks.shape)}"
        )
    void = arrays.get("void", np.array(VOID))
    if void.dtype.kind not in "iu" or void.size != 1:
        raise DataError(f"{path}: void must be one integer; found {void.dtype} {list(void.shape)}")


def _check_known(path: Path, name: str, classes: int, images: torch.Tensor) -> None:
    """Number of classes and shape of the images, [N, C, H, W], of a set in KNOWN."""
    known = KNOWN[name]
    if classes != known.classes:
        raise DataError(
            f"{path}: {name} has {known.classes} classes; found {classes}, counted by class_names "
            "where the file has them, else up to the largest label"
        )
    channels, height, width = images.shape[1:]
    side = known.side
    if channels != known.channels or (side is not None and (height, width) != (side, side)):
        expected = f"{side}×{side}" if side else "any size"
        raise DataError(
            f"{path}: images of {name} are {expected} in {_channels(known.channels)}; "
            f"found {height}×{width} in {_channels(channels)}"
        )


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _class_names(
    path: Path, arrays: Arrays, prefix: Path, num_classes: int | None
) -> tuple[str, ...]:
    """Names from the file, else numbers; both splits must agree."""
    siblings = [
        read_npz(other, ("labels", "class_names"))
        for other in (array_path(prefix, split) for split in SPLITS)
        if other != path and other.is_file()
    ]
    if "class_names" not in arrays:
        labels = [arrays["labels"], *(other["labels"] for other in siblings if "labels" in other)]
        largest = max(int(each.max(initial=0)) for each in labels if each.dtype.kind in "iu")
        try:
            return names_by_number(num_classes or largest + 1)
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error
    names = tuple(str(name) for name in arrays["class_names"].ravel())
    for other in siblings:
        ours = names if "labels" in other else tuple(map(str, arrays.get("mask_names", names)))
        theirs = tuple(str(name) for name in other.get("class_names", np.array(ours)).ravel())
        if theirs != ours:
            raise DataError(f"{path}: class_names differ between the train and the test file")
    return names
