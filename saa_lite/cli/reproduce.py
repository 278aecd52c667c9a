"""``saa-lite reproduce``: notebooks, ``figures/``, scorecard, whatever fails on the way."""

import time
from argparse import Namespace
from functools import partial

from saa_lite.cli import figures, scorecard
from saa_lite.cli.notebooks import execute_all
from saa_lite.cli.output import show, stdout_for_json
from saa_lite.cli.steps import status_of, timed

FIGURES = Namespace(items=[], json=False)
SCORECARD = Namespace(readme=None, numbers=False, markdown=False, json=False)
PARTS = (
    ("figures", "rebuilding figures/ from the tracked records", partial(figures.main, FIGURES)),
    ("scorecard", "scorecard", partial(scorecard.main, SCORECARD)),
)


def main(arguments: Namespace) -> int:
    """Do all of it, and close with what was done, how long it took and what failed."""
    started = time.perf_counter()
    with stdout_for_json(arguments.json):
        print(f"==> executing the notebooks ({arguments.profile} profile)")
        steps = execute_all((), arguments.profile)
        for name, heading, run in PARTS:
            print(f"==> {heading}", flush=True)
            steps.append(timed(name, run, f"again: saa-lite {name}"))
        print(f"==> {time.perf_counter() - started:.0f} seconds")
    show([step.as_row() for step in steps], as_json=arguments.json)
    return status_of(steps)
