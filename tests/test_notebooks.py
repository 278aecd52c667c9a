"""Every notebook is executed by nbval, which compares the outputs marked for it, and strictly.

nbval alone is not enough, see :mod:`nbval_strict` (and neither sees what a timer draws later:
drawing functions are tested by themselves). Where there is a browser, :mod:`test_browser` executes
those with panels, and checks that execution in the same way: none is executed twice.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from queue import Empty

import nbformat
import pytest
from browser_lab import NOTEBOOKS, run_here
from jupyter_client.channels import AsyncZMQSocketChannel
from nbval_strict import CHECKED, complaints

from saa_lite.report import notebooks
from saa_lite.report.notebooks import LOOK_AGAIN, NotebookError, PatientChannel, StoppableClient

TESTS = Path(__file__).resolve().parent
LONGEST_CELL = 25
STANDARD_MAGICS = {"matplotlib", "time", "timeit", "config"}
MACHINE_PATH = re.compile(r"/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\|site-packages")
WIDGET = re.compile(r"widget-view|(?:VBox|HBox|Output)\(")  # what a page shows in its place
HEADING = re.compile(r"^## (?:(\d+) · )?", re.MULTILINE)

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LEFT = [path for path in NOTEBOOKS if path not in run_here()]
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def nbval(*paths: Path, cell_timeout: int = 120) -> subprocess.CompletedProcess[str]:
    """One execution in the smoke profile, with the plugin beside this file."""
    environment = {**os.environ, "SAA_PROFILE": "smoke", "TQDM_DISABLE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider"]
    options = ["-p", "nbval_strict", "-W", "default", "--rootdir", str(paths[0].parent)]
    return subprocess.run(
        [*command, *options, "--nbval-cell-timeout", str(cell_timeout), *map(str, paths)],
        capture_output=True, text=True, check=False, env=environment, timeout=200,
    )  # fmt: skip


@pytest.mark.notebook
@pytest.mark.parametrize("path", LEFT, ids=lambda path: path.stem)
def test_runs_through_and_marked_outputs_are_the_same(path: Path) -> None:
    done = nbval(path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@each
def test_is_committed_executed_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert list(notebooks.visible_errors(notebook)) == []
    cells = code_cells(path)
    assert all(cell.execution_count for cell in cells if cell.source.strip()), "not executed"
    texts = [
        {kind: data for kind, data in output.get("data", output).items() if kind != "image/png"}
        for cell in cells
        for output in cell.outputs
    ]  # a picture's base64 may hold anything
    assert not MACHINE_PATH.search(json.dumps(texts))
    assert not WIDGET.search(json.dumps(texts)), "run: saa-lite notebooks NAME --in-place"
    assert "widgets" not in notebook.metadata


def sections(cells: list) -> Iterator[tuple[int, int | None, int | None]]:
    """Position of each code cell, the number of the heading above it, and the one it says."""
    above = None
    for position, cell in enumerate(cells):
        if cell.cell_type == "code":
            yield position, above, cell.metadata.get("section")
        elif headings := HEADING.findall(cell.source):
            above = int(headings[-1]) if headings[-1] else None


def misplaced(cells: list) -> list[str]:
    """Headings out of order, and code that follows the heading of another section."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    numbers = [int(number) for number in HEADING.findall(text) if number]
    wrong = [] if numbers == [*range(1, len(numbers) + 1)] else [f"headings {numbers}"]
    return wrong + [
        f'cell {position} follows heading {above} and has "section": {says} in its metadata'
        for position, above, says in sections(cells)
        if above != says
    ]


@each
def test_headings_stand_before_their_code(path: Path) -> None:
    """Moving a heading over a code cell, or the code, is seen; a new cell says where it belongs."""
    assert misplaced(nbformat.read(path, as_version=4).cells) == []


