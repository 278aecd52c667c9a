"""The scorecard, from published numbers, protocols and tracked records alone.

Four tables: statements of the sources, contrasts of protocols that are none, exact checks, and
explorations of ours. Published and measured numbers stand in different columns, always, and so do
"can it be tested here?" and the verdict. What does not fit here is in
:mod:`saa_lite.report.pages`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saa_lite.items.claims import CLAIMS, SOURCES
from saa_lite.items.registry import Item, find_item, item_rows, list_items
from saa_lite.protocols import list_protocols, load_protocol
from saa_lite.records import Record, measured_records
from saa_lite.report.protocols import NOT_YET, VERDICTS, YES, Judged, judge_item
from saa_lite.report.tables import markdown_table, text_table
from saa_lite.report.verdict import (
    FAILS,
    HOLDS,
    ONE_NETWORK,
    Judgement,
    judge,
    judge_contrast,
)

Rows = list[dict[str, Any]]
Tables = dict[str, list[Judgement]]
SOURCE, CONTRAST, CHECK, EXPLORATION = "source", "contrast", "check", "exploration"
TITLES = {
    SOURCE: "Statements of the sources",
    CONTRAST: "Contrasts of our protocols that no source states",
    CHECK: "Exact checks",
    EXPLORATION: "Explorations of ours: looked at afterwards, no verdict",
}
NEVER = "No claim about a training was tested at its published setting."


def judgements(sources: Sequence[str] = SOURCES) -> Tables:
    """The rows of the four tables, in the order of the sources.

    A statement on which contrasts of protocols bear has one row per contrast. Contrasts that bear
    on none, or in a setting that nothing published belongs to, have a table of their own.
    """
    found: Tables = {table: [] for table in TITLES}
    contrasts = judged_contrasts()
    for source in sources:
        for item in (item for item in list_items() if item.source == source):
            for table, rows in _rows_of(item, contrasts).items():
                found[table] += rows
        loose = (judged for judged in contrasts[""] if _source(judged.protocol.item) == source)
        found[CONTRAST] += [judge_contrast(judged, None) for judged in loose]
    return found


def _rows_of(item: Item, contrasts: Mapping[str, list[Judged]]) -> Tables:
    """The rows of an item's claims.

    What was measured before there was a protocol stays, among the explorations.
    """
    found: Tables = {table: [] for table in TITLES}
    records = measured_records(item.id) if item.claims else []
    for claim in item.claims:
        rows = [judge_contrast(judged, claim) for judged in contrasts.get(claim.id, ())]
        stated = [row for row in rows if row.published]
        found[CONTRAST] += [row for row in rows if not row.published]
        earlier = judge(claim, records)
        found[claim.table] += stated or [earlier]
        if stated and earlier.estimate:
            found[EXPLORATION].append(earlier)
    return found


def judged_contrasts(of: Item | None = None) -> dict[str, list[Judged]]:
    """The contrasts of all protocols, by the claim they bear on; empty, on none.

    Args:
        of: an item; then only items that hold its protocols, or contrasts that bear on its claims.
    """
    found: dict[str, list[Judged]] = defaultdict(list)
    for item in list_items():
        asked = of is None or item.id == of.id or _bears_on(item, of)
        if asked and list_protocols(item.id):
            for judged in judge_item(item.id, measured_records(item.id)):
                found[judged.contrast.claim].append(judged)
    return found


def _bears_on(item: Item, other: Item) -> bool:
    """Whether a contrast of an item's protocols bears on a claim of the other."""
    protocols = [load_protocol(name) for name in list_protocols(item.id)]
    borne = {contrast.claim for protocol in protocols for contrast in protocol.contrasts}
    return not borne.isdisjoint(claim.id for claim in other.claims)


