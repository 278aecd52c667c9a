"""``saa-lite scorecard``: published beside measured, testable or not, and the verdicts."""

from argparse import Namespace

from saa_lite.cli.output import show_json
from saa_lite.errors import UsageError
from saa_lite.items.registry import item_rows
from saa_lite.report.pages import number_rows
from saa_lite.report.readme import update
from saa_lite.report.scorecard import claim_rows, scorecard_markdown, scorecard_text
from saa_lite.report.tables import markdown_table, text_table


def main(arguments: Namespace) -> int:
    """Print the scorecard as text, Markdown or JSON."""
    if arguments.json and arguments.markdown:
        raise UsageError("--json and --markdown exclude each other")
    if arguments.readme:
        for path in arguments.readme:
            update(path)
        return 0
    if arguments.json:
        tables = {"items": item_rows(), "claims": claim_rows()}
        if arguments.numbers:
            tables["numbers"] = number_rows()
        show_json(tables)
        return 0
    print(scorecard_markdown() if arguments.markdown else scorecard_text())
    if arguments.numbers:
        print()
        print((markdown_table if arguments.markdown else text_table)(number_rows()))
    return 0
