"""Errors a user can mend.

Every message is one sentence that names what was given and what is allowed. The command line
prints it without a traceback; in Python each class is also the built-in that callers expect.
"""

from collections.abc import Iterable


class SaaLiteError(Exception):
    """Base of all errors that saa_lite raises on purpose."""


class UsageError(SaaLiteError, ValueError):
    """A wrong name, number or combination of arguments."""


class DataError(SaaLiteError):
    """A data set that is missing, truncated, mislabelled or unreadable."""


class CheckpointError(SaaLiteError):
    """A checkpoint that is missing, torn, or of another model or configuration."""


class RecordError(SaaLiteError):
    """A record or published table that does not fit its schema."""


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked to stop; the same command goes on from there.

    Cluster managers send it before they take a machine away.
    """


def reason(error: Exception) -> str:
    """What went wrong, as part of a sentence; foreign errors say little without their class."""
    return str(error) if isinstance(error, SaaLiteError) else f"{type(error).__name__}: {error}"


def check_choice(argument: str, given: object, allowed: Iterable[object]) -> None:
    """Raise :class:`UsageError` unless ``given`` is one of ``allowed``."""
    options = tuple(allowed)
    if given not in options:
        listed = ", ".join(repr(option) for option in options)
        raise UsageError(f"{argument} must be one of {listed}; got {given!r}")
