"""The steps on a GPU, rehearsed without one: records, time limits, and the steps themselves."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_faults import a_lie, breaks_down, falls_dead, hangs, never_called, two_rows

from saa_lite.bench import gpu, gpu_times
from saa_lite.bench.gpu_run import Place, Record, Step, read_lines, run_steps
from saa_lite.cli import bench_gpu, main
from saa_lite.files import bench_dir

HERE, HEADER = Place("cpu", 1), {"device": "none"}


def test_whatever_happens_to_a_step_its_results_and_the_next_step_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    functions = (a_lie, breaks_down, falls_dead, hangs, two_rows)
    steps = [Step(function.__name__, function, 60) for function in functions]
    steps[3] = replace(steps[3], seconds=5)
    found = {outcome.step: outcome for outcome in run_steps(steps, HERE, Record(path, HEADER))}
    assert {name: outcome.status for name, outcome in found.items()} == {
        "a_lie": "wrong", "breaks_down": "failed", "falls_dead": "failed", "hangs": "out of time",
        "two_rows": "right",
    }  # fmt: skip
    assert found["breaks_down"].error == "ValueError: no such number"
    assert found["falls_dead"].error == "its process ended with status 9"
    assert found["hangs"].error == "it took longer than 5 s"
    lines = read_lines(path)
    assert lines[0] == HEADER
    assert [line["value"] for line in lines if "value" in line] == [2, 3, 4, 5, 1.5, "inf"]
    worker = next(line["in"] for line in lines if "in" in line)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_record_is_gone_on_with_only_where_all_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    first = Record(path, HEADER)
    first.add({"step": "done", "value": 1})
    first.add({"step": "done", "status": "right"})
    first.add({"step": "half", "value": 2})
    first.add({"step": "half", "status": "out of time"})
    with path.open("a") as file:
        file.write('{"step": "torn", "sta')
    again = Record(path, HEADER)
    assert again.finished == {"done"}
    assert [line.get("step") for line in read_lines(path)] == [None, "done", "done"]
    steps = [Step("done", never_called, 60), Step("half", never_called, 60)]
    (outcome,) = run_steps(steps, HERE, again, seconds=1)
    assert (outcome.step, outcome.status) == ("half", "not begun")
    assert Record(path, {"device": "another"}).finished == set()
    assert read_lines(path) == [{"device": "another"}]
    assert read_lines(tmp_path / "none") == []


def test_all_steps_are_rehearsed_in_the_interpreter() -> None:
    """The same functions that a GPU runs, on small cases: no step may fail for want of care."""
    pytest.importorskip("triton")
    program = """
import json
from saa_lite.bench.gpu import STEPS
from saa_lite.bench.gpu_run import Place
print(json.dumps({step.name: list(step.run(Place("cpu", 1))) for step in STEPS}))
"""
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        check=False, timeout=400, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    rows = [row for step in found.values() for row in step]
    assert all(row.get("holds", True) for row in rows)
    without_a_gpu = {"CUDA graph"}
    assert {name for name, step in found.items() if not step} == without_a_gpu
    assert len(found["kernels against the oracle"]) > 1
    assert {row["call"] for row in found["launches"]} >= {"uint8", "adder, channels_last"}


def test_the_steps_fit_into_their_time_and_have_names_of_their_own() -> None:
    assert len({step.name for step in gpu.STEPS}) == len(gpu.STEPS)
    assert gpu.BUDGET < 240
    assert all(0 < step.seconds <= 90 for step in gpu.STEPS)
    header = gpu.header(HERE)
    assert header["rehearsal"]
    assert {"torch", "numba", "triton"} <= set(header["versions"])
    assert len(header["sources"]) == 16


def test_the_limit_is_that_of_the_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operations per tap. H200: 132 times 128 lanes at 1.98 GHz; A100: 108 times 64."""

    class Chip:
        major, minor, multi_processor_count, clock_rate = 9, 0, 132, 1_980_000

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Chip)
    assert gpu_times.limit(Place("cuda")) == pytest.approx(16.73e12, rel=1e-3)
    monkeypatch.setattr(Chip, "major", 8)
    monkeypatch.setattr(Chip, "multi_processor_count", 108)
    monkeypatch.setattr(Chip, "clock_rate", 1_410_000)
    assert gpu_times.limit(Place("cuda")) == pytest.approx(4.87e12, rel=1e-3)


def test_a_clock_that_torch_does_not_tell_is_asked_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chip:
        uuid = "GPU-1"

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Chip)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert math.isnan(gpu_times._clock(Place("cuda")))
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$3" = --id=GPU-1 ] && echo 1980\n')
    program.chmod(0o755)
    assert gpu_times._clock(Place("cuda")) == 1.98e9


@pytest.fixture
def pretended_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.setattr("saa_lite.cli.bench.resolve_device", lambda _: "cpu:rehearsal")
    monkeypatch.setattr(gpu, "device_name", lambda _: "Some GPU")
    monkeypatch.setattr(gpu, "STEPS", (Step("device", two_rows, 60), Step("lie", a_lie, 60)))


@pytest.mark.usefixtures("pretended_gpu")
def test_the_command_prints_records_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "--device", "cuda", "--record"]
    assert main([*command, "device"]) == 0
    said = capsys.readouterr().out
    assert "device: right" in said
    assert "1 of 1 checks hold" in said
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "device: right" not in said
    assert "lie: wrong" in said
    assert "steps: 1 wrong; kept in" in said
    (path,) = bench_dir().iterdir()
    assert path.name == "some-gpu.jsonl"
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == read_lines(path)
    assert main(command) == 1
    assert "holds all steps already" in capsys.readouterr().out


@pytest.mark.usefixtures("pretended_gpu")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["resnet20"], "CASE must be one of device, lie; got resnet20"),
        (["--threads", "2"], "--threads is for --device cpu"),
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--device", "cuda", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_without_a_gpu_one_sentence_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bench_gpu, "main", never_called)
    assert main(["bench", "--device", "cuda", "--record"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "saa-lite: --device cuda asks for a GPU, and torch finds none; use --device cpu"
    )
