"""What nbval lets pass, and a reader would see as broken: loaded as its plugin by test_notebooks.

Its cells fail where the kernel sends an error, but not where only the reply says so (an unknown
magic), nor where something stands on stderr, nor where a traceback is printed as text. Nor does it
miss lines that the stored output of a cell has lost. And it starts kernels beside the notebooks,
where a path that holds nowhere else is found.

:func:`complaints` looks at a notebook that was executed elsewhere in the same way.
"""

import tempfile
from collections import defaultdict
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from nbval import plugin
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

from saa_lite.report.notebooks import WIDGET, visible_errors

CHECKED = "nbval-check-output"  # nbval's tag of cells whose outputs it compares
NOT_COMPARED = ("image/png", WIDGET)


class KernelElsewhere(RunningKernel):
    """A kernel in a folder that has nothing to do with the project."""

    def __init__(self, kernel_name: str, cwd: str | None = None, **options: Any) -> None:
        super().__init__(kernel_name, cwd=tempfile.gettempdir(), **options)


def pytest_configure() -> None:
    plugin.RunningKernel = KernelElsewhere


def extent(outputs: Sequence[Any]) -> dict[str, int]:
    """How many lines are printed, and how many pictures and tables shown."""
    printed = "".join(output.get("text", "") for output in outputs)
    shown = [kind for output in outputs for kind in output.get("data", {})]
    kinds = ("image/png", "text/markdown")
    return {"printed lines": len(printed.split("\n")), **{k: shown.count(k) for k in kinds}}


def lost(stored: Sequence[Any], fresh: Sequence[Any]) -> list[str]:
    """What the stored outputs of a cell have less of than fresh ones of the smallest profile."""
    kept, made = extent(stored), extent(fresh)
    return [f"{made[k]} {k}, {kept[k]} of them stored" for k in made if kept[k] < made[k]]


def compared(outputs: Sequence[Any]) -> dict[str, list[str]]:
    """What nbval compares of a cell's outputs: the texts of each kind, streams in one piece."""
    found: dict[str, list[str]] = defaultdict(list)
    for output in outputs:
        for kind, text in output.get("data", {}).items():
            if kind not in NOT_COMPARED:
                found[kind].append(text)
        if output.output_type == "stream":
            found[output.name] = ["".join([*found[output.name], output.text])]
    return found


def complaints(tracked: Path, executed: Path) -> list[str]:
    """What nbval and this plugin would say, had they executed the notebook themselves."""
    stored, fresh = (nbformat.read(path, as_version=4) for path in (tracked, executed))
    wrong = list(visible_errors(fresh))
    for position, (kept, made) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        if kept.cell_type != "code":
            continue
        if missing := lost(kept.outputs, made.outputs):
            wrong.append(f"cell {position}: the stored output has lost {'; '.join(missing)}")
        before, now = compared(kept.outputs), compared(made.outputs)
        if CHECKED in kept.metadata.get("tags", []) and before != now:
            wrong.append(f"cell {position}: stored {dict(before)}, now {dict(now)}")
    return wrong


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    if not isinstance(item, IPyNbCell):
        yield
        return
    replies: list[dict[str, Any]] = []
    kernel = item.parent.kernel
    received = kernel.get_message

    def kept(stream: str, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = received(stream, timeout)
        if message["msg_type"] == "execute_reply":
            replies.append(message["content"])
        return message

    kernel.get_message = kept
    try:
        yield
    finally:
        kernel.get_message = received
    if broken := [reply for reply in replies if reply["status"] != "ok"]:
        pytest.fail(f"the kernel answers: {broken[0].get('evalue')}")
    cell = new_code_cell(item.cell.source, outputs=item.test_outputs)
    if broken := list(visible_errors(new_notebook(cells=[cell]))):
        pytest.fail("; ".join(broken))
    if missing := lost(item.cell.outputs, item.test_outputs):
        pytest.fail(f"the stored output has lost something: {'; '.join(missing)}")
