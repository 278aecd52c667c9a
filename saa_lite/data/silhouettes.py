"""The ten silhouettes of the ``shapes`` set, as signed distances.

Each function takes coordinates u (right) and v (down), float32 [n, H, W], in units of the
shape's radius, and returns the distance to the outline in the same units: negative inside,
exact near the edges, a lower bound outside corners. Only + − × ÷ √ | | min max are used, which
IEEE 754 rounds alike everywhere, so pixels do not depend on the platform.
"""

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
