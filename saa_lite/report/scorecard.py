"""Tables of the scorecard, from published numbers and tracked records alone.

Published and measured numbers stand in different columns, always.
"""

import math
from typing import Any

from saa_lite.items.base import Item
from saa_lite.items.interval import t_interval
from saa_lite.items.listing import item_rows
from saa_lite.items.registry import get_item, list_items
from saa_lite.items.select import training_length
from saa_lite.published import PublishedNumber, load_published
from saa_lite.records import Record, measured_records
from saa_lite.report.tables import markdown_table, text_table
from saa_lite.report.verdict import judge

Rows = list[dict[str, Any]]


def claim_rows() -> Rows:
    """One row per claim: published, measured, seeds, 95 % interval, budget, verdict."""
    rows = []
    for item in list_items():
        records = measured_records(item.id) if item.claims else []
        for judgement in (judge(claim, records) for claim in item.claims):
            claim = judgement.claim
            rows.append(
                {
                    "claim": claim.text,
                    "item": claim.item,
                    "published": claim.published,
                    "published setting": claim.published_setting,
                    "measured": judgement.measured,
                    "seeds": judgement.seeds or None,
                    "95 % interval": judgement.interval,
                    "budget": judgement.budget,
                    "verdict": judgement.verdict,
                }
            )
    return rows


def number_rows() -> Rows:
    """One row per published number, with ours beside it where an item says which records match."""
    rows = []
    for item in (get_item(listed.id) for listed in list_items()):
        records = measured_records(item.id)
        for number in load_published(item.id, related=True):
            rows.append({**_published_cells(number), **_measured_cells(item, number, records)})
    return rows


def _published_cells(number: PublishedNumber) -> dict[str, Any]:
    where = "related: " if number.related else ""
    return {
        "item": number.item,
        "number": f"{number.row}, {number.column}".rstrip(", "),
        "where": where + number.locator,
        "published": f"{number.printed} {number.unit}",
    }


def _measured_cells(item: Item, number: PublishedNumber, records: list[Record]) -> dict[str, Any]:
    """Mean over seeds of the longest matching run, or dashes."""
    found = [r for r in records if item.matches is not None and item.matches(number, r)]
    if not found:
        return dict.fromkeys(("measured", "seeds", "95 % interval", "epochs", "device"))
    longest = max(found, key=lambda record: (training_length(record), record.created))
    values = tuple(r.value for r in found if r.config_hash == longest.config_hash)
    mean = math.fsum(values) / len(values)
    low, high = t_interval(values) if len(values) > 1 else (math.nan, math.nan)
    return {
        "measured": f"{mean:.4g} {longest.unit}",
        "seeds": len(values),
        "95 % interval": f"[{low:.4g}, {high:.4g}]" if len(values) > 1 else None,
        "epochs": longest.epochs or None,
        "device": longest.device,
    }


def summary() -> str:
    """How many items are measured and how the claims fare, in one line each."""
    items, claims = item_rows(), claim_rows()
    measured = sum(row["status"] == "measured" for row in items)
    verdicts = [row["verdict"] for row in claims]
    counted = [f"{verdicts.count(v)} {v}" for v in dict.fromkeys(sorted(verdicts))]
    return f"{measured} of {len(items)} items measured; claims: {', '.join(counted)}"


def scorecard_text() -> str:
    """The scorecard for a terminal: items, claims and a summary."""
    items = [
        {key: row[key] for key in ("id", "title", "status", "measured")} for row in item_rows()
    ]
    return f"{text_table(items)}\n\n{_claims_text(claim_rows())}\n\n{summary()}"


def scorecard_markdown() -> str:
    """The scorecard for the README: items, claims and a summary."""
    columns = ("id", "title", "notebook", "status")
    items = [{key: row[key] for key in columns} for row in item_rows()]
    return f"{markdown_table(items)}\n{markdown_table(claim_rows())}\n{summary()}\n"


def _claims_text(rows: Rows) -> str:
    """Claims as short paragraphs: nine columns do not fit a terminal."""
    return "\n\n".join(
        f"{row['item']}: {row['claim']}\n"
        f"  verdict    {row['verdict']}\n"
        f"  published  {row['published']} ({row['published setting']})\n"
        f"  measured   {row['measured']}  {_certainty(row)}"
        for row in rows
    )


def _certainty(row: dict[str, Any]) -> str:
    if row["budget"] == "—":
        return ""
    seeds = f"n = {row['seeds']} seeds, 95 % interval {row['95 % interval']}, "
    return (seeds if row["seeds"] else "") + row["budget"]
