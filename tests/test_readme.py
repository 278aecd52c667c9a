"""The README quotes the records as they are, and names files and commands that exist."""

import re
from pathlib import Path

import pytest

from saa_lite.errors import UsageError
from saa_lite.items.claims import CLAIMS
from saa_lite.items.claims.load import SOURCES
from saa_lite.report.pages import scorecard_file, source_file
from saa_lite.report.readme import BLOCKS, HEADLINES, marks, updated
from saa_lite.report.scorecard import scorecard_text

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


def test_headlines_are_few_and_claims() -> None:
    assert 6 <= len(HEADLINES) <= 10
    assert set(HEADLINES) <= {claim.id for claim in CLAIMS}


def test_the_scorecard_is_that_of_the_tracked_records_and_fits_a_screen_or_three() -> None:
    page = (ROOT / "figures" / "scorecard.md").read_text(encoding="utf-8")
    assert page == scorecard_file(), "run: saa-lite figures"
    assert len(page.splitlines()) < 130
    assert len(scorecard_text().splitlines()) < 120


@pytest.mark.parametrize("source", SOURCES)
def test_the_page_of_a_source_is_that_of_the_tracked_records(source: str) -> None:
    page = ROOT / "figures" / source / "claims.md"
    assert page.read_text(encoding="utf-8") == source_file(source), "run: saa-lite figures"
    assert ("![" in page.read_text()) == (page.parent / "forest.png").is_file()
