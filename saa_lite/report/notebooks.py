"""Executing the notebooks, strictly: whatever a reader would see as broken is an error here."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saa_lite.errors import SaaLiteError, UsageError, reason
from saa_lite.files import atomic_path, project_root, runs_dir

WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookError(SaaLiteError):
    """A notebook that does not run through, or that shows an error."""


def notebook_paths(names: Sequence[str] = ()) -> list[Path]:
    """The tracked notebooks in reading order, or those whose file name starts with a name.

    Raises:
        UsageError: there are none, or none of that name.
    """
    folder = project_root() / "notebooks"
    found = sorted(folder.glob("*.ipynb"))
    if not found:
        raise UsageError(
            f"there are no notebooks in {folder}; start in the project's folder or set SAA_HOME "
            "to it"
        )
    if not names:
        return found
    chosen = [p for p in found if any(p.name.startswith(Path(n).name) for n in names)]
    if not chosen:
        known = ", ".join(p.name for p in found)
        raise UsageError(f"no notebook starts with {' or '.join(names)}; there are: {known}")
    return chosen


def execute(path: Path, profile: str, output: Path) -> float:
    """Run a notebook from its first cell and write the executed copy; returns seconds.

    A notebook that fails is written, too, unless ``output`` is ``path``: it replaces nothing.

    Raises:
        NotebookError: it cannot be read, a cell raised, the kernel died, a magic is unknown, or an
            output shows an error.
        KeyboardInterrupt: Ctrl-C; nothing is written.
    """
    import nbformat  # noqa: PLC0415  (absent where nobody looks at notebooks)

    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise NotebookError(f"{path.name} cannot be read as a notebook: {error}") from error
    started = time.perf_counter()
    failure = _failure(notebook, profile)
    if failure is None or output != path:
        tidy(notebook)
        with atomic_path(output) as temporary:
            nbformat.write(notebook, temporary)
    if failure is not None:
        raise NotebookError(f"{path.name} {failure}")
    return time.perf_counter() - started


def _failure(notebook: Any, profile: str) -> str | None:
    """Run all cells of ``notebook``, which takes their outputs; what is wrong with them, if so."""
    from nbclient.exceptions import CellExecutionError  # noqa: PLC0415

    from saa_lite.report.kernel import notebook_client  # noqa: PLC0415

    for cell in notebook.cells:
        if cell.cell_type == "code":  # stored outputs must not pass for what is computed now
            cell.outputs, cell.execution_count = [], None
    folder = project_root() / "notebooks"
    with _profile(profile), notebook_client(notebook, folder=folder) as client:
        try:
            client.execute()
        except CellExecutionError as error:
            return f"does not run through: cell {client.position}: {error.ename}: {error.evalue}"
        except Exception as error:  # a kernel can die, or never start, in many ways
            return f"does not run through: cell {client.position}: {reason(error)}"
    broken = list(visible_errors(notebook))
    return f"shows an error in {'; '.join(broken)}" if broken else None


def executed_copy(path: Path, profile: str) -> Path:
    """Where an executed copy goes: below the ignored ``data/runs``."""
    return runs_dir() / "notebooks" / profile / path.name


def visible_errors(notebook: Any) -> Iterator[str]:
    """Cells whose outputs show a traceback or anything on stderr, an unknown magic included."""
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = output.get("text", "")
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"cell {index}: {output.get('evalue') or text.strip()[:200]}"
            elif "Traceback (most recent call last)" in text:
                yield f"cell {index}: a traceback in the printed output"
    yield from _widget_errors(notebook)


def _widget_errors(notebook: Any) -> Iterator[str]:
    """Errors captured inside Output widgets, which no other runner notices."""
    states = notebook.metadata.get("widgets", {}).values()
    for state in (entry for group in states for entry in group.get("state", {}).values()):
        for output in state.get("state", {}).get("outputs", []):
            if output.get("output_type") == "error":
                yield f"a widget: {output.get('evalue')}"


def tidy(notebook: Any) -> None:
    """Drop what changes from run to run and no reader sees."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    notebook.metadata.get("language_info", {}).pop("version", None)


def _joined(outputs: list[Any]) -> list[Any]:
    """Pieces of a stream that follow each other, as one: where it broke was a matter of timing."""
    found: list[Any] = []
    for output in outputs:
        last = found[-1] if found else None
        kind = (output.output_type, output.get("name"))
        if last and kind[0] == "stream" and kind == (last.output_type, last.get("name")):
            last.text += output.text
        else:
            found.append(output)
    return found


def strip_widgets(path: Path) -> None:
    """Remove stored widgets from a tracked notebook: JupyterLab drops their state on saving anyway.

    Without state a widget would show as the text ``VBox(children=…)``, so its output goes, too.
    """
    import nbformat  # noqa: PLC0415

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)


@contextmanager
def _profile(name: str) -> Iterator[None]:
    """The kernel inherits this environment: the profile, and no progress bars on stderr."""
    known = {key: os.environ.get(key) for key in ("SAA_PROFILE", "TQDM_DISABLE")}
    os.environ.update(SAA_PROFILE=name, TQDM_DISABLE="1")
    try:
        yield
    finally:
        for key, value in known.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value
