"""Handwritten digits that need no download, alone and in scenes.

**The handwritten digits that ship with scikit-learn: a small real set, no download.**

1,797 grey images of 8×8 pixels, 17 levels [UCI Optical Recognition of Handwritten Digits].

**``digit-scenes``: real handwritten digits on drawn grounds, each pixel labelled. No download.**

scikit-learn's 8×8 digits are scaled up by seed, coloured and pasted on a ground of one colour with
blurred spots and noise. Where digits overlap, the later one is on top. Training scenes show digits
of the training split alone, test scenes those of the test split. Mask 0 is the ground, 1 to 10
are the digits 0 to 9; a pixel belongs to a digit where half of it is ink.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.data.image_set import ImageSet
from saa_lite.data.seeds import generator_for
from saa_lite.errors import UsageError

TEST_IMAGES = 500
LEVELS = 16  # pixels are counts 0..16


def load_digits(split: str, size: int = 32) -> ImageSet:
    """The digits as uint8 [N, 1, size, size]; a fixed stratified split, 1,297 train and 500 test.

    The 8×8 pixels are scaled to ``size`` bilinearly.
    """
    # scikit-learn takes a second to import; only this set needs it.
    from sklearn import datasets, model_selection  # noqa: PLC0415

    pixels, labels = datasets.load_digits(return_X_y=True)
    train, test = model_selection.train_test_split(
        range(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=0
    )
    chosen = train if split == "train" else test
    images = torch.from_numpy(pixels[chosen]).reshape(-1, 1, 8, 8) * (255 / LEVELS)
    if size != 8:
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return ImageSet(
        name="digits",
        split=split,
        images=images.round().clamp(0, 255).to(torch.uint8),
        labels=torch.from_numpy(labels[chosen]).long(),
        class_names=tuple("0123456789"),
    )


SIDE = 64
COUNTS = {"train": 2_000, "test": 500}
MASK_NAMES = ("ground", *"0123456789")
STREAMS = {"train": 0, "test": 1}
MOST = 4  # digits in a scene; at least one
TRIES = 8  # places for a digit, of which the one that hides least is taken
HEIGHTS = (0.35, 0.65)  # of a digit, in units of the scene's
SPOTS = 6  # cells of the blurred ground in each direction
SHADE, NOISE = 0.35, 0.04  # strength of spots and of noise, pixels in 0..1
CONTRAST = 0.3  # least difference in luma between ink and ground
LUMA = (0.299, 0.587, 0.114)


def load_digit_scenes(
    split: str, *, size: int = SIDE, count: int | None = None, seed: int = 0
) -> ImageSet:
    """Draw a split: uint8 images [N, 3, size, size] and masks of 11 classes.

    Args:
        size: height and width; digits grow with it.
        count: number of scenes, 2,000 for training and 500 for tests unless given. A smaller set
            is the beginning of a larger one.
        seed: another seed is another draw.

    Raises:
        UsageError: no scene, or a size at which digits cannot be told.
    """
    count = COUNTS[split] if count is None else count
    if count < 1:
        raise UsageError(f"count must be 1 or more images; got {count}")
    if size < SIDE // 2:
        raise UsageError(f"size must be at least {SIDE // 2} pixels for digit-scenes; got {size}")
    digits = load_digits(split, 8)
    scenes = [_scene(digits, size, seed, STREAMS[split], i) for i in range(count)]
    images, masks, labels = (torch.stack(parts) for parts in zip(*scenes, strict=True))
    return ImageSet("digit-scenes", split, images, labels, digits.class_names, masks, MASK_NAMES)


@dataclass
class Canvas:
    """A scene in the making: pixels [3, size, size] in 0..1 and its mask."""

    pixels: Tensor
    mask: Tensor


def _scene(
    digits: ImageSet, size: int, seed: int, stream: int, index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Image, mask and the digit pasted first; a function of (seed, split, index)."""
    chance = generator_for(seed, stream, index)
    ground = torch.rand(3, generator=chance)
    spots = torch.rand(1, 1, SPOTS, SPOTS, generator=chance)
    shade = F.interpolate(spots, (size, size), mode="bicubic", align_corners=True)[0] - 0.5
    canvas = Canvas(
        ground[:, None, None] * (1 + SHADE * shade), torch.zeros(size, size, dtype=torch.uint8)
    )
    chosen = torch.randint(len(digits), (_number(chance, MOST),), generator=chance)
    for i in chosen:
        _paste(canvas, digits.images[i, 0].float() / 255, int(digits.labels[i]), ground, chance)
    noise = NOISE * torch.randn(3, size, size, generator=chance)
    pixels = ((canvas.pixels + noise) * 255).round().clamp(0, 255).byte()
    return pixels, canvas.mask, digits.labels[chosen[0]]


def _number(chance: torch.Generator, most: int) -> int:
    """1 to ``most``, uniformly."""
    return 1 + int(torch.randint(most, (), generator=chance))


def _ink(ground: Tensor, chance: torch.Generator) -> Tensor:
    """A colour [3] that is darker or lighter than the ground."""
    luma = torch.tensor(LUMA)
    while True:
        ink = torch.rand(3, generator=chance)
        if abs(float((ground - ink) @ luma)) > CONTRAST:
            return ink


def _paste(
    canvas: Canvas, digit: Tensor, label: int, ground: Tensor, chance: torch.Generator
) -> None:
    """Blend one digit, 8×8 of 0..1, into the canvas at a place that holds all of it."""
    size = canvas.mask.shape[0]
    low, high = (round(share * size) for share in HEIGHTS)
    tall = int(torch.randint(low, high + 1, (), generator=chance))
    wide = round(tall * float(0.75 + 0.4 * torch.rand((), generator=chance)))
    cover = F.interpolate(digit[None, None], (tall, wide), mode="bilinear")[0, 0]
    room = torch.tensor([size - tall + 1, size - wide + 1])
    places = (torch.rand(TRIES, 2, generator=chance) * room).long().tolist()
    windows = [(slice(top, top + tall), slice(left, left + wide)) for top, left in places]
    window = min(windows, key=lambda place: int((canvas.mask[place] > 0).sum()))
    under, ink = canvas.pixels[:, *window], _ink(ground, chance)
    canvas.pixels[:, *window] = torch.lerp(under, ink[:, None, None].expand_as(under), cover)
    canvas.mask[window][cover >= 0.5] = label + 1
