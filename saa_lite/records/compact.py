"""The tracked form of records: what many of them have in common is written once.

A record repeats its settings, versions and hardware, and an item has hundreds of records with the
same. A file in this form holds, before the records, one line per *block*::

    {"id": "0f3c…", "shared": {"commit": …, "settings": {…}, …}}

and each record names its block in place of those fields: ``{"shared": "0f3c…", "value": …}``. A
block's id is its content's hash, so an edited one is noticed, and a new block moves no other line.
Lines that hold whole records may stand among the others.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from saa_lite.errors import RecordError
from saa_lite.records.record import Record, parse_fields

SHARED = (
    "commit", "config_hash", "dataset", "device", "epochs", "item", "model", "profile", "settings",
    "versions",
)  # fmt: skip
DIGITS = 12  # hex digits of a block's id
Blocks = dict[str, dict[str, Any]]  # by id


def to_lines(records: Iterable[Record]) -> list[str]:
    """Blocks in order of their ids, then the records in the given order."""
    blocks, lines = dict[str, str](), []
    for record in records:
        value = json.loads(record.to_line())
        block = {name: value.pop(name) for name in SHARED}
        name = _id(block)
        blocks[name] = _text({"id": name, "shared": block})
        lines.append(_text({**value, "shared": name}))
    return [*(blocks[name] for name in sorted(blocks)), *lines]


def from_line(line: str, blocks: Blocks) -> Record | None:
    """The record of a line; None for a block, which joins ``blocks``.

    Args:
        blocks: those of the lines above.

    Raises:
        RecordError, ValueError, TypeError: the line is neither, the block is not what its id says,
            or no line above holds the block that the record names.
    """
    value = json.loads(line)
    if not isinstance(value, dict):
        raise RecordError("a record must be a JSON object")
    if "id" in value:
        blocks[value["id"]] = _block(value)
        return None
    if "shared" in value:
        name = value.pop("shared")
        if name not in blocks:
            raise RecordError(f"no line above holds the shared block {name!r}")
        if both := sorted(value.keys() & set(SHARED)):
            raise RecordError(f"fields both in the block and here: {', '.join(both)}")
        value |= {key: _copy(part) for key, part in blocks[name].items()}
    return parse_fields(value)


def _block(value: dict[str, Any]) -> dict[str, Any]:
    block = value.get("shared")
    if not isinstance(block, dict) or set(block) != set(SHARED) or set(value) != {"id", "shared"}:
        raise RecordError(f"a shared block must hold {', '.join(SHARED)} and nothing else")
    if _id(block) != value["id"]:
        raise RecordError(f"the id {value['id']!r} is not that of the shared block")
    return block


def _copy(part: Any) -> Any:
    return dict(part) if isinstance(part, dict) else part


def _id(block: dict[str, Any]) -> str:
    return hashlib.sha256(_text(block).encode()).hexdigest()[:DIGITS]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
