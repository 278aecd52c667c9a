"""All notebooks, figures and scorecard: one failure stops nothing, and all is told at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from saa_lite import cli
from saa_lite.report.notebooks import NotebookError, notebook_client

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
HOUR = 3600


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def write(home: Path, name: str, *sources: str) -> Path:
    """A notebook whose cells hold the output of an earlier execution."""
    old = nbformat.v4.new_output("stream", text="old output\n")
    cells = [nbformat.v4.new_code_cell(s, outputs=[old], execution_count=7) for s in sources]
    path = home / "notebooks" / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path


def texts(path: Path) -> list[str]:
    """What each cell of an executed copy shows."""
    cells = nbformat.read(path, as_version=4).cells
    return ["".join(o.get("text", o.get("ename", "")) for o in c.outputs) for c in cells]


@pytest.mark.usefixtures("home")
def test_everything_is_done_and_what_failed_is_told_last(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, "01_good", "print('new')")
    write(home, "02_fails", "print('so far')", "1 / 0", "print('never')")
    (home / "notebooks" / "03_torn.ipynb").write_text('{"cells": [')
    write(home, "04_good", "import os; print(os.environ['SAA_PROFILE'])")
    assert cli.main(["reproduce", "--profile", "smoke"]) == 1
    printed = capsys.readouterr()
    told = printed.err.splitlines()
    copies = home / "data/runs/notebooks/smoke"
    assert told[0] == (
        "saa-lite: 02_fails.ipynb does not run through: cell 1: ZeroDivisionError: division by "
        f"zero; as far as it went: {copies}/02_fails.ipynb; again: saa-lite notebooks 02_fails "
        "--profile smoke"
    )
    assert told[1].startswith("saa-lite: 03_torn.ipynb cannot be read as a notebook: ")
    assert told[2:] == ["saa-lite: 2 of 6 failed"]
    assert texts(copies / "01_good.ipynb") == ["new\n"]
    assert texts(copies / "02_fails.ipynb") == ["so far\n", "ZeroDivisionError", ""]
    assert texts(copies / "04_good.ipynb") == ["smoke\n"]
    assert (home / "figures" / "scorecard.md").is_file()
    places = [printed.out.index(text) for text in ("04_good.ipynb …", "items measured", "result")]
    assert places == sorted(places)
    results = [line.split() for line in printed.out.splitlines()[-6:]]
    assert [(line[0], line[-1]) for line in results] == [
        ("01_good.ipynb", "done"), ("02_fails.ipynb", "failed"), ("03_torn.ipynb", "failed"),
        ("04_good.ipynb", "done"), ("figures", "done"), ("scorecard", "done"),
    ]  # fmt: skip


Execution = Callable[[Path, str, Path], float]


def instead(monkeypatch: pytest.MonkeyPatch, outcome: dict[str, BaseException]) -> list[str]:
    """Notebooks are not executed, but noted in the list; some end as ``outcome`` says."""
    begun: list[str] = []

    def execute(path: Path, profile: str, output: Path) -> None:
        begun.append(path.stem)
        if path.stem in outcome:
            raise outcome[path.stem]

    monkeypatch.setattr("saa_lite.cli.notebooks.execute", execute)
    return begun


def test_a_bug_in_one_step_is_shown_and_stops_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write(home, name)
    begun = instead(monkeypatch, {"a": KeyError("lost")})
    no_space = OSError(28, "No space left on device", "scorecard.md")

    def full(path: Path, text: str) -> None:
        raise no_space

    monkeypatch.setattr("saa_lite.cli.figures.write_text", full)
    assert cli.main(["reproduce", "--json"]) == 1
    printed = capsys.readouterr()
    results = {row["step"]: row["result"] for row in json.loads(printed.out)}
    assert results == {"a.ipynb": "failed", "b.ipynb": "done", "figures": "failed",
                       "scorecard": "done"}  # fmt: skip
    assert begun == ["a", "b"]
    assert "Traceback" in printed.err
    told = printed.err.splitlines()[-3:]
    assert told[0].startswith("saa-lite: KeyError: 'lost'; as far as it went: ")
    assert told[1:] == [
        "saa-lite: No space left on device: scorecard.md; again: saa-lite figures",
        "saa-lite: 2 of 4 failed",
    ]


def test_all_is_well_in_silence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, "a")
    instead(monkeypatch, {})
    assert cli.main(["reproduce"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["reproduce"], ["notebooks"]])
def test_ctrl_c_ends_all_of_it(
    command: list[str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in "abc":
        write(home, name)
    begun = instead(monkeypatch, {"a": NotebookError("a is odd"), "b": KeyboardInterrupt()})
    assert cli.main(command) == cli.INTERRUPTED
    assert begun == ["a", "b"]
    assert capsys.readouterr().err.startswith("saa-lite: stopped; the notebooks executed so far")
    assert not (home / "figures").exists()


def test_notebooks_alone_go_on_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1a", "1b", "2"):
        write(home, name)
    begun = instead(monkeypatch, {"1a": NotebookError("1a.ipynb is odd")})
    assert cli.main(["notebooks", "1", "--json"]) == 1
    printed = capsys.readouterr()
    rows = [(row["step"], row["profile"], row["result"]) for row in json.loads(printed.out)]
    assert rows == [("1a.ipynb", "laptop", "failed"), ("1b.ipynb", "laptop", "done")]
    assert begun == ["1a", "1b"]
    assert printed.err.splitlines()[0].startswith("saa-lite: 1a.ipynb is odd; as far as it went: ")


def test_without_jupyter_there_is_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, "a")
    monkeypatch.setattr("saa_lite.cli.notebooks.find_spec", lambda name: None)
    assert cli.main(["notebooks"]) == 2
    assert "takes nbclient, nbformat, ipykernel, not installed here" in capsys.readouterr().err


def test_no_cell_has_a_limit_that_a_busy_machine_reaches(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    with notebook_client(notebook, folder=tmp_path) as client:
        assert client.timeout is None
        assert min(client.startup_timeout, client.iopub_timeout) >= HOUR


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send a process these signals")
def test_ctrl_c_in_a_terminal_leaves_a_clean_state(home: Path) -> None:
    begun = home / "begun"
    slow = f"import os, time\nopen({str(begun)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    before = write(home, "01_slow", slow, "2").read_bytes()
    write(home, "02_next", "3")
    process = subprocess.Popen(
        [sys.executable, "-m", "saa_lite", "reproduce", "--profile", "smoke"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not begun.exists() or not begun.read_text():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=120)
    assert process.returncode == cli.INTERRUPTED, err
    assert err.startswith("saa-lite: stopped; ")
    assert "02_next" not in out
    with pytest.raises(ProcessLookupError):  # the kernel has gone with it
        os.kill(int(begun.read_text()), 0)
    assert (home / "notebooks" / "01_slow.ipynb").read_bytes() == before
    assert [path for path in home.rglob("*") if path.is_file() and path != begun] == [
        *sorted((home / "notebooks").iterdir())
    ]
