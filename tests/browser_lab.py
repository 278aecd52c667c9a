"""JupyterLab on the loopback and a headless Chromium, for the test of notebooks with panels.

Both live in temporary folders, know nothing of the user's settings, reach no other machine, and
end with the ``with`` block that started them.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from ready_kernels import ready_kernels

from saa_lite.cli.doctor import BROWSERS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
START_SECONDS = 90
STOP_SECONDS = 20
TOKEN = secrets.token_hex(16)
CHROMIUM_FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # offline, on every machine
]
SETTINGS = {
    # Otherwise cells below the fold are not drawn, and their outputs cannot be looked at.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    address: str
    folder: Path

    def page_of(self, notebook: str) -> str:
        """Where the notebook opens, by itself and without asking for anything."""
        return f"{self.address}/lab/tree/{notebook}?reset&token={TOKEN}"

    def ask(self, path: str, method: str = "GET") -> Any:
        """The server's answer, read as JSON; None where it is empty. Knows of no proxies."""
        headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(self.address + path, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=STOP_SECONDS) as answer:
            return json.loads(answer.read() or "null")

    def stop_kernels(self) -> None:
        """One notebook's kernel must not eat the memory of the next."""
        for kernel in self.ask("/api/kernels"):
            self.ask(f"/api/kernels/{kernel['id']}", "DELETE")


@contextmanager
def jupyterlab(folder: Path, home: Path) -> Iterator[Lab]:
    """JupyterLab on ``folder`` in the smoke profile; its own files go below ``home``.

    Kernels start in an empty folder, where a path that holds nowhere else is found.
    """
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "root_dir": folder}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    command += [f"--MappingKernelManager.root_dir={elsewhere}"]
    command += ["--LabApp.expose_app_in_browser=True"]  # notebooks are opened and closed by it
    log = home / "jupyterlab.log"
    lab = Lab(f"http://127.0.0.1:{port}", folder)
    with ready_kernels(home, _environment(home)) as environment, log.open("wb") as sink:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for(lab, server, log)
            yield lab
        finally:
            _stop(server)


@contextmanager
def chromium(path: str) -> Iterator[Any]:
    """A headless Chromium, as Playwright's ``Browser``."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (optional)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@cache
def browser_path() -> str | None:
    """An installed Chromium or Chrome, else the one that ``playwright install`` fetched.

    None where there is neither, or no Playwright.
    """
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415  (optional)
    except ImportError:
        return None
    if found := next(filter(None, map(shutil.which, BROWSERS)), None):
        return found
    with sync_playwright() as playwright:
        fetched = playwright.chromium.executable_path
    return fetched if Path(fetched).is_file() else None


def panel_cells(path: Path) -> list[int]:
    """Positions of the cells that call ``panel``."""
    cells = enumerate(nbformat.read(path, as_version=4).cells)
    return [i for i, c in cells if c.cell_type == "code" and re.search(r"\bpanel\(", c.source)]


WITH_PANELS = [path for path in NOTEBOOKS if panel_cells(path)]


def run_here() -> list[Path]:
    """The notebooks that JupyterLab executes on this machine; the others are left to nbval."""
    return WITH_PANELS if browser_path() else []


def _environment(home: Path) -> dict[str, str]:
    """No settings of the user, one thread, no progress bars; kernels inherit it."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    folders = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    for name, settings in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    quiet = {"SAA_PROFILE": "smoke", "TQDM_DISABLE": "1", "JUPYTER_TOKEN": TOKEN, **threads}
    return {**inherited, **{name: str(path) for name, path in folders.items()}, **quiet}


def _wait_for(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            lab.ask("/api/status")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)  # a port that nobody listens to gives nothing to wait on
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _stop(server: subprocess.Popen) -> None:
    """Asked first, so that it ends its kernels; then made to."""
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(STOP_SECONDS)
