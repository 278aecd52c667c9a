"""The ``--set NAME=VALUE`` option."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from saa_lite.errors import UsageError


def change(settings: Any, changes: Sequence[str]) -> Any:
    """A copy of a settings dataclass with some fields replaced.

    Args:
        changes: texts ``name=value``; a value is JSON, or else taken as a string, and must be of
            the kind that the field has now.

    Raises:
        UsageError: a text without ``=``, an unknown name, or a value of another kind.
    """
    present = asdict(settings)
    chosen: dict[str, Any] = {}
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE; got {text!r}")
        if name not in present:
            raise UsageError(f"--set knows the settings {', '.join(present)}; got {name!r}")
        chosen[name] = _like(getattr(settings, name), value, name)
    return replace(settings, **chosen)


def _like(now: object, text: str, name: str) -> object:
    """``text`` as a value of the kind of ``now``: whole numbers also pass for fractions."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(now, tuple):
        return _tuple(now, value, text, name)
    if isinstance(now, str):
        return text
    if isinstance(now, float) and type(value) is int:
        return float(value)
    if now is not None and type(value) is not type(now):
        raise UsageError(f"--set {name} must be like {json.dumps(now)}; got {text!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"--set {name} must be a finite number; got {text!r}")
    return value


def _tuple(now: tuple[object, ...], value: object, text: str, name: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        example = json.dumps(now or ["a", "b"])
        raise UsageError(f"--set {name} must be a list such as '{example}'; got {text!r}")
    return tuple(value)
