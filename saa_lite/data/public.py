"""Public sets by name, and a download that resumes and proves what it got.

Through torchvision: CIFAR-10/100, MNIST, Flowers-102 and Food-101. With masks: PASCAL VOC 2012,
whose test split is its official val, and Oxford-IIIT Pet, whose border between pet and background
nobody has labelled.

The network is touched only when ``download`` is asked for.
"""

import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from saa_lite.data.image_set import ImageSet, dealt
from saa_lite.data.mask_files import VOID_NAME, read_pairs
from saa_lite.data.pictures import read_pictures
from saa_lite.errors import DataError, UsageError

BLOCK = 1 << 16
TIMEOUT = 60  # seconds without a byte


def fetch(url: str, path: Path, md5: str) -> None:
    """Download ``url`` to ``path`` with a bar that says how long it will take.

    An interrupted download leaves ``path`` + ``.part`` and is continued by the next call; the
    file gets its name only once its MD5 checksum is right.

    Raises:
        DataError: no answer, a broken connection, or other bytes than expected.
    """
    if path.is_file() and _md5(path) == md5:
        return
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _continue(url, part)
    except OSError as error:  # urllib's and socket errors are OSErrors
        raise DataError(
            f"the download of {url} broke off ({error}); the same command continues it"
        ) from error
    if (found := _md5(part)) != md5:
        part.unlink()
        raise DataError(f"{url} gave a file with MD5 {found} instead of {md5}; it was deleted")
    os.replace(part, path)


def _continue(url: str, part: Path) -> None:
    """Append what is missing; servers that cannot resume send everything again."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is missing
            return
        raise
    with response:
        resumed = response.status == 206
        length = int(response.headers.get("Content-Length") or 0)
        have = have if resumed else 0
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=have + length or None, initial=have, unit="B", unit_scale=True) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            if length and bar.n < have + length:
                raise OSError(f"{have + length - bar.n} bytes are missing")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


Opener = Callable[[Path, bool, bool], list[Any]]  # (root, train, download) -> torchvision sets


def _datasets() -> Any:
    # torchvision takes a second to import; only sets on disk need it.
    from torchvision import datasets  # noqa: PLC0415

    return datasets


def _open_cifar(class_name: str) -> Opener:
    def open_set(root: Path, train: bool, download: bool) -> list[Any]:
        kind = getattr(_datasets(), class_name)
        if download and not (root / kind.base_folder).is_dir():
            # torchvision's own download cannot resume; it takes a complete archive as it is.
            mirror = os.environ.get("SAA_CIFAR_MIRROR")
            url = f"{mirror.rstrip('/')}/{kind.filename}" if mirror else kind.url
            fetch(url, root / kind.filename, kind.tgz_md5)
        return [kind(str(root), train=train, download=download)]

    return open_set


def _open_mnist(root: Path, train: bool, download: bool) -> list[Any]:
    return [_datasets().MNIST(str(root), train=train, download=download)]


def _open_flowers(root: Path, train: bool, download: bool) -> list[Any]:
    """Training uses the official train and val splits, 2,040 images, as transfer papers do."""
    splits = ("train", "val") if train else ("test",)
    return [_datasets().Flowers102(str(root), split=s, download=download) for s in splits]


def _open_food(root: Path, train: bool, download: bool) -> list[Any]:
    split = "train" if train else "test"
    return [_datasets().Food101(str(root), split=split, download=download)]


def _open_voc(root: Path, train: bool, download: bool) -> list[Any]:
    chosen = "train" if train else "val"
    return [_datasets().VOCSegmentation(str(root), image_set=chosen, download=download)]


def _open_pets(root: Path, train: bool, download: bool) -> list[Any]:
    split = "trainval" if train else "test"
    kind = _datasets().OxfordIIITPet
    return [kind(str(root), split=split, target_types="segmentation", download=download)]


PIXEL_SETS: dict[str, Opener] = {
    "cifar10": _open_cifar("CIFAR10"),
    "cifar100": _open_cifar("CIFAR100"),
    "mnist": _open_mnist,
}
PHOTO_SETS: dict[str, Opener] = {"flowers102": _open_flowers, "food101": _open_food}
MASK_SETS: dict[str, Opener] = {"voc2012": _open_voc, "oxford-pets": _open_pets}
PUBLIC = (*PIXEL_SETS, *PHOTO_SETS, *MASK_SETS)
VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
PET_NAMES = ("pet", "background", VOID_NAME)  # from 1 on


def load_public(
    name: str,
    split: str,
    root: Path,
    *,
    download: bool = False,
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Load one split; of photographs only ``count`` are decoded, and scaled to ``size`` at once.

    Raises:
        UsageError: a set of photographs without ``size``.
        DataError: the set is not in ``root``, damaged, or could not be downloaded.
    """
    if name not in PIXEL_SETS and size is None:
        raise UsageError(f"{name} holds photographs of many sizes: pass size=, such as size=160")
    opener = (PIXEL_SETS | PHOTO_SETS | MASK_SETS)[name]
    try:
        # torchvision prints while it unpacks; stdout is kept for results.
        with redirect_stdout(sys.stderr):
            parts = opener(root, split == "train", download)
    except DataError:
        raise
    except Exception as error:  # torchvision reports a missing or damaged set in many ways
        raise DataError(_missing(name, root, download, error)) from error
    if name in MASK_SETS:
        return _masked(name, split, parts[0], size=size, count=count, seed=seed)
    if name in PHOTO_SETS:
        return _photographs(name, split, parts, size=size, count=count, seed=seed)
    return _pixels(name, split, parts[0])


