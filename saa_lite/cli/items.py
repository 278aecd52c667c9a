"""``saa-lite items``: what there is, where it is read, and whether it has been measured."""

from argparse import Namespace

from saa_lite.cli.output import show
from saa_lite.items.registry import item_rows


def main(arguments: Namespace) -> int:
    """Print one row per item."""
    show(item_rows(), as_json=arguments.json)
    return 0
