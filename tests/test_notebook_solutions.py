"""Every exercise has an executed solution that repeats the question; one solution runs here."""

import re
from pathlib import Path

import nbformat
import pytest

from saa_lite.errors import UsageError
from saa_lite.report import notebooks
from saa_lite.report.course import COURSE, code_of

ROOT = Path(__file__).resolve().parent.parent / "notebooks"
SOLUTIONS = ROOT / "solutions"
each = pytest.mark.parametrize("name", [chapter.name for chapter in COURSE])
EXERCISE = re.compile(r"^(\d+)\. (☆+ \*\([^)]*\)\*) (.*?)(?=^\d+\. ☆|\Z)", re.MULTILINE | re.DOTALL)


def exercises(name: str) -> dict[int, tuple[str, str]]:
    """Number → difficulty with minutes, and the question in one line."""
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    (text,) = [c.source for c in cells if c.source.startswith("## Exercises")]
    text = re.split(r"<details|^Next:", text, flags=re.MULTILINE)[0]
    return {
        int(number): (hard, " ".join(question.split()))
        for number, hard, question in EXERCISE.findall(text)
    }


@each
def test_every_exercise_has_an_executed_solution(name: str) -> None:
    solved = nbformat.read(SOLUTIONS / f"{name}.ipynb", as_version=4)
    nbformat.validate(solved)
    assert list(notebooks.visible_errors(solved)) == []
    assert not re.search(r"/home/|/root/|/Users/|/tmp/|site-packages", str(solved))
    found, number = {}, 0
    for cell in solved.cells:
        if cell.cell_type == "markdown" and (head := re.match(r"## Exercise (\d+)\n", cell.source)):
            number = int(head[1])
            quoted, answer = re.split(r"\n\n", cell.source.partition("\n> ")[2], maxsplit=1)
            hard = re.search(r"^☆+ \*\([^)]*\)\*$", cell.source, re.MULTILINE)
            assert hard, number
            found[number] = (hard[0], " ".join(quoted.split()))
            assert len(answer.split()) >= 10, number
        elif cell.cell_type == "code":
            assert cell.execution_count, "run: saa-lite notebooks solutions/NAME --in-place"
            assert len(cell.source.splitlines()) <= 25
            if number:
                said = "".join(output.get("text", "") for output in cell.outputs)
                assert said or "def " in cell.source, number
    assert found == exercises(name)
    assert len(found) >= 3


@each
def test_exercises_lead_to_their_solutions(name: str) -> None:
    text = (ROOT / f"{name}.ipynb").read_text(encoding="utf-8")
    assert f"(solutions/{name}.ipynb)" in text
    assert f"(../{name}.ipynb)" in (SOLUTIONS / f"{name}.ipynb").read_text(encoding="utf-8")


def test_one_is_executed_here(tmp_path: Path) -> None:
    """The others share its helper, and were executed when they were committed."""
    path = SOLUTIONS / "06a_how_an_adder_network_starts.ipynb"
    cut = nbformat.read(path, as_version=4)
    cut.cells = cut.cells[:4]  # set-up and the first exercise
    short, done = tmp_path / "short.ipynb", tmp_path / "done.ipynb"
    nbformat.write(cut, short)
    notebooks.execute(short, "smoke", done)
    (said,) = nbformat.read(done, as_version=4).cells[-1].outputs
    assert re.fullmatch(r"(?:η = \d\.\d: at most \d+\.\d, travelled \d+\.\d\d\n){2}", said.text)


def test_code_of_sections_comes_without_panels_and_magics() -> None:
    code = code_of("06a", 1, 4)
    assert "def fit(start, eta, seed=0)" in code
    assert "def learning(" in code
    assert not re.search(r"^(?:panel\(|%)", code, re.MULTILINE)
    assert "bends_figure" not in code
    compile(code, "06a", "exec")


def test_solutions_are_named_by_their_folder() -> None:
    (one,) = notebooks.notebook_paths(["solutions/05"])
    assert one == SOLUTIONS / "05_hybrid_augmentation.ipynb"
    every = notebooks.notebook_paths(["solutions/"])
    assert [path.stem for path in every] == [chapter.name for chapter in COURSE]
    (other,) = notebooks.notebook_paths(["05"])
    assert other.parent == ROOT
    copies = {notebooks.executed_copy(path, "smoke") for path in (one, other)}
    assert len(copies) == 2
    with pytest.raises(UsageError, match="no notebook starts with solutions/77"):
        notebooks.notebook_paths(["solutions/77"])
