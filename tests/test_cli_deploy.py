"""``saa-lite deploy``: from a folder of ``saa-lite train`` to a folder of C."""

import json
from pathlib import Path

import pytest

from saa_lite.cli import main

TRAIN = "train --model resnet8 --conv shift --dataset digits --size 8 --train-images 64"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    assert main([*TRAIN.split(), "--epochs", "1", "--quiet", "--out", str(out)]) == 0
    return out


def test_writes_the_folder_and_says_what_it_takes(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the extra: the export works, and says what was not proved."""
    monkeypatch.setattr("saa_lite.deploy.export.missing_tools", lambda: ["ziglang"])
    capsys.readouterr()
    command = ["deploy", str(trained), "--bits", "3", "--target", "rv32i", "--out", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["inner"] == 0
    assert said["proof"] == "not proved, as the extra deploy is not installed"
    assert "not linked and not run for rv32i, as ziglang is not installed" in said["checks"]
    assert {layer["name"] for layer in said["layers"]} >= {"conv1", "stage1.0.conv2", "pool"}
    assert f"#define NET_ARENA_BYTES {said['predicted_ram']}u" in (tmp_path / "net.h").read_text()
    assert "not proved" in (tmp_path / "README.md").read_text()
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "multiplications in inner loops: 0" in table
    assert f"Written to {tmp_path}" in table


def test_mistakes_are_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, expected in (
        ([str(tmp_path)], "CHECKPOINT must be a folder that saa-lite train has written"),
        ([str(trained), "--bits", "1"], "bits must be an integer from 2 to 8; got 1"),
        ([str(trained), "--target", "z80"], "target must be one of 'host', 'rv32i'"),
    ):
        assert main(["deploy", *arguments, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert expected in error
    assert not list(tmp_path.glob("out/*"))
