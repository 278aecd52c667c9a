"""A figure as a picture: quickly for a live panel, small for a notebook, smaller for a web page.

All have more than one dot a pixel, so that they are sharp on HiDPI screens.
"""

import io
from pathlib import Path
from typing import Any

from matplotlib import figure as plain
from PIL import Image, ImageChops, ImageStat

DOTS = 2  # for each of a figure's own
PALETTES = (64, 128, 255)  # colours of a stored picture
MISSED = 3.5  # of 255, root mean square: the fewest colours that miss no more are enough
PAGE_DPI = 150
WEBP = {"quality": 70, "method": 6}


class Figure(plain.Figure):
    """matplotlib's, as notebooks store it by :func:`sharp`.

    Attributes:
        dots: for each of its own; photographs need no second one, and it triples their bytes.
    """

    dots: float = DOTS

    def _ipython_display_(self) -> None:
        """Called by IPython, before the formatter that ``%matplotlib inline`` sets for figures."""
        from IPython.display import display  # noqa: PLC0415  (absent where there is no notebook)

        data, size = sharp(self, bbox_inches="tight")  # as that formatter cuts them
        shown = {"image/png": data, "text/plain": repr(self)}
        display(shown, metadata={"image/png": size}, raw=True)


def sharp(figure: plain.Figure, **options: Any) -> tuple[bytes, dict[str, int]]:
    """PNG in few colours, and the width and height at which a page shows it.

    In a palette it takes fewer bytes than in all colours with one dot a pixel. A drawing of lines
    needs fewer colours than a photograph.

    Args:
        figure: any of matplotlib's.
        options: of ``savefig``.
    """
    stored = io.BytesIO()
    with Image.open(io.BytesIO(png(figure, **options))) as picture:
        few = in_few_colours(picture.convert("RGB"))
    few.save(stored, "png", optimize=True)
    dots = getattr(figure, "dots", DOTS)
    width, height = (round(length / dots) for length in few.size)
    return stored.getvalue(), {"width": width, "height": height}


def in_few_colours(picture: Image.Image) -> Image.Image:
    """The picture in a palette, the smallest of PALETTES by which no more than MISSED is lost."""
    for colours in PALETTES:
        few = picture.quantize(colours, dither=Image.Dither.NONE)
        difference = ImageChops.difference(picture, few.convert("RGB"))
        if max(ImageStat.Stat(difference).rms) <= MISSED:
            break
    return few


def png(figure: plain.Figure, **options: Any) -> bytes:
    """PNG in all colours: it takes a tenth of the time that a palette takes."""
    buffer = io.BytesIO()
    dots = getattr(figure, "dots", DOTS)
    figure.savefig(buffer, format="png", dpi=dots * figure.dpi, **options)
    return buffer.getvalue()


def save_webp(figure: plain.Figure, path: Path) -> None:
    """A file for a web page, some ten kilobytes."""
    figure.savefig(path, format="webp", dpi=PAGE_DPI, pil_kwargs=WEBP)
