"""``saa-lite record``: promote the records of finished runs to the tracked ones."""

from argparse import Namespace
from collections import defaultdict

from saa_lite.cli.output import show
from saa_lite.items.registry import find_item
from saa_lite.records import Record, promote


def contents(records: list[Record]) -> str:
    """How many seeds of which method at which budget, so that a half-finished run is seen."""
    seeds: dict[tuple[int, str], set[int]] = defaultdict(set)
    for record in records:
        seeds[record.epochs, record.method].add(record.seed)
    return ", ".join(
        f"{method} {len(found)} seed{'' if len(found) == 1 else 's'}"
        + (f" at {epochs} epochs" if epochs else "")
        for (epochs, method), found in sorted(seeds.items())
    )


def main(arguments: Namespace) -> int:
    """Promote each item; all names are checked first."""
    names = [find_item(name).id for name in arguments.items]
    rows = [
        {
            "item": name,
            "records": len(kept := promote(name)),
            "kept": contents(kept),
            "file": f"data/measured/{name}.jsonl",
        }
        for name in names
    ]
    show(rows, as_json=arguments.json)
    if not arguments.json:
        print("To draw figures/ from them: saa-lite figures")
    return 0
