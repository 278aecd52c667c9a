"""The web site: README, docs, notebooks, solutions and API pages in one folder, offline.

Sources are laid out in ``build/site-source`` as they lie in the project, so that their links hold,
and Sphinx makes ``build/site`` of them. Nothing in it is loaded from elsewhere.

Notebooks are shown as they are committed, except for their slider panels: each notebook that has
some is executed up to the last one to draw them in many positions (:mod:`saa_lite.viz.frames`).
That takes minutes for each; the frames stay in ``build/frames`` until notebook, package or records
change.
"""

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from saa_lite.errors import SaaLiteError
from saa_lite.files import atomic_path
from saa_lite.items.registry import list_items
from saa_lite.report.course import COURSE
from saa_lite.report.notebooks import execute
from saa_lite.viz.frames import Frames, page_html
from saa_lite.viz.panel import NOTE

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET = ROOT / "build" / "site-source", ROOT / "build" / "site"
API = ("nn", "ops", "models", "train", "augment", "quantize", "costs", "search", "deploy", "data")
MADE = {".ipynb_checkpoints"}
FRAMES = ROOT / "build" / "frames"
STILLS = "--stills"  # the argument that leaves panels which are not drawn yet as still pictures


def lay_out() -> None:
    """Copy what is shown, with tables of contents."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for folder in ("docs", "notebooks", "figures"):
        shutil.copytree(ROOT / folder, SOURCE / folder, ignore=shutil.ignore_patterns(*MADE))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, SOURCE / name)
    shutil.copytree(ROOT / "figures", SOURCE / "extra" / "figures")
    for page in (SOURCE / "figures").glob("*/*.md"):  # tables of items have no heading
        text, name = page.read_text(encoding="utf-8"), f"{page.parent.name}/{page.stem}"
        page.write_text(text if text.startswith("# ") else f"# {name}\n\n{text}", "utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    folder = "notebooks/solutions"
    readme = readme.replace(f"({folder})", f"({folder}/{COURSE[0].name}.ipynb)")
    parts = {
        "Notebooks": [f"notebooks/{chapter.name}" for chapter in COURSE],
        "Solutions": [f"notebooks/solutions/{chapter.name}" for chapter in COURSE],
        "Guides": sorted(f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")),
        "Results": ["figures/scorecard", *_pages()],
        "API": [f"api/{name}" for name in API],
        "Project": ["CONTRIBUTING", "CHANGELOG"],
    }
    present = {
        caption: [name for name in names if caption == "API" or _is_there(name)]
        for caption, names in parts.items()
    }
    trees = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```"])
        for caption, names in present.items()
        if names
    ]
    (SOURCE / "index.md").write_text("\n\n".join([readme, *trees, ""]), encoding="utf-8")
    (SOURCE / "api").mkdir()
    for name in API:
        text = (
            f"# saa_lite.{name}\n\n```{{eval-rst}}\n.. automodule:: saa_lite.{name}\n   :members:\n"
        )
        (SOURCE / "api" / f"{name}.md").write_text(f"{text}   :imported-members:\n```\n", "utf-8")
    (SOURCE / "extra" / "llms.txt").write_text(for_machines(readme), encoding="utf-8")


def _is_there(name: str) -> bool:
    return any((SOURCE / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb"))


def _pages() -> list[str]:
    found = (ROOT / "figures").glob("*/*.md")
    return sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in found)


def for_machines(readme: str) -> str:
    """``llms.txt``: the project on one page of plain text, for programs that read."""
    first = re.search(r"\*\*(.+?)\*\*", readme, re.DOTALL)
    lines = ["# saa_lite", "", f"> {' '.join(first.group(1).split()) if first else ''}", ""]
    lines += ["## Notebooks", ""]
    lines += [f"- [{c.title}](notebooks/{c.name}.html): {c.question}" for c in COURSE]
    lines += ["", "## Guides", ""]
    for path in sorted((ROOT / "docs").glob("*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"- [{title}](docs/{path.stem}.html)")
    lines += ["", "## Items: figures, tables, equations and claims of the papers", ""]
    lines += [f"- {item.id}: {item.title}" for item in list_items()]
    lines += ["", "## API", "", *(f"- [saa_lite.{name}](api/{name}.html)" for name in API), ""]
    return "\n".join(lines)


def draw_panels(path: Path) -> None:
    """Execute a notebook up to its last panel and keep the panels' frames, unless they are there.

    Raises:
        SaaLiteError: it does not run through.
    """
    if are_drawn(path):
        return
    folder = FRAMES / path.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = notebook.cells[: max(panel_cells(notebook)) + 1]
    first = f"from saa_lite.viz import frames as _frames\n_frames.record_panels({str(folder)!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    copy = folder / path.name
    nbformat.write(notebook, copy)
    execute(copy, "laptop", copy)
    (folder / "key").write_text(key_of(path), encoding="utf-8")


def are_drawn(path: Path) -> bool:
    """Whether the frames of a notebook's panels are there and as they would be drawn now."""
    key = FRAMES / path.stem / "key"
    return key.is_file() and key.read_text(encoding="utf-8") == key_of(path)


