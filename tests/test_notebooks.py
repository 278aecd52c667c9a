"""Every notebook, twice: a strict pass, and nbval's comparison of the outputs marked for it.

One pass is not enough: nbval overlooks a cell whose reply says "error", and nbclient compares
nothing (and neither sees what a timer draws later: drawing functions are tested by themselves).
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from queue import Empty

import nbformat
import pytest
from jupyter_client.channels import AsyncZMQSocketChannel

from saa_lite.report import kernel, notebooks
from saa_lite.report.kernel import LOOK_AGAIN, PatientChannel
from saa_lite.report.notebooks import NotebookError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 25
STANDARD_MAGICS = {"matplotlib", "time", "timeit", "config"}
MACHINE_PATH = re.compile(r"/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\|site-packages")

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@pytest.mark.notebook
@each
def test_runs_through_in_the_smoke_profile(path: Path, tmp_path: Path) -> None:
    notebooks.execute(path, "smoke", tmp_path / path.name)


@pytest.mark.notebook
@each
def test_marked_outputs_are_the_same_again(path: Path) -> None:
    environment = {**os.environ, "SAA_PROFILE": "smoke", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider"]
    options = ["-W", "default", "--nbval-cell-timeout", "120", "--rootdir", str(ROOT)]
    done = subprocess.run(
        [*command, *options, str(path)],
        capture_output=True, text=True, check=False, env=environment, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@each
def test_is_committed_executed_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert list(notebooks.visible_errors(notebook)) == []
    cells = code_cells(path)
    assert all(cell.execution_count for cell in cells if cell.source.strip()), "not executed"
    assert not MACHINE_PATH.search(json.dumps([cell.outputs for cell in cells]))


@each
def test_cells_are_small_and_magics_standard(path: Path) -> None:
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source
        used = re.findall(r"^\s*%%?(\w+)", cell.source, re.MULTILINE)
        assert set(used) <= STANDARD_MAGICS, used


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("%no_such_magic", "no_such_magic"),
        ("import os; os._exit(1)", "does not run through: .*[Kk]ernel died"),
        ("import sys; print('bad', file=sys.stderr)", "bad"),
        ("import ipywidgets as w\nout = w.Output()\nwith out: 1 / 0\nout", "division by zero"),
    ],
)
def test_strict_means_strict(source: str, complaint: str, tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell(source)
    broken = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL})
    path = tmp_path / "broken.ipynb"
    nbformat.write(broken, path)
    with pytest.raises(NotebookError, match=complaint):
        notebooks.execute(path, "smoke", tmp_path / "out.ipynb")


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def test_the_kernel_warns_of_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cell = nbformat.v4.new_code_cell("1 + 1")
    plain = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL})
    nbformat.write(plain, tmp_path / "plain.ipynb")
    notebooks.execute(tmp_path / "plain.ipynb", "smoke", tmp_path / "out.ipynb")
    assert capfd.readouterr() == ("", "")


def test_unknown_names_are_named() -> None:
    with pytest.raises(ValueError, match="no notebook starts with 77"):
        notebooks.notebook_paths(["77"])


def test_a_reply_whose_notice_was_swallowed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    async def unnoticed_twice(self: AsyncZMQSocketChannel, timeout: float) -> dict[str, str]:
        asked.append(timeout)
        if len(asked) < 3:
            raise Empty
        return {"msg_type": "execute_reply"}

    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", unnoticed_twice)
    channel = PatientChannel.__new__(PatientChannel)  # without a socket
    assert asyncio.run(channel.get_msg()) == {"msg_type": "execute_reply"}
    assert asked == [LOOK_AGAIN] * 3


def test_patience_ends_with_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    async def nothing(self: AsyncZMQSocketChannel, timeout: float) -> None:
        asked.append(timeout)
        await asyncio.sleep(timeout)
        raise Empty

    monkeypatch.setattr(kernel, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", nothing)
    with pytest.raises(Empty):
        asyncio.run(PatientChannel.__new__(PatientChannel).get_msg(0.25))
    assert len(asked) == 3
    assert sum(asked) <= 0.25
