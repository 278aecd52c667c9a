"""Finding items: all of them, or one by its id.

Rows for a table of all items are here, too.
"""

import difflib
import importlib
import importlib.util
from typing import Any

from saa_lite.errors import UsageError
from saa_lite.items.base import Item
from saa_lite.items.catalogue import CATALOGUE
from saa_lite.published import load_published
from saa_lite.records import measured_records


def list_items() -> list[Item]:
    """All items in catalogue order, as listed: their modules are not imported."""
    return list(CATALOGUE.values())


def find_item(item_id: str) -> Item:
    """The catalogue's entry, without run and drawing; cheap.

    Raises:
        UsageError: there is no such item; the message lists near matches.
    """
    if item_id in CATALOGUE:
        return CATALOGUE[item_id]
    raise UsageError(f"no item is called {item_id!r}; {_hint(item_id)}")


def get_item(item_id: str) -> Item:
    """The item with run and drawing where it is built; imports its module.

    Raises:
        UsageError: there is no such item; the message lists near matches.
    """
    listed = find_item(item_id)
    name = module_name(item_id)
    if not is_built(item_id):
        return listed
    item = importlib.import_module(name).ITEM
    if not isinstance(item, Item) or item.id != item_id:
        raise TypeError(f"{name}.ITEM must be the item {item_id}")
    return item


def module_name(item_id: str) -> str:
    """Where an item lives: ``a-b/fig-c`` in ``saa_lite.items.a_b.fig_c``."""
    return "saa_lite.items." + item_id.replace("-", "_").replace("/", ".")


def is_built(item_id: str) -> bool:
    """Whether the item has a module."""
    package, _, _ = module_name(item_id).rpartition(".")
    return bool(
        importlib.util.find_spec(package) and importlib.util.find_spec(module_name(item_id))
    )


def _hint(item_id: str) -> str:
    """Items that look like ``item_id`` or whose last part does."""
    tail = item_id.rpartition("/")[2]
    near = [name for name in CATALOGUE if name.rpartition("/")[2] == tail]
    close = difflib.get_close_matches(item_id, CATALOGUE, n=4, cutoff=0.5)
    near += [name for name in close if name not in near]
    if near:
        return f"did you mean {' or '.join(near[:4])}?"
    return "`saa-lite items` lists them all"


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
