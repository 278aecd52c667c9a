"""README and docs/ quote the records as they are, and name files and commands that exist."""

import re
import shlex
from collections import Counter
from functools import cache
from itertools import takewhile
from pathlib import Path

import nbformat
import pytest

from saa_lite.cli.parser import build_parser
from saa_lite.errors import UsageError
from saa_lite.items.claims import CLAIMS, SOURCES
from saa_lite.protocols import list_protocols
from saa_lite.report.course import COURSE
from saa_lite.report.notebooks import notebook_paths
from saa_lite.report.pages import scorecard_file, source_file
from saa_lite.report.readme import BLOCKS, FIRST, HEADLINES, marks, updated
from saa_lite.report.scorecard import (
    CONTRAST,
    SOURCE,
    TITLES,
    scorecard_markdown,
    scorecard_text,
    summary,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("[RC]*.md"), *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
PLACES = {"first results": "README.md", "course": "README.md", "results": "docs/results.md",
          "speed": "docs/kernels.md", "agreement": "docs/deployment.md"}  # fmt: skip
each_page = pytest.mark.parametrize("page", PAGES)


@pytest.mark.parametrize("name", BLOCKS)
def test_tables_are_those_of_the_tracked_records(name: str) -> None:
    place, (first, last) = PLACES[name], marks(name)
    assert [page for page, text in PAGES.items() if first in text] == [place]
    block = PAGES[place].partition(first)[2].partition(last)[0]
    assert block.strip("\n") == BLOCKS[name]().strip("\n"), f"saa-lite scorecard --readme {place}"


def test_only_the_blocks_between_the_marks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(BLOCKS):  # quick ones: the true ones are compared above
        monkeypatch.setitem(BLOCKS, name, f"| block | {number} |".format)

    def text(inside: dict[str, str]) -> str:
        lines = [line for name in inside for line in (marks(name)[0], inside[name], marks(name)[1])]
        return "\n".join(["before", *lines, "after"])

    for names in (BLOCKS, ["speed"]):
        old = text(dict.fromkeys(names, "old numbers"))
        assert updated(old) == text({name: BLOCKS[name]() for name in names})


START, END = marks("results")


@pytest.mark.parametrize("text", [START, END, f"{END} {START}"])
def test_missing_marks_are_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="must hold the two lines"):
        updated(text)


def test_a_file_without_marks_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"must hold a pair of marks, such as .*results"):
        updated("a page")


def test_readme_is_short() -> None:
    prose = re.sub(r"<!-- .*? -->|<picture>.*?</picture>", " ", README, flags=re.DOTALL)
    assert len(re.findall(r"\w[\w'.-]*", prose)) < 960  # tables, code and links counted


def test_readme_has_its_parts_in_order() -> None:
    """A sentence and a drawing, results, commands with times, notebooks, code, limits, sources."""
    lead, results, commands, course, code, limits, sources = re.split("^## ", README, flags=re.M)
    assert len(re.findall(r"\*\*.+?\.\*\*", lead, re.DOTALL)) == 1
    assert lead.count("<img ") == 1
    assert marks("first results")[0] in results
    assert len(re.findall(r"^\| ", results, re.MULTILINE)) == 2 + len(FIRST)
    lines = re.findall(r"^make .*", commands, re.MULTILINE)
    assert len(lines) == 3
    assert all(re.search(r": .*\b(seconds|an hour)\b", line) for line in lines)
    assert marks("course")[0] in course
    assert "```python\n" in code
    assert len(re.findall(r"^\* ", limits, re.MULTILINE)) >= 5
    assert len(re.findall(r"^\| `", sources, re.MULTILINE)) == len({*SOURCES}) - 1


def test_readme_names_notebooks_by_the_first_part_of_their_titles() -> None:
    names = [chapter.subject for chapter in COURSE]
    assert (names[1], names[2], names[-1]) == ("AdderNet", "What adder layers see", "Deployment")
    assert len({*names}) == len(names)
    assert all(f"[{c.number} {c.subject}](" in README for c in COURSE)


@each_page
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)|(?:src|srcset)=\"([^\"]+)", PAGES[page])
    names = [one or other for one, other in links]
    here = (ROOT / page).parent
    local = [name for name in names if "://" not in name]
    assert [name for name in local if not (here / name).exists()] == []
    assert all(name.startswith("https://") for name in names if name not in local)