def key_of(path: Path) -> str:
    """A hash of the code of a notebook up to its last panel, of the package and the records."""
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells[: max(panel_cells(notebook)) + 1]
    texts = [cell.source for cell in cells if cell.cell_type == "code"]
    for folder, kind in (("saa_lite", "*.py"), ("data/measured", "*.jsonl")):
        texts += [p.read_text(encoding="utf-8") for p in sorted((ROOT / folder).rglob(kind))]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def panel_cells(notebook: nbformat.NotebookNode) -> list[int]:
    """Places of the cells whose outputs are those of a panel."""
    return [place for place, cell in enumerate(notebook.cells) if _still(cell) is not None]


def _still(cell: nbformat.NotebookNode) -> int | None:
    """The place of a panel's still picture among a cell's outputs, with its note before it."""
    for place, output in enumerate(cell.get("outputs", [])):
        if NOTE in output.get("text", ""):
            return place + 1
    return None


def show_panels(name: str) -> None:
    """Put the frames of a laid-out notebook's panels where their still pictures are."""
    path = SOURCE / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for number, place in enumerate(panel_cells(notebook), start=1):
        address = f"frames/{name}/{number}"
        shutil.copytree(FRAMES / name / str(number), SOURCE / "extra" / address)
        text = page_html(Frames.read(FRAMES / name / str(number) / "frames.json"), f"../{address}")
        cell = notebook.cells[place]
        still = _still(cell)
        shown = nbformat.v4.new_output("display_data", data={"text/html": text})
        cell.outputs[still - 1 : still + 1] = [shown]
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)


def panels_that_move(draw: bool) -> list[str]:
    """Draw and show what there is to draw; what went wrong, a line for each notebook."""
    wrong = []
    for chapter in COURSE:
        path = ROOT / "notebooks" / f"{chapter.name}.ipynb"
        if not panel_cells(nbformat.read(path, as_version=4)):
            continue
        if draw:
            print(f"{path.name}: panels", flush=True)
            try:
                draw_panels(path)
            except SaaLiteError as error:
                wrong.append(f"panels of {path.name} stay still: {error}")
        if are_drawn(path):
            show_panels(chapter.name)
    return wrong


def broken(site: Path = TARGET) -> list[str]:
    """Links and loaded files of the built pages that lead nowhere, or to another server."""
    wrong = []
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for tag, name, link in re.findall(r"<(\w+)[^>]*?\s(href|src|srcset)=\"([^\"]+)\"", text):
            elsewhere = re.match(r"(?:https?:)?//", link)
            if elsewhere and (name != "href" or tag == "link"):
                wrong.append(f"{page.relative_to(site)} loads {link}")
            place = link.partition("#")[0].partition("?")[0]
            if elsewhere or not place or place.startswith(("mailto:", "data:")):
                continue
            if not (page.parent / place).exists():
                wrong.append(f"{page.relative_to(site)} → {link}")
        for address, sizes in re.findall(r'data-address="([^"]+)" data-sizes="([^"]+)"', text):
            for number in range(math.prod(map(int, sizes.split(",")))):
                if not (page.parent / address / f"{number:02d}.webp").is_file():
                    wrong.append(f"{page.relative_to(site)} → {address}/{number:02d}.webp")
    return wrong


def link_pages(site: Path = TARGET) -> None:
    """Links that code in a notebook has put out lead to pages, not to notebooks."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        linked = re.sub(r'(href="(?!https?:)[^"#]+)\.ipynb(["#])', r"\1.html\2", text)
        if linked != text:
            page.write_text(linked, encoding="utf-8")


def main() -> int:
    """Lay out, build, and say what is broken."""
    lay_out()
    wrong = panels_that_move(draw=STILLS not in sys.argv[1:])
    shutil.rmtree(TARGET, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(ROOT / "site")]
    command += ["-d", str(ROOT / "build" / "site-doctrees")]
    done = subprocess.run([*command, str(SOURCE), str(TARGET)], check=False)
    if done.returncode:
        return done.returncode
    link_pages()
    found = wrong + broken()
    print(json.dumps(found, indent=1) if found else f"{TARGET}: every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
