"""Printing: tables for people, JSON alone for programs."""

import codecs
import io
import json
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from saa_lite.report.tables import Row, text_table

STAND_INS = {
    "×": "x", "÷": "/", "−": "-", "–": "-", "—": "-", "·": "*", "±": "+/-", "≤": "<=", "≥": ">=",
    "→": "->", "∂": "d", "√": "sqrt",
}  # fmt: skip
ON_POOR_TERMINALS = "saa_lite.stand_ins"  # the name by which Python's codecs find them


def show(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print rows as an aligned table or as a JSON list of objects."""
    if as_json:
        show_json(list(rows))
    else:
        print(text_table(rows))


def show_json(value: Any) -> None:
    """Print JSON; NaN and infinity are refused, as other programs cannot read them."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a stand-in would be another value, \u00d7 is the same
        text = json.dumps(value, indent=2, allow_nan=False)
    print(text)


def one_line(text: object) -> str:
    """``str(text)`` with its line breaks and runs of spaces made single spaces."""
    return " ".join(str(text).split())


def sentence(error: Exception) -> str:
    """The error in one line, with the file of an operating system's error."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return one_line(error) or type(error).__name__


def stand_in(character: str) -> str:
    """What stands for a character where the terminal has none: "x" for ×, "^2" for ², "alpha"."""
    if character in STAND_INS:
        return STAND_INS[character]
    name, decomposed = unicodedata.name(character, ""), unicodedata.decomposition(character)
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[3].lower()
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return ("^" if plain and decomposed.startswith("<super>") else "") + (plain or "?")


def _stand_ins(error: UnicodeError) -> tuple[str, int]:
    """Python asks this for characters that an encoding has not."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(stand_in, error.object[error.start : error.end])), error.end


codecs.register_error(ON_POOR_TERMINALS, _stand_ins)


@contextmanager
def printable() -> Iterator[None]:
    """Inside, whatever stdout and stderr cannot encode is printed as its stand-in."""
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=ON_POOR_TERMINALS)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


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
