"""The ten fill patterns of the ``shapes`` set: where the second colour goes.

Each function takes coordinates u, v and the silhouette's signed distance, float32 [n, H, W] in
units of the shape's radius, and returns the signed distance to the second colour, positive
inside it. The same arithmetic as in :mod:`~saa_lite.data.silhouettes`, for the same reason.
"""

from collections.abc import Callable

import numpy as np

from saa_lite.data.silhouettes import SQRT_HALF, Field, radius

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
