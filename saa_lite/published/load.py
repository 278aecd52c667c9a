"""Reading and checking the tables of published numbers."""

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from saa_lite.errors import RecordError
from saa_lite.files import PACKAGE

COLUMNS = ("item", "row", "column", "value", "unit", "setting", "locator", "note")
REQUIRED = ("item", "row", "locator")
RELATED = "related"


@dataclass(frozen=True)
class PublishedNumber:
    """One printed number.

    ``printed`` keeps its digits as printed; it is empty where the source shows something without
    a number. ``row`` and ``column`` name its cell, ``locator`` the place in the paper, ``note``
    any contradiction in the source. ``source`` is the item's source, or "related".
    """

    item: str
    row: str
    column: str
    printed: str
    unit: str
    setting: str
    locator: str
    note: str
    source: str

    @property
    def value(self) -> float | None:
        """The number in ``unit``; None where nothing is printed."""
        return float(self.printed) if self.printed else None

    @property
    def related(self) -> bool:
        """Whether another publication prints it."""
        return self.source == RELATED


def published_sources() -> list[str]:
    """Names of the tables, ``related`` last."""
    names = [path.stem for path in (PACKAGE / "published").glob("*.csv")]
    return sorted(names, key=lambda name: (name == RELATED, name))


def load_published(item_id: str, *, related: bool = False) -> list[PublishedNumber]:
    """Numbers that the sources print for an item, in printed order.

    Args:
        item_id: e.g. ``"shiftaddaug-supp/tab2"``; an id without numbers gives an empty list.
        related: add the numbers of other publications (``number.related``) behind them.
    """
    sources = [name for name in published_sources() if related or name != RELATED]
    numbers = [number for name in sources for number in _cached(name)]
    return [n for n in numbers if n.item == item_id and n.printed]


def find_published(item_id: str, row: str, column: str) -> PublishedNumber:
    """One cell, so that prose can quote a number without typing it again.

    Raises:
        RecordError: the tables hold no such cell.
    """
    for number in load_published(item_id, related=True):
        if (number.row, number.column) == (row, column):
            return number
    raise RecordError(f"{item_id} has no published number in row {row!r}, column {column!r}")


def described_items() -> set[str]:
    """Items that the sources' tables mention, with a number or with the word that there is none."""
    sources = [name for name in published_sources() if name != RELATED]
    return {number.item for name in sources for number in _cached(name)}


@cache
def _cached(source: str) -> tuple[PublishedNumber, ...]:
    return tuple(load_table(PACKAGE / "published" / f"{source}.csv"))


def load_table(path: Path) -> list[PublishedNumber]:
    """All rows of one table, those without a number included.

    Raises:
        RecordError: a row does not fit the schema; the message names file and line.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines(), strict=True))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"cannot read {path}: {error}") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise RecordError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}")
    numbers: list[PublishedNumber] = []
    cells: set[tuple[str, str, str]] = set()
    for count, line in enumerate(lines[1:], start=2):
        number = _parse(line, path.stem, f"{path}, line {count}")
        cell = (number.item, number.row, number.column)
        if cell in cells:
            raise RecordError(f"{path}, line {count}: a second number for {' / '.join(cell)}")
        cells.add(cell)
        numbers.append(number)
    return numbers


def _parse(line: list[str], source: str, where: str) -> PublishedNumber:
    if len(line) != len(COLUMNS):
        raise RecordError(f"{where}: {len(COLUMNS)} columns expected, {len(line)} found")
    cells = dict(zip(COLUMNS, line, strict=True))
    for name in REQUIRED:
        if not cells[name]:
            raise RecordError(f"{where}: {name} is empty")
    if source not in (RELATED, cells["item"].partition("/")[0]):
        raise RecordError(f"{where}: item {cells['item']!r} belongs to another source")
    printed = cells.pop("value")
    if printed and not (_is_number(printed) and cells["unit"]):
        raise RecordError(f"{where}: value must be a number with a unit; got {printed!r}")
    return PublishedNumber(**cells, printed=printed, source=source)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