def test_a_misplaced_heading_is_found() -> None:
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    first, second = (code("1", metadata={"section": n}) for n in (1, 2))
    cells = [code("import os"), text("# Title\n\n## 1 · A"), first, text("B:\n\n## 2 · B"), second]
    assert misplaced([*cells, text("## Exercises")]) == []
    assert len(misplaced([*cells[:2], cells[3], first, second])) == 1  # as if 2 began too early
    assert len(misplaced([*cells, code("new")])) == 1
    assert misplaced([text("## 2 · A"), text("## 1 · B")]) == ["headings [2, 1]"]


@each
def test_cells_are_small_and_magics_standard(path: Path) -> None:
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source
        used = re.findall(r"^\s*%%?(\w+)", cell.source, re.MULTILINE)
        assert set(used) <= STANDARD_MAGICS, used


FLAWED = {
    "1 / 0": "ZeroDivisionError",
    "%no_such_magic": "no_such_magic",
    "import os; os._exit(1)": "[Kk]ernel",
    "import sys; print('bad', file=sys.stderr)": "bad",
    "print('Traceback (most recent call last)')": "traceback",
    "import ipywidgets as w\nout = w.Output()\nwith out: 1 / 0\nout": "division by zero",
}


def written(path: Path, source: str, printed: str = "") -> Path:
    stored = [nbformat.v4.new_output("stream", name="stdout", text=printed)] if printed else []
    cell = nbformat.v4.new_code_cell(source, outputs=stored, execution_count=len(stored) or None)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL}), path)
    return path


@pytest.mark.parametrize(("source", "complaint"), FLAWED.items())
def test_strict_means_strict(source: str, complaint: str, tmp_path: Path) -> None:
    flawed = written(tmp_path / "flawed.ipynb", source)
    with pytest.raises(NotebookError, match=complaint):
        notebooks.execute(flawed, "smoke", tmp_path / "out.ipynb")


def test_pieces_of_a_printed_text_are_joined_and_stay_in_their_place() -> None:
    new = nbformat.v4.new_output
    out, err = (partial(new, "stream", name=name) for name in ("stdout", "stderr"))
    picture = new("display_data", {"text/plain": "<Figure>"})
    pieces = [out(text="of 112"), out(text="\n"), picture, out(text="a"), err(text="b")]
    cell = nbformat.v4.new_code_cell("1", outputs=pieces, metadata={"execution": {"idle": ""}})
    notebooks.tidy(nbformat.v4.new_notebook(cells=[cell]))
    assert cell.outputs == [out(text="of 112\n"), picture, out(text="a"), err(text="b")]
    assert cell.metadata == {}


def test_what_fails_replaces_nothing(tmp_path: Path) -> None:
    flawed = written(tmp_path / "flawed.ipynb", "print(1)\n1 / 0")
    before = flawed.read_bytes()
    with pytest.raises(NotebookError):
        notebooks.execute(flawed, "smoke", flawed)
    assert flawed.read_bytes() == before
    with pytest.raises(NotebookError):
        notebooks.execute(flawed, "smoke", tmp_path / "out.ipynb")
    assert "ZeroDivisionError" in (tmp_path / "out.ipynb").read_text()  # to be looked at


