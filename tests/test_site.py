"""What `make site` lays out; broken or foreign links are seen. Sphinx itself does not run here."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser_lab import browser_path, chromium
from matplotlib.figure import Figure

from saa_lite.errors import SaaLiteError
from saa_lite.report.course import COURSE
from saa_lite.viz import frames
from saa_lite.viz.panel import NOTE, Choice, Slider

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("site_build", ROOT / "site" / "build.py")
assert SPEC
assert SPEC.loader
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)


def test_everything_is_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SOURCE", tmp_path / "source")
    build.lay_out()
    index = (tmp_path / "source" / "index.md").read_text(encoding="utf-8")
    listed = [
        line for line in index.splitlines() if line.startswith(("notebooks/", "docs/", "api/"))
    ]
    assert {f"notebooks/{chapter.name}" for chapter in COURSE} <= set(listed)
    assert {f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    made = tmp_path / "source"
    assert all(any(made.glob(f"{name}.*")) for name in listed)
    assert (made / "extra" / "figures" / "taps-dark.svg").is_file()


def test_programs_find_their_way() -> None:
    text = build.for_machines("# x\n\n**One sentence.**")
    assert text.startswith("# saa_lite\n\n> One sentence.\n")
    assert all(f"notebooks/{chapter.name}.html" in text for chapter in COURSE)
    assert "- addernet-impacts/eq-gradients: " in text


def test_links_in_outputs_lead_to_pages(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<a href="a/b.ipynb#c"></a><a href="https://example.org/d.ipynb"></a>')
    build.link_pages(tmp_path)
    assert page.read_text() == '<a href="a/b.html#c"></a><a href="https://example.org/d.ipynb"></a>'


def test_links_that_lead_nowhere_or_elsewhere_are_seen(tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("<p>")
    (tmp_path / "page.html").write_text(
        '<a href="there.html#a">a</a> <a href="https://example.org/">b</a> <a href="#c">c</a>'
        '<img src="data:image/png;base64,AAAA"> <a href="gone.html">d</a>'
        '<script src="https://cdn.example.org/x.js"></script>'
        '<link rel="stylesheet" href="//cdn.example.org/y.css">'
    )
    assert sorted(build.broken(tmp_path)) == [
        "page.html loads //cdn.example.org/y.css",
        "page.html loads https://cdn.example.org/x.js",
        "page.html → gone.html",
    ]


def test_missing_frames_are_seen(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    for name in ("00", "02"):
        (tmp_path / "1" / f"{name}.webp").write_bytes(b"")
    (tmp_path / "page.html").write_text('<div data-address="1" data-sizes="1,3">')
    assert build.broken(tmp_path) == ["page.html → 1/01.webp"]


def draw(x: float, kind: str) -> Figure:
    return Figure((1, 0.5), facecolor=str(x / 3) if kind == "grey" else kind)


CONTROLS = {"kind": Choice(("grey", "red"), "grey", "kind"), "x": Slider(0, 3, 0.5, 1.5, "input x")}


def print_x(x: float, kind: str) -> dict[str, float]:
    return {"x": x if kind == "grey" else -x}


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only one of the course: a text, a panel with its stored outputs, and 1 / 0."""
    name = COURSE[3].name
    for place, folder in (("ROOT", "root"), ("SOURCE", "source"), ("FRAMES", "frames")):
        monkeypatch.setattr(build, place, tmp_path / folder)
    monkeypatch.setattr(build, "COURSE", COURSE[3:4])
    new = nbformat.v4
    stored = [
        new.new_output("stream", text="before"),
        new.new_output("stream", text=f"{NOTE}\nx = +1.5000\n"),
        new.new_output("display_data", data={"image/png": "AAAA"}),
    ]
    code = "from saa_lite.viz.panel import panel\nprint(panel.__module__)"
    cells = [new.new_markdown_cell("#"), new.new_code_cell(code, outputs=stored)]
    cells.append(new.new_code_cell("1 / 0"))
    for folder in ("root", "source"):
        path = tmp_path / folder / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(new.new_notebook(cells=cells), path)
    return tmp_path / "source" / "notebooks" / f"{name}.ipynb"


def test_frames_take_the_place_of_the_still_picture(
    notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed = []

    def execute(path: Path, profile: str, output: Path) -> None:
        executed.append([cell.source for cell in nbformat.read(path, as_version=4).cells])
        frames.record(draw, CONTROLS, print_x, path.parent / "1")

    monkeypatch.setattr(build, "execute", execute)
    assert build.panels_that_move(draw=False) == []
    assert not executed
    assert build.panels_that_move(draw=True) == []
    ((recording, text, code),) = executed  # the last cell, which fails, is not executed
    assert "record_panels(" in recording
    assert text == "#"
    assert "import panel" in code
    first, moving = nbformat.read(notebook, as_version=4).cells[1].outputs
    assert first.text == "before"
    assert f'data-address="../frames/{notebook.stem}/1"' in moving.data["text/html"]
    shown = notebook.parent.parent / "extra" / "frames" / notebook.stem / "1"
    assert len(list(shown.glob("*.webp"))) == 14
    build.draw_panels(build.ROOT / "notebooks" / notebook.name)
    assert len(executed) == 1  # kept


def test_a_notebook_that_fails_keeps_its_still_pictures(
    notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise SaaLiteError("cell 4: no")

    monkeypatch.setattr(build, "execute", fail)
    (line,) = build.panels_that_move(draw=True)
    assert line == f"panels of {notebook.name} stay still: cell 4: no"
    assert len(nbformat.read(notebook, as_version=4).cells[1].outputs) == 3


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_moved_control_shows_another_picture_and_its_numbers(tmp_path: Path, theme: str) -> None:
    if not (path := browser_path()):
        pytest.skip("frames were not moved in a browser: neither Chromium nor Chrome was found")
    made = frames.record(draw, CONTROLS, print_x, tmp_path / "frames")
    for name in ("frames.js", "frames.css"):
        shutil.copy(ROOT / "site" / name, tmp_path / name)
    (tmp_path / "page.html").write_text(
        '<link rel="stylesheet" href="frames.css"><script src="frames.js" defer></script>'
        + frames.page_html(made, "frames"),
        encoding="utf-8",
    )
    failed: list[str] = []
    with chromium(path) as browser:
        page = browser.new_page(color_scheme=theme, viewport={"width": 900, "height": 600})
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())

        def shown() -> tuple[str, str]:
            page.wait_for_function("document.querySelector('img').complete")
            assert page.evaluate("document.querySelector('img').naturalWidth") == 150
            source = page.locator("img").get_attribute("src")
            return source, page.locator("pre").inner_text().strip().replace("\xa0", " ")

        assert shown() == ("frames/03.webp", "x = 1.5")
        slider = page.get_by_label("input x")
        slider.focus()
        slider.press("ArrowRight")
        assert shown() == ("frames/04.webp", "x = 2")
        assert page.locator("output").inner_text() == "2.0"
        page.get_by_label("kind").select_option("red")
        assert shown() == ("frames/11.webp", "x = -2")
        slider.press("End")
        assert shown() == ("frames/13.webp", "x = -3")
        assert page.evaluate("document.documentElement.scrollWidth <= 900")
    assert failed == []
