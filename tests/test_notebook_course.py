"""What every notebook must have beside its subject: a drawing, five lines, questions."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

DRAWINGS = {  # of an idea, made by code and without data
    "00": "taps_figure", "01": "stages_figure", "02": "rewards_figure", "03": "sum_figure",
    "04": "readers_figure", "05": "passes_figure", "06a": "travel_figure", "06b": "accounts_figure",
    "07": "networks_figure", "08": "idea_figure", "09": "course_figure", "10": "way_figure",
    "11": "clamp_figure", "12": "keys_figure", "13": "head_drawing", "14": "threshold_figure",
}  # fmt: skip
STARS = r"(?:☆|☆☆|☆☆☆) \*\((?:\d+ minutes|half an hour|an hour)[^)]*\)\*"


def sections(path: Path) -> dict[str, str]:
    """The text under each heading of a notebook, by the heading without its number."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    found = re.split(r"^## (?:\d+ · )?(.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@each
def test_one_picture_draws_the_idea(path: Path) -> None:
    name = DRAWINGS[path.stem.partition("_")[0]]
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    (drawn, *_) = [cell for cell in cells if re.search(rf"\b{name}\b", cell.source)]
    where = cells.index(drawn)
    pictures = [
        o for c in cells[where : where + 2] for o in c.outputs if "image/png" in o.get("data", {})
    ]
    assert pictures, f"{name} is not seen"


@each
def test_it_ends_with_five_lines_questions_and_exercises(path: Path) -> None:
    found = sections(path)
    order = [*found]
    ends = ["In five lines", "Can you say it?", "Exercises"]
    places = [order.index(name) for name in ends]
    assert places[-1] == len(order) - 1
    assert places[0] < places[-1]
    assert len(re.findall(r"^\* ", found["In five lines"], re.MULTILINE)) == 5
    assert "<details><summary>Answers" in found["Can you say it?"]


@each
def test_an_exercise_says_how_hard_and_how_long(path: Path) -> None:
    text = sections(path)["Exercises"].partition("<details")[0]
    numbered = re.findall(r"^(\d+)\. (.*)", text, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == [*range(1, len(numbered) + 1)]
    assert len(numbered) >= 3
    assert [line for _, line in numbered if not re.match(STARS, line)] == []


@each
def test_files_and_modules_that_the_text_names_exist(path: Path) -> None:
    text = "\n".join(sections(path).values())
    files = re.findall(r"`(saa_lite(?:/[\w.-]+)+)`", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    for name in re.findall(r"`(saa_lite(?:\.\w+)+)", text):
        found = importlib.import_module("saa_lite")
        for part in name.split(".")[1:]:
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
