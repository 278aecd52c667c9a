"""A figure as a picture: quickly for a live panel, small for a notebook, smaller for a web page.

All have more than one dot a pixel, so that they are sharp on HiDPI screens.
"""

import io
from pathlib import Path
from typing import Any

from matplotlib import figure as plain
from PIL import Image

DOTS = 2  # for each of a figure's own
PALETTE = 255  # colours of a stored picture
PAGE_DPI = 150
WEBP = {"quality": 70, "method": 6}


class Figure(plain.Figure):
    """matplotlib's, as notebooks store it by :func:`sharp`."""

    def _ipython_display_(self) -> None:
        """Called by IPython, before the formatter that ``%matplotlib inline`` sets for figures."""
        from IPython.display import display  # noqa: PLC0415  (absent where there is no notebook)

        data, size = sharp(self, bbox_inches="tight")  # as that formatter cuts them
        shown = {"image/png": data, "text/plain": repr(self)}
        display(shown, metadata={"image/png": size}, raw=True)


def sharp(figure: plain.Figure, **options: Any) -> tuple[bytes, dict[str, int]]:
    """PNG in few colours, and the width and height at which a page shows it.

    In a palette it takes fewer bytes than in all colours with one dot a pixel.

    Args:
        figure: any of matplotlib's.
        options: of ``savefig``.
    """
    stored = io.BytesIO()
    with Image.open(io.BytesIO(png(figure, **options))) as picture:
        few = picture.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    few.save(stored, "png", optimize=True)
    width, height = few.size
    return stored.getvalue(), {"width": width // DOTS, "height": height // DOTS}


def png(figure: plain.Figure, **options: Any) -> bytes:
    """PNG in all colours: it takes a tenth of the time that a palette takes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS * figure.dpi, **options)
    return buffer.getvalue()


def save_webp(figure: plain.Figure, path: Path) -> None:
    """A file for a web page, some ten kilobytes."""
    figure.savefig(path, format="webp", dpi=PAGE_DPI, pil_kwargs=WEBP)