STOPPED = """
from pathlib import Path
from saa_lite.report.notebooks import execute
try:
    execute(Path({path!r}), "smoke", Path({path!r}))
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send a process these signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_an_execution_and_leaves_the_notebook(number: int, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    source = f"from pathlib import Path\nPath({str(begun)!r}).touch()\nimport time; time.sleep(60)"
    slow = written(tmp_path / "slow.ipynb", source)
    before = slow.read_bytes()
    command = [sys.executable, "-c", STOPPED.format(path=str(slow))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not begun.exists():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.1)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "")
    assert slow.read_bytes() == before


def test_nbval_with_our_plugin_lets_nothing_pass(tmp_path: Path) -> None:
    flawed = [written(tmp_path / f"flawed{i}.ipynb", text) for i, text in enumerate(FLAWED)]
    short = written(tmp_path / "short.ipynb", "print(1)\nprint(2)\nprint(3)", printed="1\n")
    elsewhere = "import os\nassert not os.path.exists('good.ipynb')\nprint(1 + 1)"
    good = written(tmp_path / "good.ipynb", elsewhere, printed="2\n")
    done = nbval(*flawed, short, good, cell_timeout=5)
    assert re.findall(r"^FAILED .*/(\w+)\.ipynb", done.stdout, re.MULTILINE) == [
        path.stem for path in (*flawed, short)
    ]
    assert "has lost something: 4 printed lines, 2 of them stored" in done.stdout
    parts = re.split(r"^_+ .*flawed(\d)\.ipynb.* _+$", done.stdout, flags=re.MULTILINE)
    said = dict(zip(parts[1::2], parts[2::2], strict=True))
    for number, complaint in enumerate(FLAWED.values()):
        assert re.search(complaint, said[str(number)]), done.stdout


def test_an_execution_elsewhere_is_looked_at_in_the_same_way(tmp_path: Path) -> None:
    new, tags = nbformat.v4.new_output, {"tags": [CHECKED]}
    said = [new("stream", text="1\n"), new("display_data", {"text/plain": "<Figure>"})]
    pictures = [new("display_data", {"text/plain": "<Figure>", "image/png": p}) for p in "ab"]
    in_pieces = [new("stream", text="1"), pictures[0], new("stream", text="\n")]
    widget = new("display_data", {notebooks.WIDGET: {"model_id": "7"}, "text/plain": "<Figure>"})
    traceback = new("stream", text="Traceback (most recent call last)")
    warning = new("stream", name="stderr", text="odd")
    error = new("error", ename="KeyError", evalue="lost")

    def complaints_of(stored: list, fresh: list, metadata: dict) -> list[str]:
        for path, outputs in ((tmp_path / "a.ipynb", stored), (tmp_path / "b.ipynb", fresh)):
            cell = nbformat.v4.new_code_cell("f()", outputs=outputs, metadata=metadata)
            nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
        return complaints(tmp_path / "a.ipynb", tmp_path / "b.ipynb")

    for fresh in (said, [said[0], widget], said[::-1]):
        assert complaints_of(said, fresh, tags) == []
    assert complaints_of([said[0], pictures[1]], in_pieces, tags) == []
    other = [new("stream", text="2\n"), said[1]]
    assert complaints_of(said, other, {}) == []
    for fresh in (other, said[:1], said[1:], [*said, said[1]]):
        (complaint,) = complaints_of(said, fresh, tags)
        assert complaint.startswith("cell 0: stored {'stdout': ['1\\n'], 'text/plain': ['<Fig")
    for fresh, complaint in (
        ([*said, new("stream", text="more\n")], "lost 3 printed lines, 2 of them stored"),
        ([*said, pictures[0]], "lost 1 image/png, 0 of them stored"),
        ([*said, traceback], "traceback"), ([*said, warning], "odd"), ([*said, error], "lost"),
    ):  # fmt: skip
        assert any(complaint in each for each in complaints_of(said, fresh, {}))


def test_outputs_that_do_not_come_are_no_empty_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: StoppableClient, *_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(StoppableClient, "_async_poll_output_msg", never)
    monkeypatch.setattr("saa_lite.report.notebooks.SENDS_WITHIN", 1)
    with pytest.raises(NotebookError, match="IOPub"):
        notebooks.execute(written(tmp_path / "a.ipynb", "print(1)"), "smoke", tmp_path / "b.ipynb")


def test_the_kernel_warns_of_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    notebooks.execute(written(tmp_path / "plain.ipynb", "1 + 1"), "smoke", tmp_path / "out.ipynb")
    assert capfd.readouterr() == ("", "")


def test_unknown_names_are_named() -> None:
    with pytest.raises(ValueError, match="no notebook starts with 77"):
        notebooks.notebook_paths(["77"])


def test_a_project_without_notebooks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=f"no notebooks in {tmp_path}.* set SAA_HOME to it"):
        notebooks.notebook_paths()


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

    monkeypatch.setattr(notebooks, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", nothing)
    with pytest.raises(Empty):
        asyncio.run(PatientChannel.__new__(PatientChannel).get_msg(0.25))
    assert len(asked) <= 3  # fewer where this machine is busy
    assert sum(asked) <= 0.25
