"""What `make site` lays out; broken or foreign links are seen. Sphinx itself does not run here."""

import importlib.util
from pathlib import Path

import pytest

from saa_lite.report.course import COURSE

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
