"""Terminals that know only some characters: every command prints, and JSON keeps its values."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import ITEM, use_toy_item

from saa_lite import cli
from saa_lite.cli.output import printable, show_json, stand_in


class Terminal:
    """Takes the place of stdout and stderr, and knows the characters of one encoding."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self.bytes, self.encoding = io.BytesIO(), encoding
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(self.bytes, encoding, "strict"))

    def printed(self) -> str:
        sys.stdout.flush()
        sys.stderr.flush()
        return self.bytes.getvalue().decode(self.encoding)


def run(monkeypatch: pytest.MonkeyPatch, *command: str) -> str:
    terminal = Terminal(monkeypatch, "ascii")
    try:
        status = cli.main(command)
    except SystemExit as end:  # argparse has printed help, or what is wrong with the command
        status = int(end.code or 0)
    assert status in (0, 2)
    return terminal.printed()


COMMANDS = [
    ["--help"],
    ["items"],
    ["scorecard", "--numbers"],
    ["scorecard", "--markdown"],
    ["count", "resnet20", "--resolution", "32"],
    ["figures", ITEM],
    ["run", ITEM, "--device", "cpu", "--profile", "smoke"],
    ["record", ITEM],
    ["bench", "ß"],
    ["notebooks", "×"],
    ["train", "--dataset", "folder:Ω×", "--epochs", "1"],
    ["doctor", "--data-root", "no folder ×"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_prints(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_toy_item(monkeypatch)
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    assert run(monkeypatch, *command)


def test_stand_ins_are_read_as_what_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"×": "x", "−": "-", "²": "^2", "₂": "2", "α": "alpha", "…": "...", "é": "e", "書": "?"}
    assert {character: stand_in(character) for character in told} == told
    terminal = Terminal(monkeypatch, "ascii")
    with printable():
        print("32² × 3 ≥ α\udcff", file=sys.stdout)
    assert terminal.printed().strip() == "32^2 x 3 >= alpha?"
    with pytest.raises(UnicodeEncodeError):
        print("×", flush=True)  # nothing of this outlasts the command


def test_what_a_terminal_knows_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, "cp437")
    with printable():
        print("32² × 3 ≥ α")
    assert terminal.printed().strip() == "32² x 3 ≥ α"


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "utf-8"])
def test_json_has_the_same_values_everywhere(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"a × b": ["32²", "書", 1.5, None]}
    terminal = Terminal(monkeypatch, encoding)
    with printable():
        show_json(value)
    assert json.loads(terminal.printed()) == value
    assert ("×" in terminal.printed()) == (encoding == "utf-8")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["PYTHONIOENCODING", "LC_ALL"],
)
def test_the_program_itself_on_a_poor_terminal(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "saa_lite", "items"]
    rich, poor = (
        subprocess.run(command, env=os.environ | each, capture_output=True, check=False)
        for each in ({"PYTHONIOENCODING": "utf-8"}, environment)
    )
    assert (poor.returncode, poor.stderr) == (0, b"")
    poor.stdout.decode("ascii")
    expected = rich.stdout.decode("utf-8").splitlines()
    assert len(poor.stdout.splitlines()) == len(expected)
