"""The house keeps its size: short functions, files of one idea, no circles of imports."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import saa_lite

PACKAGE = Path(saa_lite.__file__).parent
LONGEST_FUNCTION = 60  # lines, decorators and docstring included
LONGEST_FILE = 320
LONGER = {"deploy/functions.py": 335, "deploy/graph.py": 390}  # came in meanwhile; none may join


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def long_functions(tree: ast.Module, most: int) -> list[str]:
    functions = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lines = {
        node.name: node.end_lineno - min(n.lineno for n in (node, *node.decorator_list)) + 1
        for node in functions
    }
    return [name for name, count in lines.items() if count > most]


def imported(name: str, tree: ast.Module, known: dict[str, ast.Module]) -> set[str]:
    """Modules of the package that a module reads, late imports and those for types included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in known else node.module for full in names}
    return (found & known.keys()) - {name}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {name: long_functions(tree, LONGEST_FUNCTION) for name, tree in trees().items()}
    assert not {name: functions for name, functions in long.items() if functions}


def test_no_file_holds_more_than_one_idea_needs() -> None:
    lines = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert not {n: c for n, c in lines.items() if c > LONGER.get(n, LONGEST_FILE)}


def test_no_circle_of_modules() -> None:
    known = trees()
    TopologicalSorter({n: imported(n, t, known) for n, t in known.items()}).prepare()


def test_these_checks_can_fail() -> None:
    long = ast.parse("@cache\ndef f():\n" + "    x = 1\n" * LONGEST_FUNCTION)
    assert long_functions(long, LONGEST_FUNCTION) == ["f"]
    assert not long_functions(long, LONGEST_FUNCTION + 2)
    two = {
        "p.a": ast.parse("from p.b import x"),
        "p.b": ast.parse("def f():\n    from p import a"),
    }
    with pytest.raises(CycleError):
        TopologicalSorter({n: imported(n, t, two) for n, t in two.items()}).prepare()
