"""Chance, colour and canvas for the ``shapes`` set, in arithmetic that no platform changes.

Random numbers are raw words of Philox (a published counter-based generator), angles come from
a table rounded to 14 bits, and every other step is one float32 operation that IEEE 754 rounds
correctly (+ − × ÷ √ floor min max); sums have at most four terms, in a written order.
"""

import math

import numpy as np

from saa_lite.data.silhouettes import Field

TURN = 1024  # angles are multiples of 1/1024 turn
COSINE = np.round(np.cos(np.arange(TURN) * (2 * math.pi / TURN)) * 2**14).astype(np.float32) / 2**14
SINE = np.roll(COSINE, TURN // 4)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
DARKEST, BRIGHTEST = 0.1, 0.92  # luma of the palette
COLUMNS = 128  # random numbers set aside per scene
NOISE_STD = 147.8  # of a sum of four random bytes


class Chance:
    """Uniform numbers, one row per scene; each call takes the next columns."""

    def __init__(self, words: np.random.Philox, scenes: int) -> None:
        raw = words.random_raw(scenes * COLUMNS).reshape(scenes, COLUMNS)
        self._columns = iter(((raw >> 40).astype(np.float32) * np.float32(2**-24)).T)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Field:
        """float32 [n] in [low, high)."""
        return np.float32(low) + np.float32(high - low) * next(self._columns)

    def index(self, count: int) -> np.ndarray:
        """int64 [n] in 0 .. count − 1."""
        return np.floor(self.uniform(0, count)).astype(np.int64)

    def several(self, columns: int) -> Field:
        """float32 [n, columns] in [0, 1)."""
        return np.stack([self.uniform() for _ in range(columns)], axis=1)

    def turn(self, largest: float = 0.5) -> np.ndarray:
        """int64 [n], an angle in 1/1024 turns, up to ``largest`` turns to either side."""
        return np.floor(self.uniform(-largest, largest) * np.float32(TURN)).astype(np.int64) % TURN


class Canvas:
    """A batch of square pictures, float32 [n, 3, size, size] in 0..1, painted from back to front.

    Coordinates run from −1 (left, top) to 1 (right, bottom).
    """

    def __init__(self, scenes: int, size: int) -> None:
        self.size = size
        self.pixels = np.zeros((scenes, 3, size, size), dtype=np.float32)
        axis = (2 * np.arange(size, dtype=np.float32) + 1) / np.float32(size) - 1
        self.x, self.y = axis[None, None, :], axis[None, :, None]

    def frame(self, x: Field, y: Field, turn: np.ndarray, radius: Field) -> tuple[Field, Field]:
        """Coordinates [n, size, size] around (x, y), turned, in units of ``radius`` (each [n])."""
        cosine, sine = _spread(COSINE[turn] / radius), _spread(SINE[turn] / radius)
        right, down = self.x - _spread(x), self.y - _spread(y)
        return cosine * right + sine * down, cosine * down - sine * right

    def coverage(self, distance: Field, radius: Field, softness: float = 0.0) -> Field:
        """Share of each pixel inside, from the signed distance in units of ``radius`` [n].

        The edge is one pixel wide, or ``softness`` radii.
        """
        pixels = radius * np.float32(self.size / 2)
        slope = pixels if not softness else np.full_like(pixels, 1 / softness)
        return np.minimum(np.maximum(0.5 - distance * _spread(slope), 0.0), 1.0)

    def blend(self, cover: Field, colour: Field) -> None:
        """Paint ``colour`` [n, 3] (or [n, 3, size, size]) with opacity ``cover``."""
        target = colour if colour.ndim == 4 else colour[:, :, None, None]
        self.pixels += cover[:, None] * (target - self.pixels)


def colours(hue: Field, saturation: Field, luma: Field) -> Field:
    """RGB [n, 3] of a given luma: the pure hue, greyed, then mixed with black or white."""
    wheel = hue[:, None] + np.array([0, 2 / 3, 1 / 3], dtype=np.float32)
    pure = np.abs((wheel - np.floor(wheel)) * 6 - 3) - 1
    pure = np.minimum(np.maximum(pure, 0), 1)
    own = _luma(pure)[:, None]
    pure, luma = own + saturation[:, None] * (pure - own), luma[:, None]
    darker = pure * (luma / own)
    lighter = pure + (1 - pure) * ((luma - own) / (1 - own))
    return np.where(luma < own, darker, lighter)


def _luma(rgb: Field) -> Field:
    red, green, blue = (rgb[:, k] * np.float32(LUMA[k]) for k in range(3))
    return red + green + blue


def palette(chance: Chance, count: int, contrast: float) -> list[Field]:
    """``count`` colours [n, 3] whose lumas differ pairwise by ``contrast`` or more."""
    spare = BRIGHTEST - DARKEST - (count - 1) * contrast
    steps = np.arange(count, dtype=np.float32) * np.float32(contrast) + np.float32(DARKEST)
    lumas = np.sort(chance.several(count), axis=1) * np.float32(spare) + steps
    order = np.argsort(chance.several(count), axis=1, kind="stable")
    lumas = np.take_along_axis(lumas, order, axis=1)
    return [colours(chance.uniform(), chance.uniform(0.35, 1), lumas[:, k]) for k in range(count)]


def noise(shape: tuple[int, ...], words: np.random.Philox, std: float) -> Field:
    """Nearly Gaussian float32 noise of deviation ``std``: sums of four bytes, centred."""
    quads = math.prod(shape)
    raw = words.random_raw((quads + 1) // 2).astype("<u8").view(np.uint8)
    a, b, c, d = raw.reshape(-1, 4)[:quads].astype(np.int16).T
    return ((a + b + c + d - 510) * np.float32(std / NOISE_STD)).reshape(shape)


def _spread(values: Field) -> Field:
    """[n] as [n, 1, 1]."""
    return values[:, None, None]
