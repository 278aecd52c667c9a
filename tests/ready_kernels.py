"""Kernels that need not import torch: forks of one process that has, for JupyterLab in the tests.

Importing it and what goes with it takes four processor seconds, for every notebook anew. Nothing of
``saa_lite`` is imported beforehand, and no thread is started: a fork would lack it.

JupyterLab starts this file as if it were the kernel. That process only asks for a fork and lives as
long: whichever of the two ends, the other does. On systems other than Linux, where libraries do not
expect a fork, kernels start as they always do.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

IMPORTED = (
    "torch", "numba", "pandas", "scipy.stats", "seaborn", "matplotlib.pyplot", "ipywidgets",
    "matplotlib_inline.backend_inline", "ipykernel.kernelapp", "ipykernel.zmqshell",
)  # fmt: skip


@contextmanager
def ready_kernels(home: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Inside, the environment in which a new JupyterLab takes forks for its kernels."""
    if sys.platform != "linux":
        yield environment
        return
    address = home / "kernels.socket"
    run = [sys.executable, "-P", __file__, str(address)]  # -P: tests are not to be imported there
    spec = {"argv": [*run, "{connection_file}"], "display_name": "Python 3", "language": "python"}
    folder = home / "ready" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()
        passed = listening.fileno()
        with subprocess.Popen(
            [*run, f"--listen={passed}"], env=environment, pass_fds=[passed]
        ) as source:
            try:
                yield {**environment, "JUPYTER_PATH": str(home / "ready")}
            finally:
                source.terminate()


def fork_for_each(listening: socket.socket) -> NoReturn:
    """Import, and become a kernel in a new process for everyone who asks."""
    for name in IMPORTED:
        importlib.import_module(name)
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("an import has started a thread, which a fork would lack")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets those that have ended
    while True:
        asking, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            become_kernel(asking)
        asking.close()


def become_kernel(asking: socket.socket) -> NoReturn:
    """Be what JupyterLab believes to have started, until that has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # kernels wait for compilers that they start
    folder, connection_file = json.loads(asking.recv(1 << 16))
    asking.sendall(str(os.getpid()).encode())
    os.chdir(folder)
    os.environ["JPY_PARENT_PID"] = str(os.getppid())  # it also ends with the process it is from

    def end() -> NoReturn:
        asking.recv(1)
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    application = importlib.import_module("ipykernel.kernelapp").IPKernelApp
    application.launch_instance(argv=["-f", connection_file])
    os._exit(0)


def stand_for_kernel(address: str, connection_file: str) -> None:
    """Ask for a kernel, live as long, and hand interrupts on."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(address)
        asking.sendall(json.dumps([os.getcwd(), connection_file]).encode())
        kernel = int(asking.recv(1 << 16))
        signal.signal(signal.SIGINT, lambda *_: os.kill(kernel, signal.SIGINT))
        asking.recv(1)


if __name__ == "__main__":
    address, what = sys.argv[1:]
    if what.startswith("--listen="):
        fork_for_each(socket.socket(fileno=int(what.removeprefix("--listen="))))
    stand_for_kernel(address, what)
