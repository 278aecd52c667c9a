"""The ``shapes`` set, drawn by seed: silhouettes, fills and paint.

**The ten silhouettes of the ``shapes`` set, as signed distances.**

Each function takes coordinates u (right) and v (down), float32 [n, H, W], in units of the
shape's radius, and returns the distance to the outline in the same units: negative inside,
exact near the edges, a lower bound outside corners. Only + − × ÷ √ | | min max are used, which
IEEE 754 rounds alike everywhere, so pixels do not depend on the platform.

**The ten fill patterns of the ``shapes`` set: where the second colour goes.**

Each function takes coordinates u, v and the silhouette's signed distance, float32 [n, H, W] in
units of the shape's radius, and returns the signed distance to the second colour, positive
inside it. The same arithmetic, for the same reason.

**Chance, colour and canvas for the ``shapes`` set, in arithmetic that no platform changes.**

Random numbers are raw words of Philox (a published counter-based generator), angles come from
a table rounded to 14 bits, and every other step is one float32 operation that IEEE 754 rounds
correctly (+ − × ÷ √ floor min max); sums have at most four terms, in a written order.
"""

import math
from collections.abc import Callable

import numpy as np

Field = np.ndarray
SQRT_HALF = 0.7071067811865476
COS36, SIN36 = 0.8090169943749475, 0.5877852522924731
STAR_TIP, STAR_NOTCH = 1.08, 0.5  # radius of the tips; of the notches, as a share of the tips
COS30 = 0.8660254037844386


def radius(u: Field, v: Field) -> Field:
    return np.sqrt(u * u + v * v)


def circle(u: Field, v: Field) -> Field:
    return radius(u, v) - 0.88


def ring(u: Field, v: Field) -> Field:
    return np.abs(radius(u, v) - 0.68) - 0.29


def semicircle(u: Field, v: Field) -> Field:
    v = v - 0.45
    return np.maximum(radius(u, v) - 1.0, v)


def crescent(u: Field, v: Field) -> Field:
    return np.maximum(radius(u, v) - 0.98, 0.78 - radius(u - 0.5, v))


def triangle(u: Field, v: Field) -> Field:
    v = v - 0.2
    return np.maximum(np.abs(u) * COS30 - v * 0.5, v) - 0.55


def square(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u), np.abs(v)) - 0.78


def star(u: Field, v: Field) -> Field:
    """Five points, folded onto one edge by two mirrors (Quilez, "2D distance functions")."""
    u, v = np.abs(u), -v
    for side in (1.0, -1.0):
        beyond = 2.0 * np.maximum(side * COS36 * u - SIN36 * v, 0.0)
        u, v = u - beyond * (side * COS36), v + beyond * SIN36
    u, v = np.abs(u), v - STAR_TIP
    edge_u, edge_v = STAR_NOTCH * SIN36, STAR_NOTCH * COS36 - 1.0
    along = (u * edge_u + v * edge_v) * (1.0 / (edge_u * edge_u + edge_v * edge_v))
    along = np.minimum(np.maximum(along, 0.0), STAR_TIP)
    outside = np.where(v * edge_u < u * edge_v, -1.0, 1.0).astype(u.dtype)
    return radius(u - along * edge_u, v - along * edge_v) * outside


def cross(u: Field, v: Field) -> Field:
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(u, v) - 0.3, np.maximum(u, v) - 0.95)


def heart(u: Field, v: Field) -> Field:
    """A square standing on its corner, and a disc on each of its upper sides."""
    u, v = np.abs(u), v - 0.06
    corner = (u + np.abs(v) - 0.8) * SQRT_HALF
    return np.minimum(corner, radius(u - 0.4, v + 0.4) - 0.8 * SQRT_HALF)


def arrow(u: Field, v: Field) -> Field:
    u = np.abs(u)
    head = np.maximum((u - v - 0.95) * SQRT_HALF, v)
    # The shaft reaches into the head: where two outlines touch, a seam would show.
    shaft = np.maximum(u - 0.27, np.abs(v - 0.3) - 0.65)
    return np.minimum(head, shaft)


SILHOUETTES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": circle,
    "ring": ring,
    "semicircle": semicircle,
    "crescent": crescent,
    "triangle": triangle,
    "square": square,
    "star": star,
    "cross": cross,
    "heart": heart,
    "arrow": arrow,
}


NOWHERE = -1e3  # far from every pixel


def wave(x: Field, period: float) -> Field:
    """Signed distance to alternate bands of width ``period / 2``; a band is centred on 0."""
    phase = x * (1.0 / period)
    return period * (0.25 - np.abs(phase - np.floor(phase + 0.5)))


def plain(u: Field, v: Field, distance: Field) -> Field:
    return np.full_like(u, NOWHERE)


def striped(u: Field, v: Field, distance: Field) -> Field:
    return wave(u, 0.6)


def checked(u: Field, v: Field, distance: Field) -> Field:
    a, b = wave(u + 0.25, 1.0), wave(v + 0.25, 1.0)
    return np.maximum(np.minimum(a, b), np.minimum(-a, -b))


def dotted(u: Field, v: Field, distance: Field) -> Field:
    period = 0.56
    return 0.17 - radius(*(x - period * np.floor(x * (1.0 / period) + 0.5) for x in (u, v)))


def ringed(u: Field, v: Field, distance: Field) -> Field:
    return wave(radius(u, v), 0.5)


def rayed(u: Field, v: Field, distance: Field) -> Field:
    """Eight sectors, alternating across the lines u = 0, v = 0, u = v and u = −v."""
    rising, falling = (u - v) * SQRT_HALF, (u + v) * SQRT_HALF
    nearest = np.minimum(
        np.minimum(np.abs(u), np.abs(v)), np.minimum(np.abs(rising), np.abs(falling))
    )
    odd = (u < 0) ^ (v < 0) ^ (rising < 0) ^ (falling < 0)
    return np.where(odd, -nearest, nearest)


def halved(u: Field, v: Field, distance: Field) -> Field:
    return u


def bordered(u: Field, v: Field, distance: Field) -> Field:
    return distance + 0.16


def gridded(u: Field, v: Field, distance: Field) -> Field:
    return np.maximum(wave(u, 0.64), wave(v, 0.64)) - 0.09


def shaded(u: Field, v: Field, distance: Field) -> Field:
    """A linear run from the first colour to the second: the ``SOFT`` entry widens the edge."""
    return u


FILLS: dict[str, Callable[[Field, Field, Field], Field]] = {
    "plain": plain,
    "striped": striped,
    "checked": checked,
    "dotted": dotted,
    "ringed": ringed,
    "rayed": rayed,
    "halved": halved,
    "bordered": bordered,
    "gridded": gridded,
    "shaded": shaded,
}
SOFT = {"shaded": 1.6}  # width of the transition, in radii; all others change within one pixel


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
