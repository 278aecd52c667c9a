"""Rows of text as aligned columns or as Markdown."""

from collections.abc import Mapping, Sequence

from saa_lite.items.output import Table

Row = Mapping[str, object]


def text_table(rows: Sequence[Row]) -> str:
    """Columns aligned by spaces, for a terminal; the keys of the first row are the header."""
    if not rows:
        return "(nothing)"
    lines = [list(rows[0]), *([cell_text(cell) for cell in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def markdown_table(rows: Sequence[Row]) -> str:
    """A Markdown table; the keys of the first row are the header."""
    if not rows:
        return "(nothing)\n"
    body = tuple(tuple(cell_text(cell) for cell in row.values()) for row in rows)
    return Table(tuple(rows[0]), body).to_markdown()


def cell_text(cell: object) -> str:
    """Text of a cell; None is a dash, so that a missing number is seen to be missing."""
    return "—" if cell is None or cell == "" else str(cell)
