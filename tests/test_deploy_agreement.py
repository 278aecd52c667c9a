"""``saa-lite deploy --check``: a line a combination, none twice, and a difference is a failure."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from saa_lite.cli import main
from saa_lite.deploy import agreement
from saa_lite.deploy.agreement import (
    Agreement,
    agreements_path,
    cases,
    compare_one,
    read_agreements,
)
from saa_lite.deploy.host import HostNetwork, compiler
from saa_lite.errors import RecordError
from saa_lite.report.deployment import agreement_block

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no C compiler here: neither cc, gcc, clang nor the extra deploy"
)
NAME = "lenet5_bn-binary-3-host"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Combinations that were really compared, on 4 images, in a project of their own."""
    made: list[str] = []

    def few(case: agreement.Case) -> Agreement:
        made.append(str(case))
        return compare_one(case, images=4)

    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.setattr(agreement, "compare_one", few)
    return made


def test_the_tracked_comparisons_found_no_difference() -> None:
    found = read_agreements()
    assert found
    assert [one.wrong for one in found if one.wrong] == []
    assert all(one.images >= (1000 if one.case.target == "host" else 20) for one in found)
    assert all(one.ram == one.predicted_ram for one in found)
    sized = [one for one in found if one.flash and one.predicted_flash]
    assert all(abs(one.predicted_flash / one.flash - 1) < 0.05 for one in sized)


def test_the_grid_is_what_it_should_be() -> None:
    here = {str(case) for case in cases() if case.target == "host"}
    assert len(here) == 4 * 3 * 7
    assert len(cases()) - len(here) == 4 * 2 * 3
    assert {"mobilenet_v2_tiny-shift-8-host", "resnet20-binary-2-host"} <= here


@needs_compiler
def test_a_second_run_compares_nothing_again(
    calls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert main(["deploy", "--check", NAME, "--json"]) == 0
    assert calls == [NAME]
    (one,) = read_agreements()
    assert (one.maps, one.images, one.wrong, one.ram) == (5, 4, None, one.predicted_ram)
    said = capsys.readouterr()
    assert "5 maps of each of 4 images are equal" in said.err
    assert json.loads(said.out.partition("]")[0] + "]")[0]["network"] == "lenet5_bn"
    assert "| lenet5_bn, 32² | binary | 3 | 4 |" in agreement_block()
    monkeypatch.setattr(agreement, "code_hash", lambda: "of other code")
    assert main(["deploy", "--check", NAME]) == 0
    assert calls == [NAME, NAME]
    assert len(read_agreements()) == 1


@needs_compiler
def test_a_difference_is_written_down_and_is_a_failure(
    calls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostNetwork, "first_difference", lambda *_: "fc")
    assert main(["deploy", "--check", NAME]) != 0
    assert read_agreements()[0].wrong == "fc"
    assert "layer 'fc' gives other bits" in capsys.readouterr().err


def test_lines_are_kept_in_the_order_of_the_grid(calls: list[str]) -> None:
    first = Agreement(
        cases()[1], 32, 4, 5, None, 1, 1, None, None, None, "c", "s", "d", {}, "commit", "now"
    )
    for one in (first, replace(first, case=cases()[0]), replace(first, ram=2, predicted_ram=2)):
        agreement._keep(one)
    assert [(one.case, one.ram) for one in read_agreements()] == [(cases()[0], 1), (cases()[1], 2)]
    path = agreements_path()
    path.write_text(path.read_text() + "torn\n")
    with pytest.raises(RecordError, match="line 3"):
        read_agreements()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--check", "resnet9*"], "--check must match a combination NETWORK-OPERATOR-BITS-TARGET"),
        (["folder", "--check", "*"], "CHECKPOINT and --check exclude each other"),
        ([], "CHECKPOINT is missing"),
        (["folder", "--float"], "--float is for --format onnx and torch-export"),
        (
            ["folder", "--format", "onnx", "--multiply"],
            "--target and --multiply are for",
        ),
        (["folder", "--format", "tflite"], "format must be one of 'c', 'onnx', 'torch-export'"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], calls: list[str]
) -> None:
    assert main(["deploy", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert calls == []
