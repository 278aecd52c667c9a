"""One door to every image set: :func:`load_dataset`."""

import os
from pathlib import Path
from typing import Any

from saa_lite.data.arrays import SPLITS, array_path, load_arrays
from saa_lite.data.digits import SIDE, load_digit_scenes, load_digits
from saa_lite.data.folders import load_folder
from saa_lite.data.image_set import ImageSet
from saa_lite.data.mask_files import load_mask_folder
from saa_lite.data.pictures import resize_set
from saa_lite.data.public import PUBLIC, load_public
from saa_lite.data.shapes import load_shapes
from saa_lite.errors import UsageError, check_choice
from saa_lite.files import folder_named, project_root

EMBEDDED = ("shapes", "digits", "digit-scenes")
LARGEST = 1024  # pixels


def list_datasets() -> list[str]:
    """The names that :func:`load_dataset` knows, besides ``folder:`` and ``arrays:`` paths."""
    return [*EMBEDDED, *PUBLIC]


def data_root(root: str | Path | None = None) -> Path:
    """Where data sets lie: ``root``, else ``SAA_DATA_ROOT``, else the project's ``data``.

    Raises:
        UsageError: it is a file.
    """
    folder = Path(root or os.environ.get("SAA_DATA_ROOT") or project_root() / "data").expanduser()
    return folder_named("the data root (root=, --data-root or SAA_DATA_ROOT)", folder)


def dataset_in(folder: Path) -> str:
    """The name by which :func:`load_dataset` knows what lies in a folder.

    That is ``masks:``, ``folder:``, or ``arrays:`` of the one pair of files in it.

    Raises:
        UsageError: none of them, or several pairs.
    """
    if (folder / "train" / "masks").is_dir():
        return f"masks:{folder}"
    prefixes = sorted(str(f).removesuffix("-train.npz") for f in folder.glob("*-train.npz"))
    if len(prefixes) == 1:
        return f"arrays:{prefixes[0]}"
    if prefixes:
        names = ", ".join(Path(prefix).name for prefix in prefixes)
        raise UsageError(
            f"{folder} holds several sets, {names}; name one with --dataset arrays:PREFIX"
        )
    if (folder / "train").is_dir():
        return f"folder:{folder}"
    raise UsageError(
        f"{folder} must hold train/images and train/masks, train/CLASS folders, or a pair "
        "NAME-train.npz and NAME-test.npz"
    )


def load_dataset(
    name: str,
    split: str = "train",
    *,
    root: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
    num_classes: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Load one split of an image set into memory.

    Args:
        name: one of :func:`list_datasets`; ``"folder:PATH"`` for ``PATH/train/CLASS/*.png`` and
            ``PATH/test/…``; ``"masks:PATH"`` for pictures with masks
            (:mod:`saa_lite.data.mask_files`); ``"arrays:PREFIX"`` for ``PREFIX-train.npz`` and
            ``PREFIX-test.npz``; or any NAME with such a pair in ``root``, where a pair comes before
            torchvision's copy.
        split: ``"train"`` or ``"test"``.
        root: folder of the sets on disk; see :func:`data_root`.
        download: fetch a public set that is not there; nothing else touches the network.
        size: height and width of the images; default is the set's own size (32 for ``shapes``
            and ``digits``, 64 for ``digit-scenes``). Other than square images lose their longer
            sides.
        num_classes: 10 or 100 chooses the variant of ``shapes``; for plain arrays without
            ``class_names`` it sets the number; elsewhere it must be the set's own.
        count: a class-balanced subset (:meth:`ImageSet.subset`); for ``shapes`` and
            ``digit-scenes``, how many to draw.
        seed: of the subset; of those two, of the drawing.

    Raises:
        UsageError: a wrong name, split or number.
        DataError: the set is missing, truncated, mislabelled or unreadable.
    """
    check_choice("split", split, SPLITS)
    if size is not None and not 1 <= size <= LARGEST:
        raise UsageError(f"size must be 1..{LARGEST} pixels; got {size}")
    if name == "shapes":
        return load_shapes(
            split, size=size or 32, num_classes=num_classes or 10, count=count, seed=seed
        )
    if name == "digit-scenes":
        scenes = load_digit_scenes(split, size=size or SIDE, count=count, seed=seed)
        return _fit(scenes, None, num_classes, None, seed)
    stored = data_root(root)  # a wrong one is told even where the set comes with the package
    some: dict[str, Any] = {"size": size, "count": count, "seed": seed}
    if name == "digits":
        found = load_digits(split, size or 32)
    else:
        found = _stored(name, split, stored, num_classes, download, some)
    return _fit(found, size, num_classes, count, seed)


def _stored(
    name: str,
    split: str,
    stored: Path,
    num_classes: int | None,
    download: bool,
    some: dict[str, Any],
) -> ImageSet:
    """A set on disk.

    Args:
        stored: folder of the sets.
        some: size, count and seed. Sets of many files read only the ``count`` pictures asked for,
            scaled while they are read.
    """
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return load_folder(Path(path).expanduser(), split, **some)
    if kind == "masks" and path:
        return load_mask_folder(Path(path).expanduser(), split, **some)
    if kind == "arrays" and path:
        return load_arrays(Path(path).expanduser(), split, num_classes)
    if _has_arrays(stored / name, split, name):
        return load_arrays(stored / name, split, num_classes)
    if name in PUBLIC:
        return load_public(name, split, stored, download=download, **some)
    raise _unknown(name, stored)


def _has_arrays(prefix: Path, split: str, name: str) -> bool:
    """A public set needs the very split, another set either: the missing file is then named."""
    splits = (split,) if name in PUBLIC else SPLITS
    return any(array_path(prefix, each).is_file() for each in splits)


def _fit(
    found: ImageSet, size: int | None, num_classes: int | None, count: int | None, seed: int
) -> ImageSet:
    """Check the number of classes, take the subset, scale."""
    if num_classes not in (None, found.num_classes):
        raise UsageError(
            f"{found.name} has {found.num_classes} classes; got num_classes={num_classes}"
        )
    if count is not None and count != len(found):
        found = found.subset(count, seed)
    return found if size is None else resize_set(found, size)


def _unknown(name: str, root: Path) -> UsageError:
    listed = ", ".join(list_datasets())
    return UsageError(
        f"unknown data set {name!r}; allowed are {listed}, folder:PATH, masks:PATH, arrays:PREFIX, "
        f"or a NAME with NAME-train.npz in {root}"
    )
