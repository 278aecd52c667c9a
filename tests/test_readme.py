"""The README quotes the records as they are, and names files and commands that exist."""

import re
from collections import Counter
from pathlib import Path

import pytest

from saa_lite.errors import UsageError
from saa_lite.items.claims import CLAIMS, SOURCES
from saa_lite.protocols import list_protocols
from saa_lite.report.pages import scorecard_file, source_file
from saa_lite.report.readme import BLOCKS, HEADLINES, marks, updated
from saa_lite.report.scorecard import (
    CONTRAST,
    SOURCE,
    TITLES,
    scorecard_markdown,
    scorecard_text,
    summary,
)

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


def tables(page: str) -> dict[str, list[list[str]]]:
    """The cells of a page's tables, by heading."""
    found = {}
    for part in f"\n{page}".split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("| ")][2:]
        found[part.partition("\n")[0]] = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
        ]
    return found


def test_every_count_of_the_summary_can_be_counted_on_the_page() -> None:
    statements, contrasts, checks, explorations = tables(scorecard_markdown()).values()
    protocol = re.compile(rf" \(({'|'.join(list_protocols())})\)$")
    named = {protocol.sub("", row[0]) for row in statements}
    testable = Counter(row[3].removeprefix("no: ") for row in statements)
    single = testable.pop("yes, on one network", 0)
    tested = testable.pop("yes", 0) + single
    verdicts = Counter(row[-1] for row in checks)
    said = summary()
    assert f"it: {len(named)} statements, {len(statements)} rows, {tested} tested" in said
    assert (f" {single} of them image by image on one network," in said) == bool(single)
    assert f" {len(statements) - tested} not (" in said
    assert all(f"{name} {count}" in said for name, count in testable.items())
    assert f", {len(contrasts)} of them primary and on the scorecard." in said
    assert f"{verdicts['holds']} hold, {verdicts['fails']} fail." in said
    assert f", {len(explorations)} on the scorecard." in said
    assert sum(verdicts.values()) == len(checks)


def test_a_row_under_the_statements_has_something_published() -> None:
    found = tables(scorecard_markdown())
    assert all(row[1] not in ("", "—") for row in found[TITLES[SOURCE]])
    pages = [tables(source_file(source)) for source in SOURCES]
    long = [row for page in pages for row in page.get(TITLES[CONTRAST], ())]
    names = {row[0] for row in long}
    assert {"regime-u:NetAug - CNN", "regime-d:AugShift - Shift"} <= names
    assert f"no source states: {len(long)}, " in summary()


def test_rows_read_alone() -> None:
    texts = [row[0] for rows in tables(scorecard_markdown()).values() for row in rows]
    assert [text for text in texts if text.startswith("…")] == []
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("source", SOURCES)
def test_the_page_of_a_source_is_that_of_the_tracked_records(source: str) -> None:
    page = ROOT / "figures" / source / "claims.md"
    assert page.read_text(encoding="utf-8") == source_file(source), "run: saa-lite figures"
    assert ("![" in page.read_text()) == (page.parent / "forest.png").is_file()