def claim_rows() -> Rows:
    """Every row of the four tables, with all that is known of it."""
    return [
        {
            "id": row.id,
            "table": table,
            "item": row.claim.item if row.claim else None,
            "claim": row.text,
            "definition": row.claim.definition if row.claim else None,
            "published": row.published or None,
            "published setting": row.claim.setting if row.claim else None,
            "measured": row.measured,
            "95 % interval": row.interval,
            "seeds": row.seeds or None,
            "budget": row.budget or None,
            "device": ", ".join(row.devices) or None,
            "testable here": row.testable,
            "why": row.why or None,
            "verdict": row.verdict,
        }
        for table, rows in judgements().items()
        for row in rows
    ]


def summary(found: Tables | None = None) -> str:
    """How many items are measured and how the rows of the four tables fare.

    Every number but the first can be counted in the tables of ``figures/scorecard.md``, or on the
    pages behind it where they hold more.
    """
    items, found = item_rows(), judgements() if found is None else found
    measured = sum(row["status"] == "measured" for row in items)
    rows = found[SOURCE]
    tested = [row for row in rows if row.testable in (YES, ONE_NETWORK)]
    single = sum(row.testable == ONE_NETWORK for row in tested)
    said = [row.verdict for row in tested]
    verdicts = Counter({word: said.count(word) for word in VERDICTS if word in said})
    untested = Counter(row.testable for row in rows if row.testable not in (YES, ONE_NETWORK))
    shown = {table: sum(_is_key(row, table) for row in found[table]) for table in found}
    held, failed = (sum(row.verdict == word for row in found[CHECK]) for word in (HOLDS, FAILS))
    sentences = [
        f"{measured} of {len(items)} items measured (`saa-lite items`).",
        "A statement of a source has one row, or one for each contrast by which a protocol tests "
        f"it: {len({row.claim.id for row in rows if row.claim})} statements, {len(rows)} rows, "
        f"{len(tested)} tested{f' ({_counted(verdicts)})' if tested else ''}"
        f"{f', {single} of them image by image on one network' if single else ''}, "
        f"{untested.total()} not ({_counted(untested)}).",
        "A contrast here is a difference that a protocol fixed and no source states: "
        f"{len(found[CONTRAST])}, {shown[CONTRAST]} of them primary and on the scorecard.",
        f"An exact check has no chance in it: {held} hold, {failed} fail.",
        "An exploration is a comparison of ours without a verdict: "
        f"{len(found[EXPLORATION])}, {shown[EXPLORATION]} on the scorecard.",
    ]
    if waiting := _waiting(found):
        sentences.append(
            "What reads *not yet* waits for trainings that a protocol asks for: `saa-lite campaign "
            "status ITEM` says how many and how long they take, `saa-lite campaign run ITEM "
            f"--data-root DIR` makes them, for ITEM {', '.join(waiting)}."
        )
    if not any(row.at_published for row in tested):
        sentences.append(NEVER)
    return " ".join(sentences)


def _waiting(found: Tables) -> list[str]:
    """Items with a contrast whose protocol is unfinished."""
    names = {row.id.partition(":")[0] for row in found[CONTRAST] if row.testable == NOT_YET}
    claims = {row.claim.item for row in found[SOURCE] if row.claim and row.testable == NOT_YET}
    return sorted({load_protocol(name).item for name in names} | claims)


def scorecard_text() -> str:
    """The four short tables for a terminal, and the summary."""
    found = judgements()
    tables = [f"{TITLES[table]}\n\n{text_table(rows)}" for table, rows in short(found).items()]
    return "\n\n".join([*tables, machines(found), summary(found)])


def scorecard_markdown() -> str:
    """The same as Markdown."""
    found = judgements()
    tables = [
        f"## {TITLES[table]}\n\n{markdown_table(rows)}" for table, rows in short(found).items()
    ]
    return "\n".join([*tables, f"{machines(found)}\n", f"{summary(found)}\n"])


