"""Masks as colours: laid over their image, or as a picture with a palette.

The first class, mostly the ground, stays without colour in overlays, and so does ``VOID``. The
others take the colours of every figure, light and dark in turn where there are more classes than
those: twenty can be told apart by eye, more cannot in any palette.
"""

import numpy as np
from matplotlib.colors import to_rgb

from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError
from saa_lite.viz.style import CYCLE

VOID_COLOUR = (0, 0, 0)


def class_colours(count: int) -> np.ndarray:
    """uint8 [count, 3]: grey for the first class, then a colour for each."""
    colours = [np.array(to_rgb("#808080"))]
    for number in range(count - 1):
        turn, place = divmod(number, len(CYCLE))
        base = np.array(to_rgb(CYCLE[place]))
        colours.append(base * 0.6 ** (turn % 2) + (0.35 * (1 - base) if turn % 3 == 2 else 0))
    return np.rint(255 * np.clip(colours[:count], 0, 1)).astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray, count: int, opacity: float = 0.5) -> np.ndarray:
    """An image under the colours of its mask, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3] or grey [H, W].
        mask: classes of ``0 .. count - 1``, or ``VOID``, [H, W].
        opacity: of the colours, from 0 to 1.

    Raises:
        UsageError: another size, or an opacity out of range.
    """
    if not 0 <= opacity <= 1:
        raise UsageError(f"opacity must be from 0 to 1; got {opacity}")
    shown = np.repeat(image[:, :, None], 3, 2) if image.ndim == 2 else image
    if shown.shape[:2] != mask.shape:
        raise UsageError(
            f"image and mask must have one size; got {shown.shape[:2]} and {mask.shape}"
        )
    table = np.zeros((VOID + 1, 3), np.float64)
    table[:count] = class_colours(count)
    share = opacity * ((mask != 0) & (mask != VOID))[:, :, None]
    return np.rint((1 - share) * shown + share * table[mask]).astype(np.uint8)


def palette_of(count: int) -> list[int]:
    """256 colours in a row, as Pillow's ``putpalette`` takes them."""
    colours = np.zeros((VOID + 1, 3), np.uint8)
    colours[:count] = class_colours(count)
    colours[VOID] = VOID_COLOUR
    return [int(value) for value in colours.ravel()]
