"""How the notebooks' kernels are talked to. Imported only where Jupyter is installed."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
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
