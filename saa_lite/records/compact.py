"""The tracked form of records: what many of them have in common is written once.

A record repeats its settings, versions and hardware, and an item has hundreds of records with the
same. A file in this form holds, before the records, one line per *block*::

    {"id": "0f3c…", "shared": {"commit": …, "settings": {…}, …}}

and each record names its block in place of those fields: ``{"shared": "0f3c…", "value": …}``. So
does a log with its columns that another log has too, such as the learning rates of one recipe: ::

    {"id": "77ab…", "column": [0.2, 0.19, …]}

A block's id is its content's hash, so an edited one is noticed, and a new block moves no other
line. Lines that hold whole records may stand among the others.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from saa_lite.errors import RecordError
from saa_lite.records.record import Record, parse_fields

SHARED = (
    "commit", "config_hash", "dataset", "device", "epochs", "item", "model", "profile", "settings",
    "versions",
)  # fmt: skip
DIGITS = 12  # hex digits of a block's id
LEAST = 64  # characters: a shorter column is hardly longer than its block's line
Blocks = dict[str, Any]  # by id: dicts of shared fields, lists that are columns


def to_lines(records: Iterable[Record]) -> list[str]:
    """Blocks in order of their ids, then the records in the given order."""
    values = [json.loads(record.to_line()) for record in records]
    logs = [value["log"] for value in values if value["log"]]
    seen = Counter(_text(column) for log in logs for column in log.values())
    blocks, lines = dict[str, str](), []
    for log in logs:
        for column, entries in log.items():
            text = _text(entries)
            if seen[text] > 1 and len(text) >= LEAST:
                name = _id(entries)
                blocks[name] = _text({"id": name, "column": entries})
                log[column] = name
    for value in values:
        block = {field: value.pop(field) for field in SHARED}
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
        fields = _named(value.pop("shared"), blocks, dict)
        if both := sorted(value.keys() & set(SHARED)):
            raise RecordError(f"fields both in the block and here: {', '.join(both)}")
        value |= {key: _copy(part) for key, part in fields.items()}
        if isinstance(log := value.get("log"), dict):
            value["log"] = {
                column: _named(entries, blocks, list) if isinstance(entries, str) else entries
                for column, entries in log.items()
            }
    return parse_fields(value)


def _named(name: Any, blocks: Blocks, kind: type) -> Any:
    if not isinstance(name, str) or not isinstance(blocks.get(name), kind):
        said = "shared block" if kind is dict else "column"
        raise RecordError(f"no line above holds the {said} {name!r}")
    return blocks[name]


def _block(value: dict[str, Any]) -> dict[str, Any] | list[Any]:
    block: Any = value.get("column", value.get("shared"))
    if isinstance(block, list):
        whole = set(value) == {"id", "column"}
    else:
        whole = isinstance(block, dict) and set(block) == set(SHARED)
        whole = whole and set(value) == {"id", "shared"}
    if not whole:
        raise RecordError(f"a shared block must hold {', '.join(SHARED)} and nothing else")
    if _id(block) != value["id"]:
        raise RecordError(f"the id {value['id']!r} is not that of the shared block")
    return block


def _copy(part: Any) -> Any:
    return dict(part) if isinstance(part, dict) else part


def _id(block: Any) -> str:
    return hashlib.sha256(_text(block).encode()).hexdigest()[:DIGITS]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
