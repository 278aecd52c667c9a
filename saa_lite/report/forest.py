"""Forest plots of the scorecard's rows, for notebooks and for ``figures/<source>/forest.*``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from saa_lite.items.registry import find_item
from saa_lite.records import Record
from saa_lite.report.protocols import NOT_YET, YES
from saa_lite.report.scorecard import CONTRAST, EXPLORATION, SOURCE, item_judgements, judgements
from saa_lite.report.verdict import ONE_NETWORK, Judgement

if TYPE_CHECKING:  # matplotlib takes half a second
    from matplotlib.figure import Figure

    from saa_lite.viz.forest import Line

BY_EYE = "exploration, no verdict"
NOT_HERE = "not testable here"


def forest(item_id: str, records: list[Record] | None = None) -> "Figure":
    """One line per row of an item that has a number: what was measured, what is printed.

    Exact checks have no interval and are no part of it.

    Args:
        records: instead of all tracked ones, such as those of one data set.

    Raises:
        UsageError: no such item, or it has no such number.
    """
    found = item_judgements(item_id, records)
    rows = [row for table in (SOURCE, CONTRAST, EXPLORATION) for row in found.get(table, ())]
    return _drawn(rows, f"{find_item(item_id).title} ({item_id})")


def source_forest(source: str) -> "Figure | None":
    """The statements of one source; None where there is no number of any."""
    rows = judgements([source])[SOURCE]
    measured = any(row.estimate for row in rows)
    return _drawn(rows, f"Statements of {source}") if measured else None


def lines(rows: Iterable[Judgement]) -> "list[Line]":
    """Rows as lines of the plot; those without a number are left out."""
    from saa_lite.viz.forest import Line  # noqa: PLC0415

    return [
        Line(
            row.text,
            _state(row),
            row.estimate.unit if row.estimate else row.unit,
            row.estimate.mean if row.estimate else None,
            row.estimate.interval if row.estimate else None,
            row.size if row.estimate is None or row.estimate.unit == row.unit else None,
            row.estimate.reference if row.estimate else 0.0,
            _note(row),
        )
        for row in rows
        if row.estimate is not None or row.size is not None
    ]


def _drawn(rows: Iterable[Judgement], title: str) -> "Figure":
    from saa_lite.viz.forest import forest_figure  # noqa: PLC0415

    return forest_figure(lines(rows), title)


def _state(row: Judgement) -> str:
    if row.claim is not None and row.claim.table == EXPLORATION:
        return BY_EYE
    if row.testable in (YES, ONE_NETWORK):
        return row.verdict
    return NOT_HERE


def _note(row: Judgement) -> str:
    """Seeds, and why there is no verdict."""
    seeds = f"n = {row.seeds}" if row.seeds else ""
    if row.testable == ONE_NETWORK:
        return "one network, by images"
    if row.testable == NOT_YET:
        return row.verdict
    no = row.testable.removeprefix("no: ") if row.testable.startswith("no") else ""
    return ", ".join(filter(None, (seeds, no)))
