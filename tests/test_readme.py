"""The README quotes the records as they are, and names files and commands that exist."""

import re
from pathlib import Path

import pytest

from saa_lite.errors import UsageError
from saa_lite.report.readme import BLOCKS, HEADLINES, marks, updated
from saa_lite.report.scorecard import claim_rows, scorecard_file

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BLOCKS)
def test_tables_are_those_of_the_tracked_records(name: str) -> None:
    assert BLOCKS[name]() in README, "run: saa-lite scorecard --readme README.md"


def test_only_the_blocks_between_the_marks_change() -> None:
    def text(inside: dict[str, str]) -> str:
        lines = [line for name in BLOCKS for line in (marks(name)[0], inside[name], marks(name)[1])]
        return "\n".join(["before", *lines, "after"])

    old = text(dict.fromkeys(BLOCKS, "old numbers"))
    assert updated(old) == text({name: block() for name, block in BLOCKS.items()})


FIRST, LAST = marks("results")


@pytest.mark.parametrize("text", ["", FIRST, LAST, f"{LAST} {FIRST}"])
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


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_it_shows_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_headlines_are_claims() -> None:
    claims = {row["id"] for row in claim_rows()}
    assert [name for name in HEADLINES if name not in claims] == []


def test_the_whole_scorecard_is_that_of_the_tracked_records() -> None:
    assert (ROOT / "figures" / "scorecard.md").read_text(encoding="utf-8") == scorecard_file(), (
        "run: saa-lite figures"
    )
