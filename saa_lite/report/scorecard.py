"""The scorecard, from published numbers, protocols and tracked records alone.

Three tables: statements of the sources, exact checks, and explorations of ours. Published and
measured numbers stand in different columns, always, and so do "can it be tested here?" and the
verdict. What does not fit here is in :mod:`saa_lite.report.pages`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from saa_lite.items.claims import CLAIMS
from saa_lite.items.claims.load import SOURCES
from saa_lite.items.listing import item_rows
from saa_lite.items.registry import find_item, list_items
from saa_lite.protocols import list_protocols
from saa_lite.records import Record, measured_records
from saa_lite.report.protocols import YES, Judged, judge_item
from saa_lite.report.tables import markdown_table, text_table
from saa_lite.report.verdict import HOLDS, Judgement, judge, judge_contrast

Rows = list[dict[str, Any]]
Tables = dict[str, list[Judgement]]
SOURCE, CHECK, EXPLORATION = "source", "check", "exploration"
TITLES = {
    SOURCE: "Statements of the sources",
    CHECK: "Exact checks",
    EXPLORATION: "Explorations of ours: looked at afterwards, no verdict",
}
NEVER = "No claim about a training was tested at its published setting."


def judgements(sources: Sequence[str] = SOURCES) -> Tables:
    """The rows of the three tables, in the order of the sources.

    A statement on which contrasts of protocols bear has one row per contrast; contrasts that bear
    on none stand behind their source's statements.
    """
    found: Tables = {SOURCE: [], CHECK: [], EXPLORATION: []}
    contrasts = judged_contrasts()
    records: dict[str, list[Record]] = {}
    for source in sources:
        for claim in (claim for claim in CLAIMS if _source(claim.item) == source):
            if claim.item not in records:
                records[claim.item] = measured_records(claim.item)
            rows = [judge_contrast(judged, claim) for judged in contrasts[claim.id]]
            found[claim.table] += rows or [judge(claim, records[claim.item])]
        loose = (judged for judged in contrasts[""] if _source(judged.protocol.item) == source)
        found[SOURCE] += [judge_contrast(judged, None) for judged in loose]
    return found


def judged_contrasts() -> dict[str, list[Judged]]:
    """The contrasts of all protocols, by the claim they bear on; empty, on none."""
    found: dict[str, list[Judged]] = defaultdict(list)
    for item in list_items():
        if list_protocols(item.id):
            for judged in judge_item(item.id, measured_records(item.id)):
                found[judged.contrast.claim].append(judged)
    return found


def claim_rows() -> Rows:
    """Every row of the three tables, with all that is known of it."""
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
    """How many items are measured and how the rows of the three tables fare, in short sentences."""
    items, found = item_rows(), judgements() if found is None else found
    measured = sum(row["status"] == "measured" for row in items)
    rows = found[SOURCE]
    tested = [row for row in rows if row.testable == YES]
    not_yet = Counter(row.testable for row in rows if row.testable != YES)
    verdicts = Counter(row.verdict for row in tested)
    held = sum(row.verdict == HOLDS for row in found[CHECK])
    checked = sum(bool(row.exact) for row in found[CHECK])
    sentences = [
        f"{measured} of {len(items)} items measured.",
        f"Statements of the sources: {len(rows)}; tested here by a protocol: {len(tested)}"
        + (f" ({_counted(verdicts)})" if tested else "")
        + f"; not: {len(rows) - len(tested)} ({_counted(not_yet)}).",
        f"Exact checks: {held} hold, {checked - held} fail.",
        f"Explorations without a verdict: {len(found[EXPLORATION])}.",
    ]
    if not any(row.at_published for row in tested):
        sentences.append(NEVER)
    return " ".join(sentences)


def scorecard_text() -> str:
    """The three short tables for a terminal, and the summary."""
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


def item_judgements(item_id: str) -> Tables:
    """The rows of one item, tables without any left out.

    Raises:
        UsageError: there is no such item.
    """
    item = find_item(item_id)
    names = {claim.id for claim in item.claims}
    own = {*list_protocols(item_id)}
    return {
        table: chosen
        for table, rows in judgements().items()
        if (
            chosen := [
                row
                for row in rows
                if (row.claim and row.claim.id in names) or row.id.partition(":")[0] in own
            ]
        )
    }


def item_tables(item_id: str) -> str:
    """The rows of one item as Markdown, for notebooks."""
    return "\n".join(
        f"**{TITLES[table]}**\n\n{markdown_table(list(map(CELLS[table], rows)))}"
        for table, rows in item_judgements(item_id).items()
    )


def short(found: Tables) -> dict[str, Rows]:
    """Rows of the short tables; of the explorations only the chosen ones."""
    return {
        table: [
            CELLS[table](row)
            for row in rows
            if table != EXPLORATION or (row.claim and row.claim.key)
        ]
        for table, rows in found.items()
    }


def machines(found: Tables) -> str:
    """The processors of the three tables, said once."""
    devices = {name for rows in found.values() for row in rows for name in row.devices}
    names = {name.partition(" (")[0] for name in devices}  # without cores and threads
    return f"Measured on: {'; '.join(sorted(names))}." if names else "Nothing is measured yet."


def _source_cells(row: Judgement) -> dict[str, Any]:
    return {
        "statement": row.text,
        "published": printed(row),
        "measured here": row.short,
        "testable here?": row.testable,
        "verdict": row.verdict,
    }


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


CELLS = {SOURCE: _source_cells, CHECK: _check_cells, EXPLORATION: _exploration_cells}


def _source(item_id: str) -> str:
    return item_id.partition("/")[0]


def _counted(found: Counter[str]) -> str:
    """ "no protocol 9, not converged 5", the most frequent first."""
    ordered: Iterable[tuple[str, int]] = found.most_common()
    return ", ".join(f"{name.removeprefix('no: ')} {count}" for name, count in ordered)
