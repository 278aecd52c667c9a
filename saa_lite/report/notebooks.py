"""Executing the notebooks, strictly: whatever a reader would see as broken is an error here.

The first part is how their kernels are talked to. Imported only where Jupyter is installed.
"""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from nbclient import NotebookClient
from traitlets import Type
from traitlets.config import Config

from saa_lite.errors import SaaLiteError, UsageError, reason
from saa_lite.files import atomic_path, project_root, runs_dir

SOLUTIONS = "solutions"  # the folder beside the notebooks
LOOK_AGAIN = 1.0  # seconds
STARTS_WITHIN = 3600  # seconds, for a kernel
SENDS_WITHIN = 3600  # seconds, for what a finished cell has put out


class PatientChannel(AsyncZMQSocketChannel):
    """A channel that looks for its message again every second.

    A socket tells only once that something has come. An output widget sends while the reply to its
    cell is awaited, and now and then that sending swallows the notice: the cell would never end.
    """

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]
        """The next message; raises ``queue.Empty`` after ``timeout`` seconds without one."""
        deadline = None if timeout is None else monotonic() + timeout
        while deadline is None or monotonic() + LOOK_AGAIN < deadline:
            try:
                return await super().get_msg(LOOK_AGAIN)
            except Empty:
                continue
        return await super().get_msg(max(0.0, deadline - monotonic()))


class PatientClient(AsyncKernelClient):
    """Jupyter's client, patient where it awaits replies and where it awaits outputs."""

    shell_channel_class = Type(PatientChannel)
    iopub_channel_class = Type(PatientChannel)


class StoppableClient(NotebookClient):
    """A client whose execution ends with ``KeyboardInterrupt`` at Ctrl-C.

    nbclient's own handler only ends the kernel, and whoever waits for it meets an assertion.
    """

    stopped = False
    position = 0  # of the cell that is executed, or was last

    async def async_execute_cell(
        self, cell: Any, cell_index: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Execute it, and remember which it is."""
        self.position = cell_index
        return await super().async_execute_cell(cell, cell_index, *args, **kwargs)

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        """Start it, with our handlers in place of those that were set just before."""
        task = asyncio.current_task()

        def stop() -> None:
            self.stopped = True
            if task is not None:
                task.cancel()

        with suppress(RuntimeError):  # Windows, or not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop)
        await super().async_start_new_kernel(**kwargs)

    def execute(self, **kwargs: Any) -> Any:
        """Execute the notebook; nbclient takes a cancelled wait for a kernel that died."""
        try:
            return super().execute(**kwargs)
        except BaseException:
            if self.stopped:
                raise KeyboardInterrupt from None
            raise


@contextmanager
def notebook_client(notebook: Any, *, folder: Path) -> Iterator[StoppableClient]:
    """What executes ``notebook`` in ``folder``.

    A cell may take as long as it needs: on a busy machine that is many times what it takes alone.
    A kernel that dies is noticed at once, and Ctrl-C ends one that hangs.
    """
    with tempfile.TemporaryDirectory(prefix="saa-lite-") as sockets:
        yield StoppableClient(
            notebook,
            timeout=None,
            startup_timeout=STARTS_WITHIN,
            # By default nbclient goes on four seconds after the reply, without what is outstanding:
            # on a busy machine the last lines of a cell would be lost, and nobody told.
            iopub_timeout=SENDS_WITHIN,
            raise_on_iopub_timeout=True,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            config=_config(sockets),
            # Nothing is left to save; a polite end interrupts the kernel, which may then complain.
            shutdown_kernel="immediate",
        )


def _config(sockets: str) -> Config:
    """Talk to the kernel through files in the folder ``sockets`` where the system can.

    Over TCP, its default, the kernel warns on the terminal that others could listen, and of two
    kernels started at once one may get the other's port.
    """
    config = Config()
    config.KernelManager.client_class = f"{__name__}.{PatientClient.__name__}"
    base = str(Path(sockets) / "kernel")  # Jupyter appends "-1" to "-5"
    if os.name == "posix" and len(base) + 2 <= zmq.IPC_PATH_MAX_LEN:
        config.KernelManager.transport = "ipc"
        config.KernelManager.ip = base
    return config


WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookError(SaaLiteError):
    """A notebook that does not run through, or that shows an error."""


def notebook_paths(names: Sequence[str] = ()) -> list[Path]:
    """The tracked notebooks in reading order, or those whose file name starts with a name.

    Args:
        names: ``solutions/05`` is that of the solutions to 05, ``solutions/`` are all of them.

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
    found += sorted((folder / SOLUTIONS).glob("*.ipynb"))
    chosen = [p for p in found if any(_begins(p, name) for name in names)]
    if not chosen:
        known = ", ".join(p.name for p in found)
        raise UsageError(f"no notebook starts with {' or '.join(names)}; there are: {known}")
    return chosen


def _begins(path: Path, name: str) -> bool:
    """Whether a notebook is meant by a name, with or without the folders before it."""
    folder, _, start = name.rpartition("/")
    of_solutions = path.parent.name == SOLUTIONS
    return path.name.startswith(start) and of_solutions == folder.endswith(SOLUTIONS)


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

    from saa_lite.report.notebooks import notebook_client  # noqa: PLC0415

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
    beside = SOLUTIONS if path.parent.name == SOLUTIONS else ""
    return runs_dir() / "notebooks" / profile / beside / path.name


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
