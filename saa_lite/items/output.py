"""Drawings on disk: the same records give the same bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

from saa_lite.files import atomic_path, write_text
from saa_lite.items.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 150


def save_drawing(drawing: "Figure | Table", stem: Path) -> list[Path]:
    """Write ``stem.svg`` and ``stem.png``, or ``stem.csv`` and ``stem.md`` for a table.

    A figure is closed afterwards. Dates and random ids are left out of the files, so drawing
    again from the same records changes nothing.
    """
    if isinstance(drawing, Table):
        texts = {".csv": drawing.to_csv(), ".md": drawing.to_markdown()}
        for suffix, text in texts.items():
            write_text(_with(stem, suffix), text)
        return [_with(stem, suffix) for suffix in texts]
    return _save_figure(drawing, stem)


def _save_figure(figure: "Figure", stem: Path) -> list[Path]:
    from matplotlib import pyplot, rc_context  # noqa: PLC0415  (slow to import)

    svg, png = _with(stem, ".svg"), _with(stem, ".png")
    with rc_context({"svg.hashsalt": stem.name, "path.simplify": True}):
        with atomic_path(svg) as path:
            figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        with atomic_path(png) as path:
            figure.savefig(path, format="png", dpi=PNG_DPI, metadata={"Software": None})
    pyplot.close(figure)
    return [svg, png]


def _with(stem: Path, suffix: str) -> Path:
    """Add a suffix, also to names that hold a dot."""
    return stem.with_name(stem.name + suffix)
