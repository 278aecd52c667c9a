"""``saa-lite figures``: draw ``figures/`` from the tracked records alone."""

import os
from argparse import Namespace

from saa_lite.cli.output import show, stdout_for_json
from saa_lite.files import figures_dir, write_text
from saa_lite.items.claims import SOURCES
from saa_lite.items.output import save_drawing
from saa_lite.items.registry import get_item
from saa_lite.items.runner import draw_measured
from saa_lite.report.forest import source_forest
from saa_lite.report.pages import scorecard_file, source_file

SCORECARD, CLAIMS, FOREST = "scorecard.md", "claims.md", "forest"
TAPS = {"taps": False, "taps-dark": True}  # README's drawing, by the ground of the page


def main(arguments: Namespace) -> int:
    """Draw the named items, or all that are built and measured and the scorecard's pages."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # files, no window, no display
    items = [get_item(name) for name in arguments.items] or None
    with stdout_for_json(arguments.json):
        drawn = draw_measured(items)
    rows = [
        {"item": item, "file": f"figures/{name}"} for item, names in drawn.items() for name in names
    ]
    if items is None:
        rows += [{"item": "scorecard", "file": f"figures/{name}"} for name in _scorecard()]
        rows += [{"item": "README", "file": f"figures/{name}"} for name in _taps()]
    show(rows, as_json=arguments.json)
    return 0


def _scorecard() -> list[str]:
    """Write the scorecard, and per source its page and its forest; the files' names."""
    folder, written = figures_dir(), [figures_dir() / SCORECARD]
    write_text(folder / SCORECARD, scorecard_file())
    for source in SOURCES:
        write_text(folder / source / CLAIMS, source_file(source))
        written.append(folder / source / CLAIMS)
        if (figure := source_forest(source)) is not None:
            written += save_drawing(figure, folder / source / FOREST)
    return [path.relative_to(folder).as_posix() for path in written]


def _taps() -> list[str]:
    """Draw the picture of README; the files' names."""
    from saa_lite.viz.taps import taps_figure  # noqa: PLC0415  (matplotlib)

    for name, dark in TAPS.items():
        save_drawing(taps_figure(dark=dark), figures_dir() / name)
    return [f"{name}.svg" for name in TAPS]
