"""Steps that go well, wrong or not at all; imports little, as each process for steps imports it."""

import os
import time
from collections.abc import Iterator

from saa_lite.bench.gpu_run import Place, Row


def two_rows(place: Place) -> Iterator[Row]:
    """Rows of a step that goes well."""
    yield {"value": 1.5, "holds": True}
    yield {"value": float("inf"), "in": os.getpid()}


def a_lie(place: Place) -> Iterator[Row]:
    """A check that does not hold."""
    yield {"value": 2, "holds": False}


def breaks_down(place: Place) -> Iterator[Row]:
    """An error after a first result."""
    yield {"value": 3}
    raise ValueError("no such number")


def falls_dead(place: Place) -> Iterator[Row]:
    """What a fault of the device may do to the process."""
    yield {"value": 4}
    os._exit(9)


def hangs(place: Place) -> Iterator[Row]:
    """What a GPU may do."""
    yield {"value": 5}
    time.sleep(600)


def never_called(place: Place) -> Iterator[Row]:
    """A step that must not begin."""
    raise AssertionError
