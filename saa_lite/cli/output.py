"""Printing: tables for people, JSON alone for programs."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from saa_lite.report.tables import Row, text_table


def show(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print rows as an aligned table or as a JSON list of objects."""
    if as_json:
        show_json(list(rows))
    else:
        print(text_table(rows))


def show_json(value: Any) -> None:
    """Print JSON; NaN and infinity are refused, as other programs cannot read them."""
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


@contextmanager
def stdout_for_json(as_json: bool) -> Iterator[None]:
    """While measuring, send whatever a library prints to stderr if stdout is to hold JSON."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield
