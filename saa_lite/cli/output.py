"""Printing: tables for people, JSON alone for programs."""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

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


def one_line(text: object) -> str:
    """``str(text)`` with its line breaks and runs of spaces made single spaces."""
    return " ".join(str(text).split())


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show what the package warns of as one line on stderr, without file, line number and code.

    Other categories, such as a library's DeprecationWarning, concern programmers and keep them.
    """

    def show_plainly(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning:
            print(f"saa-lite: {one_line(message)}", file=file or sys.stderr)
        else:
            pythons_own(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        pythons_own = warnings.showwarning
        warnings.showwarning = show_plainly
        yield


@contextmanager
def stdout_for_json(as_json: bool) -> Iterator[None]:
    """While measuring, send whatever a library prints to stderr if stdout is to hold JSON."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield
