"""A table that an item draws instead of a picture, written as ``.csv`` and ``.md``."""

import csv
import io
from dataclasses import dataclass


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
