"""Folders of pictures: ``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png``.

Classes are the sub-folders in alphabetical order and files are found as by torchvision's
``ImageFolder``: recursively, by the usual extensions; but files and folders whose names begin with
a dot (``._x.png``, ``.ipynb_checkpoints``) are other programs' notes, and passed over. What becomes
of pixels, transparency and EXIF orientation says :mod:`saa_lite.data.pictures`.
"""

from pathlib import Path

import torch

from saa_lite.data.image_set import ImageSet, dealt
from saa_lite.data.pictures import read_pictures
from saa_lite.errors import DataError


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
