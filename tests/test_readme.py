"""The README quotes the records as they are, and names files and commands that exist."""

import re
from pathlib import Path

import pytest

from saa_lite.errors import UsageError
from saa_lite.report.readme import END, START, results_block, updated

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_results_are_those_of_the_tracked_records() -> None:
    assert results_block() in README, "run: saa-lite scorecard --readme README.md"


def test_only_the_block_between_the_marks_changes() -> None:
    text = updated(f"before\n{START}\nold numbers\n{END}\nafter\n")
    assert text == f"before\n{results_block()}\nafter\n"


@pytest.mark.parametrize("text", ["", START, END, f"{END} {START}"])
def test_missing_marks_are_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="must hold the two lines"):
        updated(text)


def test_files_it_names_exist() -> None:
    names = re.findall(r"[`(]((?:notebooks|figures)/[\w./-]+\.\w+)", README)
    assert names
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_make_targets_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
