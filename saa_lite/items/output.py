"""Drawings and tables on disk: the same records give the same bytes.

An item draws a picture, or a :class:`Table`, which is written as ``.csv`` and ``.md``.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saa_lite.files import atomic_path, write_text


@dataclass(frozen=True)
class Table:
    """Column names and rows of ready-made text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_csv(self) -> str:
        """Comma-separated, one header line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """A Markdown table."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in cells)


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