def _missing(name: str, root: Path, download: bool, error: Exception) -> str:
    if download:
        return f"{name} could not be downloaded to {root}: {error}"
    advice = (
        f"{name} was not found{_where(root)}: put {name}-train.npz and "
        f"{name}-test.npz there, point SAA_DATA_ROOT or --data-root at a folder that has the set, "
        "or fetch it with download=True (--download)"
    )
    if name.startswith("cifar"):
        advice += ", which may take an hour, since its host has been throttled since June 2026"
    return advice


def _where(root: Path) -> str:
    if not root.is_dir():
        return f", since there is no folder {root}"
    return f", or is damaged, in {root}" if any(root.iterdir()) else f" in the empty folder {root}"


def _pixels(name: str, split: str, part: Any) -> ImageSet:
    """CIFAR and MNIST: the arrays that torchvision holds in memory."""
    images = torch.as_tensor(np.asarray(part.data))
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(part.targets, dtype=torch.int64)
    return ImageSet(name, split, images, labels, tuple(part.classes))


def _photographs(
    name: str, split: str, parts: list[Any], *, size: int | None, count: int | None, seed: int
) -> ImageSet:
    """Flowers and Food: decode only the files of the subset."""
    labels = torch.tensor([label for part in parts for label in part._labels])
    files = [file for part in parts for file in part._image_files]
    chosen = dealt(labels, count, seed, f"{name} ({split})")
    images = read_pictures([files[i] for i in chosen], size, name)
    return ImageSet(name, split, images, labels[chosen], tuple(parts[0].classes))


def _masked(
    name: str, split: str, part: Any, *, size: int | None, count: int | None, seed: int
) -> ImageSet:
    """VOC and Pet: decode only the files of the subset."""
    names: tuple[str, ...]
    if name == "voc2012":
        pictures, masks, names, first = part.images, part.masks, VOC_NAMES, 0
    else:
        pictures, masks, names, first = part._images, part._segs, PET_NAMES, 1
    chosen = dealt(torch.zeros(len(pictures), dtype=torch.int64), count, seed, f"{name} ({split})")
    pairs = [(Path(pictures[i]), Path(masks[i])) for i in chosen]
    return read_pairs(pairs, name, split, names, size, first=first)
