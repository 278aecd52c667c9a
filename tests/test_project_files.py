"""CITATION, workflow and hooks say what README, pyproject and Makefile say."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_every_source_of_readme_can_be_cited() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Sources")[2]
    links = set(re.findall(r"https://(?:arxiv\.org|openreview\.net)/[^)\s]+", readme))
    references = loaded("CITATION.cff")["references"]
    assert {reference["url"] for reference in references} == links
    for reference in references:
        first = reference["authors"][0]
        assert f"{first['given-names'][0]}. {first['family-names']}" in readme, reference["title"]
        words = reference["title"].partition(":")[0]
        assert words in readme


def test_version_is_one() -> None:
    assert loaded("CITATION.cff")["version"] == PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## ([\d.]+)", changes, re.MULTILINE).group(1) == PROJECT["version"]


def test_hooks_are_the_checks_of_make_test() -> None:
    (local,) = loaded(".pre-commit-config.yaml")["repos"]
    entries = {hook["entry"].removeprefix(".venv/bin/").split()[0] for hook in local["hooks"]}
    names = "ruff|codespell|mypy|lint-imports"
    checks = set(re.findall(rf"^\t.*\$\(BIN\)/({names})\b", MAKEFILE, re.MULTILINE))
    assert entries == checks


def test_a_slip_is_found_in_text_and_not_in_pictures(tmp_path: Path) -> None:
    page = tmp_path / "page.ipynb"
    slip = "teh"  # codespell:ignore
    page.write_text(f'"the colour centre"\n"image/png": "{slip}+/{slip}"\n"and {slip} rest"\n')
    command = [sys.executable, "-m", "codespell_lib", "--toml", ROOT / "pyproject.toml", page]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == [f"{page}:3: {slip} ==> the"]


def test_the_workflow_covers_systems_pythons_and_both_ends_of_the_ranges() -> None:
    jobs = loaded(".github/workflows/tests.yml")["jobs"]
    rows = jobs["systems"]["strategy"]["matrix"]["include"]
    assert {row["system"].partition("-")[0] for row in rows} == {"ubuntu", "macos", "windows"}
    assert {row["resolution"] for row in rows} == {"highest", "lowest-direct"}
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    pythons = {row["python"] for row in rows}
    assert {f"3.{low}", f"3.{int(high) - 1}"} <= pythons
    assert all(int(low) <= int(name.partition(".")[2]) < int(high) for name in pythons)
    assert any(step.get("run") == "make test" for step in jobs["pinned"]["steps"])


def test_the_container_is_set_up_by_make() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    target = container["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
