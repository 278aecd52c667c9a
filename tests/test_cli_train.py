"""``saa-lite train``: places, resuming, refusals, and what it says on the way."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_samples import no_space
from tqdm.std import tqdm

from saa_lite import cli, files
from saa_lite.cli.output import plain_warnings
from saa_lite.locks import RUNNING, locked
from saa_lite.train import evaluate

# Ordinary convolutions: compiling the adder kernels would take longer than the training.
NETWORK = ["--dataset", "digits", "--model", "lenet5_bn", "--conv", "conv", "--device", "cpu"]
BUDGET = ["--epochs", "1", "--train-images", "64", "--batch-size", "32"]
TRAIN = ["train", *NETWORK, *BUDGET, "--quiet"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.delenv("SAA_DATA_ROOT", raising=False)
    return tmp_path


def test_train_writes_history_and_refuses_to_overwrite_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(home / "out")
    assert cli.main([*TRAIN, "--out", out, "--json"]) == 0
    history = json.loads(capsys.readouterr().out)
    assert history == json.loads((home / "out" / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == [1]
    assert cli.main([*TRAIN, "--out", out]) == 2
    assert "already holds a training; add --resume" in capsys.readouterr().err
    assert cli.main([*TRAIN, "--out", out, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == history


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "alexnet"], "model must be one of"),
        (["--conv", "divide"], "conv must be one of"),
        (["--epochs", "0"], "epochs must be an integer of at least 1"),
        (["--lr", "nan"], "lr must be a finite number above 0; got nan"),
        (["--weight-decay", "inf"], "weight_decay must be a finite number of at least 0; got inf"),
        (["--dataset", "folder:/does/not/exist"], "/does/not/exist"),
        (["--resume"], "holds no checkpoint to go on from"),
    ],
)
def test_train_errors(
    options: list[str], complaint: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*TRAIN, "--out", str(home / "out"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (home / "out" / "history.json").exists()


def test_train_has_a_place_of_its_own_and_goes_on_with_resume(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(TRAIN) == 0
    (folder,) = (home / "data/runs/train").iterdir()
    assert folder.name == "lenet5_bn-conv-digits"
    settings = (folder / "settings.json").read_text()
    assert cli.main(TRAIN) == 2
    assert "add --resume to go on with it" in capsys.readouterr().err
    assert cli.main([*TRAIN, "--resume", "--epochs", "7"]) == 2
    assert (folder / "settings.json").read_text() == settings, "a refused resume changed it"
    assert cli.main([*TRAIN, "--resume"]) == 0


def test_a_refused_training_leaves_no_description(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*TRAIN, "--size", "8", "--out", str(home / "small")]) == 2
    assert "at least 32×32" in capsys.readouterr().err
    assert not (home / "small" / "settings.json").exists()


def test_a_second_training_in_the_same_folder_is_told_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(home / "out", purpose=RUNNING, busy="never"):
        assert cli.main([*TRAIN, "--out", str(home / "out")]) == 2
    assert "another training is going on" in capsys.readouterr().err


@pytest.mark.parametrize("resume", [False, True])
def test_train_notices_a_folder_that_cannot_be_written_before_it_loads_anything(
    resume: bool, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(home / "out")
    if resume:
        assert cli.main([*TRAIN, "--out", out]) == 0
    monkeypatch.setattr(
        "saa_lite.recipes.recipe.load_dataset", lambda *_, **__: pytest.fail("loaded")
    )
    monkeypatch.setattr(files.tempfile, "TemporaryFile", no_space)
    assert cli.main([*TRAIN, "--out", out, *["--resume"][:resume]]) == 2
    assert f"cannot write in {out}: No space left on device" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_told_in_one_plain_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [*TRAIN, "--epochs", "2", "--out", str(home / "out")]
    assert cli.main(two) == 0
    last = home / "out" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main([*two, "--resume"]) == 0
    line = capsys.readouterr().err
    assert line.startswith(f"saa-lite: {last} is damaged")
    assert line.endswith(f"going on from {home}/out/previous.safetensors\n")
    assert line.count("\n") == 1


def test_warnings_for_programmers_keep_their_form(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, ...]] = []
    monkeypatch.setattr(warnings, "showwarning", lambda *arguments: shown.append(arguments))
    warnings.simplefilter("default")
    with plain_warnings():
        warnings.warn("an old call", DeprecationWarning, stacklevel=1)
    assert [arguments[1] for arguments in shown] == [DeprecationWarning]


def test_the_bar_counts_what_is_done_and_a_finished_training_has_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("saa_lite.train.loop.tqdm", partial(tqdm, mininterval=0))
    loud = [option for option in TRAIN if option != "--quiet"]
    command = [*loud, "--epochs", "2", "--out", str(home / "out")]
    with monkeypatch.context() as patch:
        patch.setattr("saa_lite.train.run.evaluate", raise_on_call(2))
        assert cli.main(command) == 130
    assert "0/4" in capsys.readouterr().err
    assert cli.main([*command, "--resume"]) == 0
    bar = capsys.readouterr().err
    assert "2/4" in bar
    assert "4/4" in bar
    assert "0/4" not in bar
    assert cli.main([*command, "--resume"]) == 0
    assert capsys.readouterr().err == ""


def raise_on_call(number: int) -> Callable[..., dict[str, float]]:
    """The evaluation, interrupted in call ``number``."""
    calls = iter(range(1, number + 1))

    def interrupted(*arguments: Any, **options: Any) -> dict[str, float]:
        if next(calls) == number:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    return interrupted