def item_judgements(item_id: str, records: list[Record] | None = None) -> Tables:
    """The rows of one item; tables without any are left out.

    Args:
        records: instead of all tracked ones, such as those of one data set; then protocols, which
            are about all of them, are not asked, and rows that these say nothing of are left out.

    Raises:
        UsageError: there is no such item.
    """
    item = find_item(item_id)
    if records is not None:
        rows = [judge(claim, records) for claim in item.claims]
        rows = [row for row in rows if row.estimate or row.exact]
        found = {table: [r for r in rows if r.claim and r.claim.table == table] for table in TITLES}
    else:
        contrasts = judged_contrasts(item)
        found = _rows_of(item, contrasts)
        claims = {claim.id: claim for claim in CLAIMS}
        own = [one for judged in contrasts.values() for one in judged]
        for judged in own:
            elsewhere = judged.contrast.claim not in {claim.id for claim in item.claims}
            if judged.protocol.item == item_id and elsewhere:
                row = judge_contrast(judged, claims.get(judged.contrast.claim))
                found[SOURCE if row.published else CONTRAST].append(row)
    return {table: rows for table, rows in found.items() if rows}


def item_tables(item_id: str, records: list[Record] | None = None) -> str:
    """The rows of one item as Markdown, for notebooks; see :func:`item_judgements`."""
    parts = []
    for table, rows in item_judgements(item_id, records).items():
        cells = [CELLS[table](row) for row in rows]
        if table == CHECK and any(row.why for row in rows):
            cells = [cell | {"details": row.why} for cell, row in zip(cells, rows, strict=True)]
        parts.append(f"**{TITLES[table]}**\n\n{markdown_table(cells)}")
    return "\n".join(parts)


def short(found: Tables) -> dict[str, Rows]:
    """Rows of the short tables: of explorations, and of contrasts beside the statements, some."""
    return {
        table: [CELLS[table](row) for row in rows if _is_key(row, table)]
        for table, rows in found.items()
    }


def _is_key(row: Judgement, table: str) -> bool:
    return row.key and (table != EXPLORATION or bool(row.claim and row.claim.key))


def machines(found: Tables) -> str:
    """The processors of the four tables, said once."""
    devices = {name for rows in found.values() for row in rows for name in row.devices}
    names = {name.partition(" (")[0] for name in devices}  # without cores and threads
    return f"Measured on: {'; '.join(sorted(names))}." if names else "Nothing is measured yet."


def _source_cells(row: Judgement) -> dict[str, Any]:
    return {
        "statement": row.text,
        "published": printed(row),
        "measured here": row.short,
        "testable here?": row.testable,
        "verdict": row.said,
    }


def _contrast_cells(row: Judgement) -> dict[str, Any]:
    cells = _source_cells(row)
    del cells["published"]
    return {"contrast": cells.pop("statement"), **cells}


def printed(row: Judgement) -> str:
    """What the source prints: as one number where it is a difference, else in its words."""
    differs = row.claim is not None and f"({row.size or 0.0:+.2f})" in row.published
    return f"{row.size:+.2f} points" if differs else row.published


def _check_cells(row: Judgement) -> dict[str, Any]:
    return {
        "check": row.text,
        "published": row.published,
        "counted here": row.measured,
        "verdict": row.verdict,
    }


def _exploration_cells(row: Judgement) -> dict[str, Any]:
    return {"comparison": row.text, "estimate and 95 % interval": row.short}


CELLS = {
    SOURCE: _source_cells,
    CONTRAST: _contrast_cells,
    CHECK: _check_cells,
    EXPLORATION: _exploration_cells,
}


def _source(item_id: str) -> str:
    return item_id.partition("/")[0]


def _counted(found: Counter[str]) -> str:
    """ "no protocol 9, not converged 5", the most frequent first."""
    ordered: Iterable[tuple[str, int]] = found.most_common()
    return ", ".join(f"{name.removeprefix('no: ')} {count}" for name, count in ordered)
