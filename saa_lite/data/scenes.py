"""Scenes of the ``shapes`` set: one object on a cluttered ground, and the mask of what is seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from saa_lite.data.fills import FILLS, SOFT
from saa_lite.data.paint import Canvas, Chance, colours, noise, palette
from saa_lite.data.seeds import mix
from saa_lite.data.silhouettes import SILHOUETTES, Field

CHUNK_PIXELS = 1 << 17  # pixels drawn at a time: keeps the working set in the cache


@dataclass(frozen=True)
class Difficulty:
    """What makes a scene hard to read. Lengths are in units of half the image.

    Attributes:
        noise: standard deviation of the pixel noise, in grey levels of 255.
        clutter: number of small items on the ground, 0..8.
        clutter_opacity: how strongly they are painted, at most, 0..1.
        contrast: smallest luma difference between ground, first and second colour, 0..0.4.
        occlusion: share of the scenes with a bar across the object.
        texture: share of the 10-class scenes whose object is not plain.
        rotation: largest turn to either side, in turns; 0.5 is any orientation.
        radius: smallest and largest radius of the object.
        shift: largest offset of the object's centre in each direction.
    """

    noise: float
    clutter: int
    clutter_opacity: float
    contrast: float
    occlusion: float
    texture: float
    rotation: float
    radius: tuple[float, float]
    shift: float


@dataclass(frozen=True)
class Place:
    """Where the objects are: centre and radius [n], and coordinates [n, size, size] around them."""

    x: Field
    y: Field
    radius: Field
    u: Field
    v: Field


def draw_scenes(
    count: int, size: int, num_classes: int, stream: int, difficulty: Difficulty
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield chunks of (images uint8 [n, 3, size, size], masks uint8 [n, size, size]).

    Scene i shows class ``i % num_classes`` and is the same whatever ``count``.
    """
    scene_words = np.random.Philox(key=mix(stream, 0))
    noise_words = np.random.Philox(key=mix(stream, 1))
    # An even chunk of pixels uses whole noise words, so chunks do not depend on `count`.
    step = max(1, CHUNK_PIXELS // size**2) * 2
    for start in range(0, count, step):
        labels = np.arange(start, min(start + step, count)) % num_classes
        canvas = Canvas(len(labels), size)
        masks = _compose(canvas, labels, num_classes, Chance(scene_words, len(labels)), difficulty)
        pixels = canvas.pixels * np.float32(255)
        pixels += noise(pixels.shape, noise_words, difficulty.noise)
        yield np.minimum(np.maximum(np.floor(pixels + 0.5), 0), 255).astype(np.uint8), masks


def _compose(
    canvas: Canvas, labels: np.ndarray, num_classes: int, chance: Chance, difficulty: Difficulty
) -> np.ndarray:
    """Paint ground, clutter, object and occluder, in this order; return the masks."""
    shape, fill = _shape_and_fill(labels, num_classes, chance, difficulty.texture)
    ground, first, second = palette(chance, 3, difficulty.contrast)
    _paint_ground(canvas, ground, chance)
    for _ in range(difficulty.clutter):
        _paint_clutter(canvas, chance, difficulty.clutter_opacity)
    place = _place(canvas, chance, difficulty)
    distance, share = _fields(canvas, place, shape, fill)
    cover = canvas.coverage(distance, place.radius)
    first, second = first[:, :, None, None], second[:, :, None, None]
    canvas.blend(cover, first + share[:, None] * (second - first))
    hidden = _paint_occluder(canvas, place, chance, difficulty.occlusion)
    families = (shape // 2 + 1).astype(np.uint8)[:, None, None]
    return np.where(cover * (1 - hidden) > 0.5, families, np.uint8(0))


def _shape_and_fill(
    labels: np.ndarray, num_classes: int, chance: Chance, texture: float
) -> tuple[np.ndarray, np.ndarray]:
    """Indices into SILHOUETTES and FILLS: the class says both (100) or the first alone (10)."""
    textured, pattern = chance.uniform() < texture, 1 + chance.index(len(FILLS) - 1)
    if num_classes == len(SILHOUETTES):
        return labels, np.where(textured, pattern, 0)
    return labels // len(FILLS), labels % len(FILLS)


def _paint_ground(canvas: Canvas, colour: Field, chance: Chance) -> None:
    """A linear run between two shades of the ground colour."""
    zero, one = np.zeros(len(colour), np.float32), np.ones(len(colour), np.float32)
    canvas.blend(canvas.x * 0 + canvas.y * 0 + one[:, None, None], colour)
    along, _ = canvas.frame(zero, zero, chance.turn(), one)
    shade = np.minimum(colour * chance.uniform(0.7, 1.3)[:, None], 1)
    canvas.blend(canvas.coverage(along, one, softness=2.0), shade)


def _paint_clutter(canvas: Canvas, chance: Chance, opacity: float) -> None:
    """A small disc or bar of any colour, anywhere."""
    width = chance.uniform(0.06, 0.2)
    x, y = chance.uniform(-1, 1), chance.uniform(-1, 1)
    u, v = canvas.frame(x, y, chance.turn(), width)
    # Half of the items are discs: bars of no length.
    half_length = np.maximum(chance.uniform(-4, 4), 0)[:, None, None]
    along = np.maximum(np.abs(u) - half_length, 0)
    cover = canvas.coverage(np.sqrt(along * along + v * v) - 1, width)
    strength = chance.uniform(opacity / 3, opacity)[:, None, None]
    canvas.blend(cover * strength, _any_colour(chance))


def _any_colour(chance: Chance) -> Field:
    return colours(chance.uniform(), chance.uniform(0.2, 1), chance.uniform(0.1, 0.9))


def _place(canvas: Canvas, chance: Chance, difficulty: Difficulty) -> Place:
    x, y = (chance.uniform(-difficulty.shift, difficulty.shift) for _ in range(2))
    radius = chance.uniform(*difficulty.radius)
    return Place(x, y, radius, *canvas.frame(x, y, chance.turn(difficulty.rotation), radius))


def _fields(
    canvas: Canvas, place: Place, shape: np.ndarray, fill: np.ndarray
) -> tuple[Field, Field]:
    """Signed distance to the outline, and share of the second colour, both [n, size, size]."""
    u, v = place.u, place.v
    distance, share = np.empty_like(u), np.empty_like(u)
    for index, silhouette in enumerate(SILHOUETTES.values()):
        chosen = shape == index
        distance[chosen] = silhouette(u[chosen], v[chosen])
    for index, (name, pattern) in enumerate(FILLS.items()):
        chosen = fill == index
        to_second = -pattern(u[chosen], v[chosen], distance[chosen])
        share[chosen] = canvas.coverage(to_second, place.radius[chosen], SOFT.get(name, 0.0))
    return distance, share


def _paint_occluder(canvas: Canvas, place: Place, chance: Chance, probability: float) -> Field:
    """In some scenes a straight bar across the object; returns its coverage [n, size, size]."""
    _, v = canvas.frame(place.x, place.y, chance.turn(), place.radius)
    offset, half_width = chance.uniform(-0.6, 0.6), chance.uniform(0.08, 0.18)
    distance = np.abs(v - offset[:, None, None]) - half_width[:, None, None]
    present = (chance.uniform() < probability)[:, None, None]
    cover = canvas.coverage(distance, place.radius) * present
    canvas.blend(cover, _any_colour(chance))
    return cover
