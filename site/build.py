"""The web site: README, docs, notebooks, solutions and API pages in one folder, offline.

Sources are laid out in ``build/site-source`` as they lie in the project, so that their links hold,
and Sphinx makes ``build/site`` of them. Nothing in it is loaded from elsewhere.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from saa_lite.items.registry import list_items
from saa_lite.report.course import COURSE

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET = ROOT / "build" / "site-source", ROOT / "build" / "site"
API = ("nn", "ops", "models", "train", "augment", "quantize", "costs", "search", "deploy", "data")
MADE = {".ipynb_checkpoints"}


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
    shutil.rmtree(TARGET, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(ROOT / "site")]
    command += ["-d", str(ROOT / "build" / "site-doctrees")]
    done = subprocess.run([*command, str(SOURCE), str(TARGET)], check=False)
    if done.returncode:
        return done.returncode
    link_pages()
    found = broken()
    print(json.dumps(found, indent=1) if found else f"{TARGET}: every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
