"""Commands of several steps: each is done whatever became of those before it."""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saa_lite.cli.output import one_line, sentence
from saa_lite.errors import SaaLiteError

FAILED = 1  # exit status: something else than the command itself is wrong


@dataclass(frozen=True)
class Step:
    """What became of a step.

    Attributes:
        failure: what went wrong, in one sentence; empty where nothing did.
        remedy: what to do then.
    """

    name: str
    seconds: float
    failure: str
    remedy: str

    def as_row(self) -> dict[str, str]:
        """For a table or JSON."""
        result = "failed" if self.failure else "done"
        return {"step": self.name, "seconds": f"{self.seconds:.0f}", "result": result}


def timed(name: str, run: Callable[[], object], remedy: str) -> Step:
    """Run a step; an error is part of the result. Only Ctrl-C ends the command.

    Errors that nobody expects, bugs, are shown with their traceback as well.
    """
    started, failure = time.perf_counter(), ""
    try:
        run()
    except (SaaLiteError, OSError) as error:
        failure = sentence(error)
    except Exception as error:
        traceback.print_exc()
        failure = f"{type(error).__name__}: {one_line(error)}"
    return Step(name, time.perf_counter() - started, failure, remedy)


def status_of(steps: Sequence[Step]) -> int:
    """Exit status; what failed is said on stderr, a line each, with what to do."""
    failed = [step for step in steps if step.failure]
    for step in failed:
        print(f"saa-lite: {step.failure}; {step.remedy}", file=sys.stderr)
    if failed:
        print(f"saa-lite: {len(failed)} of {len(steps)} failed", file=sys.stderr)
    return FAILED if failed else 0