@each_page
def test_files_it_names_exist(page: str) -> None:
    names = re.findall(
        r"`((?:notebooks|figures|saa_lite|docs|tests|\.devcontainer)(?:/[\w.-]+)+)`", PAGES[page]
    )
    assert [name for name in names if not (ROOT / name).exists()] == []


def commands(page: str) -> list[str]:
    """Lines of the shell that a page shows, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGES[page], re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def named(page: str, program: str) -> set[str]:
    """Words that follow a program's name, where a sentence or a block of the page has it."""
    return set(re.findall(rf"(?:`|^){program} ([a-z-]+)", PAGES[page], re.MULTILINE))


@each_page
def test_make_targets_it_names_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in named(page, "make"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@each_page
def test_commands_it_shows_are_understood(page: str) -> None:
    for command in commands(page):
        if command.startswith("saa-lite "):
            try:
                build_parser().parse_args(shlex.split(command)[1:])
            except SystemExit:
                pytest.fail(f"{page} shows {command!r}, which the program does not understand")


@each_page
def test_commands_it_names_exist(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in named(page, "saa-lite"):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args([name, "--help"])
        assert ended.value.code == 0, capsys.readouterr().err


PYTHON = [
    (p, code) for p in PAGES for code in re.findall(r"```python\n(.*?)```", PAGES[p], re.DOTALL)
]


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_it_shows_runs(
    page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {})


def test_readme_shows_ten_lines_of_code() -> None:
    (code,) = [code for page, code in PYTHON if page == "README.md"]
    assert len([line for line in code.splitlines() if line]) <= 10


def test_no_paragraph_stands_on_two_pages() -> None:
    texts = [part for text in PAGES.values() for part in text.split("\n\n") if len(part) > 120]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_the_course_is_what_the_notebooks_say_of_themselves() -> None:
    assert [chapter.name for chapter in COURSE] == [path.stem for path in notebook_paths()]
    for chapter, path in zip(COURSE, notebook_paths(), strict=True):
        cells = takewhile(lambda c: c.cell_type != "code", nbformat.read(path, as_version=4).cells)
        head = "\n".join(cell.source for cell in cells)
        assert head.splitlines()[0] == f"# {chapter.number} · {chapter.title}"
        assert re.search(rf"\b{chapter.minutes} minutes\s+to\s+read\b", head), chapter.name


def test_a_chapter_needs_only_chapters_before_it_or_10() -> None:
    seen = ["10"]  # a counter of costs, which needs nothing but 01
    for chapter in COURSE:
        assert set(chapter.needs) <= set(seen), chapter.name
        seen.append(chapter.number)


def test_headlines_are_few_and_claims() -> None:
    assert 6 <= len(HEADLINES) <= 10
    assert len(FIRST) == 6
    assert {*HEADLINES, *FIRST} <= {claim.id for claim in CLAIMS}
    assert {name.partition("/")[0].removesuffix("-supp") for name in FIRST} == {
        source.removesuffix("-supp") for source in SOURCES
    }


def test_the_scorecard_is_that_of_the_tracked_records_and_fits_a_screen_or_three() -> None:
    page = (ROOT / "figures" / "scorecard.md").read_text(encoding="utf-8")
    assert page == scorecard_file(), "run: saa-lite figures"
    assert len(page.splitlines()) < 130
    assert len(scorecard_text().splitlines()) < 120


# Each takes seconds, and more than one test reads it.
whole_scorecard, page_of = cache(scorecard_markdown), cache(source_file)


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
    statements, contrasts, checks, explorations = tables(whole_scorecard()).values()
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
    found = tables(whole_scorecard())
    assert all(row[1] not in ("", "—") for row in found[TITLES[SOURCE]])
    pages = [tables(page_of(source)) for source in SOURCES]
    long = [row for page in pages for row in page.get(TITLES[CONTRAST], ())]
    names = {row[0] for row in long}
    assert {"regime-u:NetAug - CNN", "regime-d:AugShift - Shift"} <= names
    assert f"no source states: {len(long)}, " in summary()


def test_rows_read_alone() -> None:
    texts = [row[0] for rows in tables(whole_scorecard()).values() for row in rows]
    assert [text for text in texts if text.startswith("…")] == []
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("source", SOURCES)
def test_the_page_of_a_source_is_that_of_the_tracked_records(source: str) -> None:
    page = ROOT / "figures" / source / "claims.md"
    assert page.read_text(encoding="utf-8") == page_of(source), "run: saa-lite figures"
    assert ("![" in page.read_text()) == (page.parent / "forest.png").is_file()
