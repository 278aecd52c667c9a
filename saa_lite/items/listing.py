"""The items as rows of a table."""

from typing import Any

from saa_lite.items.registry import list_items
from saa_lite.published import load_published
from saa_lite.records import measured_records


def item_status(item_id: str) -> str:
    """ "measured" where tracked records exist, else "not yet"."""
    return "measured" if measured_records(item_id) else "not yet"


def item_rows() -> list[dict[str, Any]]:
    """One row per item: what it is, where it is read, and whether it has been measured."""
    return [
        {
            "id": item.id,
            "title": item.title,
            "source": item.source,
            "kind": item.kind,
            "notebook": item.notebook,
            "status": item_status(item.id),
            "published": len(load_published(item.id)),
            "measured": len(measured_records(item.id)),
        }
        for item in list_items()
    ]
