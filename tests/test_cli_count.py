"""``saa-lite count``: a table for people, JSON alone for programs, one sentence per error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from saa_lite import cli
from saa_lite.costs import KINDS


class Odd(nn.Module):
    """A network with an operator that nobody can count, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.idle = nn.Conv2d(3, 4, 8, bias=False), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(self.first(images))


READY = nn.Sequential(nn.Conv2d(3, 4, 8, stride=217, bias=False))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["count", *arguments]) == 0
    return capsys.readouterr().out


def test_json_holds_total_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["mobilenet_v2_w035", "--resolution", "160", "--num-classes", "100"]
    found = json.loads(printed(capsys, *options, "--conv", "adder", "--json"))
    total, layers = found["total"], found["layers"]
    assert total["multiply"] + total["add"] == 29_722_800 * 2
    assert (total["multiply"], total["shift"], total["xnor"]) == (7_281_200, 0, 0)
    for kind in (*KINDS, "batch_norm", "parameters", "bytes_moved"):
        assert total[kind] == sum(layer.get(kind, 0) for layer in layers)
    assert total["by_width"]["add float 32"] == total["add"]
    assert total["energy_mJ"]["A"] == pytest.approx(
        sum(layer["energy_mJ"]["A"] for layer in layers)
    )
    assert found["resolution"] == 160
    assert found["unknown"] == {}


def test_json_says_null_where_there_is_no_rule(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "resnet20", "--conv", "binary", "--json"))
    assert found["total"]["energy_mJ"]["A"] is None
    assert found["total"]["xnor"] == 40_370_176
    assert found["resolution"] == 32


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "resnet32", "--num-classes", "10")
    lines = text.splitlines()
    assert lines[0].split() == ["layer", *KINDS, "parameters", "A", "B", "C"]
    assert any(line.startswith("conv1 ") and "442,368" in line for line in lines)
    assert "multiply                        69,124,736" in lines


def test_small_input_has_its_own_resolution(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "mobilenet_v2_w035", "--small-input", "--json"))
    assert found["resolution"] == 32
    assert found["small_input"] is True


def test_a_network_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, f"{__name__}:Odd", "--resolution", "12")
    assert "Not counted: linalg_matrix_exp in (network)" in text
    assert "Never used: idle" in text
    assert "one image of 3 × 12 × 12" in text
    assert text.count("bytes") == 3  # moved, at the peak, and in the note
    assert "multiply                               768" in printed(capsys, f"{__name__}:READY")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nosuch"], "got 'nosuch'"),
        (["resnet20", "--conv", "xor"], "conv must be one of"),
        (["resnet20", "--num-classes", "0"], "num_classes must be an integer of at least 1"),
        (["resnet20", "--resolution", "0"], "--resolution must be at least 1; got 0"),
        (["lenet5_bn", "--resolution", "8"], "images of at least 32×32; got 8×8"),
        (["saa_lite.Odd"], "package.module:name"),
        ([":x"], "must name a module"),
        ([f"{__name__}:Odd", "--conv", "adder"], "--conv cannot change a network of your own"),
        ([f"{__name__}:Odd", "--small-input", "--num-classes", "3"], "--num-classes and --small"),
        (["torch:no_such_network"], "must name a module"),
        (["no_such_module:x"], "must name a module"),
        ([f"{__name__}:failing"], "returns a network; KeyError: 'no weights here'"),
        ([f"{__name__}:Fails"], "cannot run on [1, 3, 224, 224]: AttributeError: 'Tensor' object"),
        (["json:dumps"], "must name a module"),
        (["math:pi"], "must name a module"),
        (["os:getcwd"], "model must be a torch.nn.Module"),
    ],
)
def test_errors(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["count", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert complaint in shown.err
    assert shown.err.count("\n") == 1


def test_a_module_of_the_current_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed command does not have that folder on its path by itself."""
    (tmp_path / "net_of_mine.py").write_text(
        "from torch import nn\nprint('imported')\nNet = nn.Conv2d(3, 4, 5, bias=False)"
    )
    (tmp_path / "torn_by_me.py").write_text("def net(:")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    found = json.loads(printed(capsys, "net_of_mine:Net", "--resolution", "6", "--json"))
    assert found["total"]["multiply"] == 2 * 2 * 4 * 3 * 25
    assert cli.main(["count", "torn_by_me:net"]) == 2
    assert "a network; SyntaxError: invalid syntax" in capsys.readouterr().err


def failing() -> nn.Module:
    raise KeyError("no weights here")


class Fails(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.blurred()


def test_json_alone_in_a_real_process() -> None:
    command = [
        sys.executable,
        "-m",
        "saa_lite",
        "count",
        "lenet5_bn",
        "--in-channels",
        "1",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["total"]["multiply"] == 416_520
