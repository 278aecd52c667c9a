"""``saa-lite predict``: label every pixel of a folder of pictures with a trained segmenter.

For every picture ``overlays/NAME.png`` shows the classes over it, and ``masks/NAME.png`` holds
their numbers, with the same colours as its palette. Pictures that have both are passed over.
"""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from saa_lite.cli.options import resolve_device
from saa_lite.cli.output import show, stdout_for_json
from saa_lite.data.pictures import read_pictures
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.files import atomic_path, check_writable
from saa_lite.models import Segmenter, label_pixels
from saa_lite.recipes import Recipe
from saa_lite.train import load_checkpoint
from saa_lite.train.checkpoint import read_newest
from saa_lite.viz.segmentation import overlay, palette_of

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class Trained(NamedTuple):
    """A segmenter and what it was trained with."""

    model: Segmenter
    names: tuple[str, ...]
    mean: Sequence[float]
    std: Sequence[float]

    def masks(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """A picture, uint8 [H,W,3], and the class of each of its pixels, uint8 [H,W]."""
        pixels = read_pictures([path], None, path.name)[0]
        device = next(self.model.parameters()).device
        seen = pixels.to(device)
        if len(self.mean) == 1:
            seen = _grey(seen)
        found = label_pixels(self.model, seen, self.mean, self.std)
        return pixels.permute(1, 2, 0).numpy(), found.cpu().numpy()


def main(arguments: Namespace) -> int:
    """Write overlays and masks; print how much of each picture is which class."""
    if not 0 <= arguments.opacity <= 1:
        raise UsageError(f"--opacity must be from 0 to 1; got {arguments.opacity}")
    pictures = _pictures(arguments.images)
    folders = [arguments.out / kind for kind in ("overlays", "masks")]
    for folder in folders:
        check_writable(folder)
    trained = load_trained(arguments.run, resolve_device(arguments.device))
    rows = []
    with stdout_for_json(arguments.json):
        for picture in tqdm(pictures, unit="image", disable=arguments.quiet):
            paths = [folder / f"{picture.stem}.png" for folder in folders]
            if not all(path.is_file() for path in paths):
                _write(trained, picture, paths, arguments.opacity)
            rows.append(_row(picture, paths[1], trained.names))
    show(rows, as_json=arguments.json)
    return 0


def load_trained(folder: Path, device: str) -> Trained:
    """The segmenter that ``saa-lite train`` has left in a folder.

    Raises:
        UsageError: the folder holds no training of a segmenter.
        CheckpointError: its checkpoint is damaged.
    """
    try:
        recipe = Recipe.from_settings(json.loads((folder / "settings.json").read_text()))
        _, _, document = read_newest(folder)
    except (OSError, ValueError, TypeError, CheckpointError) as error:
        raise UsageError(f"--run {folder} is no training of saa-lite train: {error}") from error
    run = document["run"]
    if recipe.task != "segmentation":
        raise UsageError(f"--run {folder} was trained for {recipe.task}, not segmentation")
    model = recipe.network_for(len(run["names"]), tuple(run["image_shape"]))
    assert isinstance(model, Segmenter)
    load_checkpoint(folder, model)
    return Trained(model.eval().to(device), tuple(run["names"]), *run["normalization"])


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of pictures")
    found = sorted(f for f in folder.iterdir() if f.suffix.lower() in PICTURES)
    if not found:
        raise UsageError(f"{folder} holds no picture; allowed are {', '.join(PICTURES)}")
    stems = [picture.stem for picture in found]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise UsageError(f"{folder} has two pictures called {min(twice)}")
    return found


def _write(trained: Trained, picture: Path, paths: Sequence[Path], opacity: float) -> None:
    image, mask = trained.masks(picture)
    count = len(trained.names)
    numbers = Image.fromarray(mask, "P")
    numbers.putpalette(palette_of(count))
    shown = Image.fromarray(overlay(image, mask, count, opacity))
    for path, made in zip(paths, (shown, numbers), strict=True):
        with atomic_path(path) as temporary:
            made.save(temporary, format="PNG")


def _row(picture: Path, mask: Path, names: Sequence[str]) -> dict[str, str]:
    """Name, size and the classes in it, the largest first."""
    with Image.open(mask) as opened:
        numbers = np.asarray(opened)
    counts = np.bincount(numbers.ravel(), minlength=len(names))
    shares = [
        f"{names[i]} {counts[i] / numbers.size:.0%}" for i in np.argsort(-counts) if counts[i]
    ]
    height, width = numbers.shape
    return {"picture": picture.name, "size": f"{width}x{height}", "classes": ", ".join(shares)}


def _grey(pixels: Tensor) -> Tensor:
    """RGB uint8 [3,H,W] to one channel, for networks that were trained on grey images."""
    return pixels.float().mean(0, keepdim=True).round().byte()
