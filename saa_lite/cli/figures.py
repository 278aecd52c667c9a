"""``saa-lite figures``: draw ``figures/`` from the tracked records alone."""

import os
from argparse import Namespace

from saa_lite.cli.output import show, stdout_for_json
from saa_lite.files import figures_dir, write_text
from saa_lite.items.registry import get_item
from saa_lite.items.runner import draw_measured
from saa_lite.report.scorecard import scorecard_file

SCORECARD = "scorecard.md"


def main(arguments: Namespace) -> int:
    """Draw the named items, or all that are built and measured and the scorecard with them."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # files, no window, no display
    items = [get_item(name) for name in arguments.items] or None
    with stdout_for_json(arguments.json):
        drawn = draw_measured(items)
    if items is None:
        write_text(figures_dir() / SCORECARD, scorecard_file())
    rows = [
        {"item": item, "file": f"figures/{name}"} for item, names in drawn.items() for name in names
    ]
    show(rows, as_json=arguments.json)
    return 0
