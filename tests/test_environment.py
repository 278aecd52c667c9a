"""The set-up files agree: ranges in pyproject, pins in constraints, environment.yml and uv.lock."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
ASKED_FOR = ("cluster", "site")  # extras that nobody gets unasked


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct(*without: str) -> dict[str, Requirement]:
    project = pyproject()
    texts = [*project["dependencies"]]
    for name, extra in project["optional-dependencies"].items():
        texts += [] if name in without else extra
    return {normal(r.name): r for r in map(Requirement, texts)}


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^[\s-]*([A-Za-z0-9_.-]+)==(\S+)$", text, re.MULTILINE)
    return {normal(name): version for name, version in found}


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
LOCKED = {package["name"]: package for package in LOCK["package"]}
CONDA = pins((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    for name, requirement in direct().items():
        assert name in CONSTRAINTS, f"{name} is missing from constraints.txt"
        assert requirement.specifier.contains(CONSTRAINTS[name]), requirement


def test_conda_has_exactly_the_direct_dependencies_at_the_same_pins() -> None:
    """All but those of a cluster and of the site: `make` does not install them either."""
    assert {name: CONSTRAINTS[name] for name in direct(*ASKED_FOR)} == CONDA


def test_the_lock_holds_exactly_the_pins() -> None:
    """One version of each on all systems and Pythons, and nothing that is not pinned."""
    assert len(LOCK["package"]) == len(LOCKED)
    versions = {name: package["version"] for name, package in LOCKED.items()}
    assert versions.pop("saa-lite") == pyproject()["version"]
    assert versions == CONSTRAINTS


def test_the_lock_was_made_of_these_ranges() -> None:
    listed = LOCKED["saa-lite"]["metadata"]["requires-dist"]
    assert {entry["name"]: entry["specifier"] for entry in listed} == {
        name: str(requirement.specifier) for name, requirement in direct().items()
    }
    assert LOCK["requires-python"].replace(" ", "") == pyproject()["requires-python"]


def test_the_lock_names_the_public_index_alone() -> None:
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://[^/\"]+", text)) == {
        "https://pypi.org",
        "https://files.pythonhosted.org",
    }
    others = [package for name, package in LOCKED.items() if name != "saa-lite"]
    assert all(p["source"] == {"registry": "https://pypi.org/simple"} for p in others)
    assert not re.search(r'(?:url|path) = "(?!https://files\.pythonhosted\.org/)', text)


def test_conda_python_is_supported() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    version = re.search(r"python=(3\.\d+)", text)
    assert version
    assert Requirement(f"x{pyproject()['requires-python']}").specifier.contains(version[1] + ".0")


@pytest.mark.parametrize("name", sorted(direct(*ASKED_FOR)))
def test_what_is_installed_is_what_is_pinned(name: str) -> None:
    """A local label such as +cu132 names a build of the same version."""
    assert metadata.version(name).partition("+")[0] == CONSTRAINTS[name]


def test_each_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if re.match(r'^    "[a-z0-9_-]+>=', line, re.IGNORECASE)]
    assert len(listed) == len(direct())
    assert all(re.search(r",\s+# \S+", line) for line in listed)


def test_this_python_is_supported() -> None:
    running = ".".join(map(str, sys.version_info[:3]))
    assert Requirement(f"x{pyproject()['requires-python']}").specifier.contains(running)
