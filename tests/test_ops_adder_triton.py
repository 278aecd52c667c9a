"""The GPU kernels against the oracle, with and without a GPU.

Triton's interpreter must be chosen before Triton is imported, so one subprocess runs all
interpreted cases (this file as a script) and the tests look up its results. Tests marked ``gpu``
are the steps of ``saa-lite bench --device cuda`` that check something.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from saa_lite.bench import gpu_checks
from saa_lite.bench.gpu_cases import (
    BOUND,
    Case,
    byte_difference,
    cases,
    differences,
    edge_cases,
)
from saa_lite.bench.gpu_run import Place

OF_KERNELS = (gpu_checks.kernels, gpu_checks.edges, gpu_checks.far)
OF_OPERATORS = (
    gpu_checks.operator, gpu_checks.repeats, gpu_checks.graph, gpu_checks.dtypes,
    gpu_checks.compiled,
)  # fmt: skip
CASES = cases() + edge_cases()
# The interpreter is slow. Five is no multiple of the turns of kinds, layouts and tiles.
WEEKLY = [case for number, case in enumerate(cases()[:24]) if number % 5 in (1, 3)]
OLD, LAID_OUT_AGAIN = "before Triton 3.7", [CASES[0], CASES[5], CASES[-1], *cases()[18:20]]
NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed here"
)


def interpret(chosen: Sequence[Case]) -> None:
    """Print {case: differences}; run in a process of its own, with TRITON_INTERPRET=1."""
    found = {
        case.name: differences(case) | {"bytes": 0.0 if case.bad else byte_difference(case)}
        for case in chosen
    }
    lay_out_as_before_3_7()
    found |= {f"{case.name} {OLD}": differences(case) for case in LAID_OUT_AGAIN}
    print(json.dumps(found))


def lay_out_as_before_3_7() -> None:
    """Have tiles the shape [PN, PM, TM, TN, 4]."""
    import triton.language as tl  # noqa: PLC0415

    from saa_lite.ops import adder_triton_kernels  # noqa: PLC0415

    for name, axis in (("TM", 2), ("TN", 3), ("PM", 1), ("PN", 0)):
        setattr(adder_triton_kernels, f"AXIS_{name}", tl.constexpr(axis))


@pytest.fixture(scope="module")
def interpreted(request: pytest.FixtureRequest) -> dict[str, dict[str, float]]:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    whole = ["--whole"] if request.config.getoption("--whole") else []
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, *whole],
        check=False, timeout=500, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return results


@NEEDS_TRITON
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.weekly if case in WEEKLY else ())
        for case in CASES
    ],
)
def test_interpreted_kernels_equal_the_oracle(case: Case, interpreted: Any) -> None:
    found = interpreted[case.name]
    assert ("weight gradient" in found) == (case.kind == "sign")
    assert max(found.values()) <= BOUND, found
    assert found["bytes"] == 0.0


@NEEDS_TRITON
@pytest.mark.parametrize("case", LAID_OUT_AGAIN, ids=[case.name for case in LAID_OUT_AGAIN])
def test_tiles_of_the_older_shape_equal_the_oracle_too(case: Case, interpreted: Any) -> None:
    assert max(interpreted[f"{case.name} {OLD}"].values()) <= BOUND


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("check", "triton"),
    [
        *((check, "1") for check in (*OF_KERNELS, *OF_OPERATORS)),
        *((check, "0") for check in OF_OPERATORS),
    ],
)
def test_on_a_device(check: Any, triton: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernels and without; what needs more memory than there is says so and is skipped."""
    monkeypatch.setenv("SAA_TRITON", triton)
    rows = list(check(Place("cuda")))
    assert rows
    assert [row for row in rows if not row.get("holds", True)] == []
    if skipped := [row["skipped"] for row in rows if "skipped" in row]:
        pytest.skip(skipped[0])


if __name__ == "__main__":
    interpret(CASES if "--whole" in sys.argv else [case for case in CASES if case not in WEEKLY])
