"""Options that several commands have: how they are asked for, and what their values mean."""

import json
import math
import re
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from saa_lite.errors import UsageError

Commands = _SubParsersAction


def add_command(commands: "Commands[ArgumentParser]", name: str, text: str) -> ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(module=name, resume_hint="nothing was changed")
    command.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    return command


def where(command: ArgumentParser) -> None:
    """Options that say where to compute and where the data lie."""
    device_option(command)
    data_options(command)


def device_option(command: ArgumentParser) -> None:
    text = "auto (a GPU if there is one), cpu, cuda or cuda:N"
    command.add_argument("--device", default="auto", help=text)


def data_options(command: ArgumentParser) -> None:
    data_root_option(command)
    command.add_argument("--download", action="store_true", help="fetch data sets that are missing")
    command.add_argument("--quiet", action="store_true", help="no progress bars")


def data_root_option(command: ArgumentParser) -> None:
    command.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder of the data sets (default: SAA_DATA_ROOT, else data/)",
    )


def repeated(command: ArgumentParser, name: str, text: str, dest: str = "") -> None:
    """An option NAME=VALUE that may be given several times."""
    command.add_argument(
        name,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{text}; may be repeated",
        dest=dest or name.lstrip("-"),
    )


def resolve_device(name: str) -> str:
    """``auto`` becomes the first GPU or the CPU; a GPU that is not there is refused.

    Raises:
        UsageError: not a known kind of device, or no such GPU.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N; got {name!r}")
    if name == "cpu":
        return name
    import torch  # noqa: PLC0415  (a second to import, and not needed for cpu)

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name} asks for a GPU, and torch finds none; use --device cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} GPUs")
    return name


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
