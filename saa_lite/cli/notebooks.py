"""``saa-lite notebooks``: execute them in reading order, whatever fails on the way."""

from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from saa_lite.cli.output import show
from saa_lite.cli.steps import Step, status_of, timed
from saa_lite.errors import UsageError
from saa_lite.files import check_writable
from saa_lite.report.notebooks import execute, executed_copy, notebook_paths, strip_widgets

NEEDED = ("nbclient", "nbformat", "ipykernel")


def main(arguments: Namespace) -> int:
    """Execute the named notebooks; copies go to ``data/runs/notebooks`` unless ``--in-place``."""
    profile = arguments.profile
    steps = execute_all(arguments.names, profile, in_place=arguments.in_place, quiet=arguments.json)
    if arguments.json:
        show([{"profile": profile, **step.as_row()} for step in steps], as_json=True)
    return status_of(steps)


def execute_all(
    names: Sequence[str], profile: str, *, in_place: bool = False, quiet: bool = False
) -> list[Step]:
    """Execute the notebooks and say how long each took, unless ``quiet``.

    Raises:
        UsageError: an unknown name, or no Jupyter to execute them with.
        SaaLiteError: a folder cannot be written.
    """
    paths = notebook_paths(names)
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UsageError(
            f"executing notebooks takes {', '.join(missing)}, not installed here; `make setup` "
            "installs all, and so does pip install 'saa_lite[notebooks]'"
        )
    outputs = [path if in_place else executed_copy(path, profile) for path in paths]
    for output in outputs:
        check_writable(output.parent)
    steps = []
    for path, output in zip(paths, outputs, strict=True):
        if not quiet:
            print(f"{path.name} …", end=" ", flush=True)
        step = _execute(path, profile, output)
        steps.append(step)
        if not quiet:
            print(f"{step.seconds:.0f} s{', failed' if step.failure else ''}", flush=True)
    return steps


def _execute(path: Path, profile: str, output: Path) -> Step:
    def run() -> None:
        execute(path, profile, output)
        if output == path:
            strip_widgets(path)

    remedy = f"again: saa-lite notebooks {path.stem} --profile {profile}"
    if output != path:
        remedy = f"as far as it went: {output}; {remedy}"
    return timed(path.name, run, remedy)
