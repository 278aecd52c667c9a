"""The command line: JSON alone on stdout, one sentence per error, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import ITEM, use_toy_item

from saa_lite import cli
from saa_lite.items.registry import CATALOGUE
from saa_lite.locks import RUNNING, locked
from saa_lite.records import measured_records


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.delenv("SAA_DATA_ROOT", raising=False)
    return tmp_path


def saa_lite(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saa_lite", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def toy_item(monkeypatch: pytest.MonkeyPatch) -> None:
    use_toy_item(monkeypatch)


def test_items_json_is_json_alone_and_loads_no_torch() -> None:
    code = (
        "import sys; from saa_lite.cli import main; status = main(['items', '--json']);"
        "sys.exit('torch was imported' if {'torch', 'matplotlib'} & set(sys.modules) else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    items = json.loads(done.stdout)
    assert len(items) == len(CATALOGUE)
    for item in items:
        assert {"id", "title", "source", "notebook", "status"} <= set(item)
        assert item["status"] in ("not yet", "measured")


@pytest.mark.parametrize("options", [[], ["--markdown"], ["--numbers"]])
def test_scorecard_prints(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scorecard", *options]) == 0
    printed = capsys.readouterr().out
    assert f"0 of {len(CATALOGUE)} items measured" in printed
    assert printed.count("no: no protocol") > 10
    if not options:
        assert len(printed.splitlines()) < 120


def test_scorecard_json_keeps_published_and_measured_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["scorecard", "--json", "--numbers"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert set(tables) == {"items", "claims", "numbers"}
    number = next(n for n in tables["numbers"] if n["item"] == "shiftaddaug/claim-cifar100")
    assert (number["published"], number["measured"]) == ("4.95 points", None)


@pytest.mark.usefixtures("toy_item")
def test_run_record_figures(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", ITEM, "--device", "cpu", "--json"]) == 0
    printed = capsys.readouterr()
    assert [r["value"] for r in json.loads(printed.out)] == [1e-15]
    assert "a library that prints" in printed.err
    assert cli.main(["record", ITEM, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["records"] == 1
    assert len(measured_records(ITEM)) == 1
    assert cli.main(["figures", ITEM]) == 0
    assert (home / "figures" / f"{ITEM}.svg").is_file()


@pytest.mark.usefixtures("toy_item")
def test_a_campaign_goes_on_from_tracked_records(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def created(*options: str) -> str:
        assert cli.main(["run", ITEM, "--device", "cpu", "--json", *options]) == 0
        (record,) = json.loads(capsys.readouterr().out)
        return record["created"] + str(record["seconds"])

    first = created()
    assert cli.main(["record", ITEM]) == 0
    capsys.readouterr()
    shutil.rmtree(home / "data" / "runs")  # as in a fresh clone
    assert created() == first
    assert not any((home / "data" / "runs").rglob("*.jsonl"))  # nothing was measured again
    created("--fresh")
    assert any((home / "data" / "runs").rglob("*.jsonl"))


@pytest.mark.usefixtures("toy_item")
def test_changed_settings_are_in_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "lr=1", "--set", "widths=[2, 3]"]
    assert cli.main(["run", ITEM, "--device", "cpu", "--json", *changes]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["settings"] == {"lr": 1.0, "widths": [2, 3]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seeds", "--set takes NAME=VALUE; got 'seeds'"),
        ("colour=1", "--set knows the settings seeds, lr, widths, dataset, amp; got 'colour'"),
        ("seeds=1.5", "--set seeds must be like 1; got '1.5'"),
        ("seeds=true", "--set seeds must be like 1; got 'true'"),
        ("amp=1", "--set amp must be like false; got '1'"),
        ("lr=fast", "--set lr must be like 0.1; got 'fast'"),
        ("lr=NaN", "--set lr must be a finite number; got 'NaN'"),
        ("lr=1e999", "--set lr must be a finite number; got '1e999'"),
        ("widths=3", "--set widths must be a list such as '[1]'; got '3'"),
        ("widths=wide", "--set widths must be a list such as '[1]'; got 'wide'"),
    ],
)
@pytest.mark.usefixtures("toy_item")
def test_settings_that_do_not_fit(
    text: str, complaint: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", ITEM, "--set", text]) == 2
    assert complaint in capsys.readouterr().err
    assert not any(home.iterdir())


@pytest.mark.usefixtures("toy_item")
def test_a_smoke_run_changes_nothing_tracked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", ITEM, "--device", "cpu", "--profile", "smoke"]) == 0
    assert "numbers are not kept in data/measured/" in capsys.readouterr().out
    assert cli.main(["record", ITEM]) == 2
    assert "only smoke runs" in capsys.readouterr().err
    assert {path.name for path in home.iterdir()} == {"data"}
    assert {path.name for path in (home / "data").iterdir()} == {"runs"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "addernet-impacts/fig-featuers"], "did you mean addernet-impacts/fig-features"),
        (["run", "adder-quant/fig-features"], "did you mean addernet-impacts/fig-features"),
        (["record", "nothing like it"], "`saa-lite items` lists them all"),
        (["record", ITEM], f"{ITEM} has no run to record"),
        (
            ["figures", "shiftaddaug/claim-segmentation"],
            "shiftaddaug/claim-segmentation has no tracked records",
        ),
        (["scorecard", "--json", "--markdown"], "exclude each other"),
    ],
)
def test_errors_are_one_sentence_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert complaint in printed.err
    assert printed.err.startswith("saa-lite: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99", ""])
@pytest.mark.usefixtures("toy_item")
def test_devices_that_are_not_there(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", ITEM, "--device", device]) == 2
    assert "--device" in capsys.readouterr().err


def test_in_a_real_process_there_is_no_traceback(home: Path) -> None:
    (home / "data").write_text("a file where a folder should be")
    for arguments in (["run", "no/item"], ["run", ITEM, "--profile", "huge"], ["record", ITEM]):
        done = saa_lite(*arguments)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


@pytest.mark.usefixtures("toy_item")
def test_interrupt_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("saa_lite.cli.run.run_item", interrupted)
    assert cli.main(["run", ITEM, "--device", "cpu"]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m saa_lite items --json | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["[", "0"]


def test_items_answers_within_a_second() -> None:
    best = min(_seconds_for_items() for _ in range(3))
    assert best < 1.0, f"{best:.2f} s"


def _seconds_for_items() -> float:
    """CPU time of the child: wall time depends on what else the machine is doing."""
    before = os.times()
    assert saa_lite("items", "--json").returncode == 0
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


@pytest.mark.usefixtures("toy_item")
def test_a_second_run_of_the_same_item_is_told_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(home / "data/runs" / ITEM, purpose=RUNNING, busy="never"):
        assert cli.main(["run", ITEM, "--device", "cpu"]) == 2
    assert f"another run of {ITEM} is going on; wait until it is done" in capsys.readouterr().err
    assert cli.main(["run", ITEM, "--device", "cpu"]) == 0


@pytest.mark.usefixtures("toy_item")
def test_tracked_numbers_are_named_as_such(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", ITEM, "--device", "cpu"]) == 0
    assert f"To keep the new numbers: saa-lite record {ITEM}" in capsys.readouterr().out
    assert cli.main(["record", ITEM]) == 0
    assert "seed" in capsys.readouterr().out
    assert cli.main(["run", ITEM, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "numbers are the tracked ones" in printed
    assert "To keep" not in printed
