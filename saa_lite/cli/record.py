"""``saa-lite record``: promote the records of finished runs to the tracked ones."""

from argparse import Namespace

from saa_lite.cli.output import show
from saa_lite.items.registry import find_item
from saa_lite.records import promote


def main(arguments: Namespace) -> int:
    """Promote each item; all names are checked first."""
    names = [find_item(name).id for name in arguments.items]
    rows = [
        {
            "item": name,
            "records": len(promote(name)),
            "file": f"data/measured/{name}.jsonl",
        }
        for name in names
    ]
    show(rows, as_json=arguments.json)
    if not arguments.json:
        print("To draw figures/ from them: saa-lite figures")
    return 0
