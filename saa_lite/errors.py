"""Errors a user can mend.

Every message is one sentence that names what was given and what is allowed. The command line
prints it without a traceback; in Python each class is also the built-in that callers expect.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


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


def renamed(**old: tuple[str, Callable[[Any], Any]]) -> Callable[[F], F]:
    """Let a function take keyword arguments by the names that they had, with a word about it.

    Args:
        old: name → (the name today, the value today from the value then).
    """

    def decorated(function: F) -> F:
        @wraps(function)
        def taking_both(*args: Any, **kwargs: Any) -> Any:
            for name in [name for name in kwargs if name in old]:
                now, value = old[name][0], old[name][1](kwargs.pop(name))
                if now in kwargs:
                    raise UsageError(f"{name} is the old name of {now}: give one of them, not both")
                kwargs[now] = value
                said = f"{function.__name__}: {name} is called {now} now; give {now}={value!r}"
                warnings.warn(said, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return taking_both  # type: ignore[return-value]

    return decorated
