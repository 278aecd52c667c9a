"""The command line where a folder is missing, full, forbidden or a file."""

import json
from pathlib import Path

import pytest
from cli_samples import ITEM, no_space, use_toy_item

from saa_lite import cli, files


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.delenv("SAA_DATA_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def toy_item(monkeypatch: pytest.MonkeyPatch) -> None:
    use_toy_item(monkeypatch)


@pytest.mark.usefixtures("toy_item")
def test_permission_denied_is_a_sentence_and_leaves_nothing_half_written(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    assert cli.main(["run", ITEM, "--device", "cpu"]) == 2
    assert "Permission denied" in capsys.readouterr().err
    left = {path.name for path in home.rglob("*") if path.is_file()}
    assert left == {".lock", ".running"}


@pytest.mark.usefixtures("toy_item")
def test_run_notices_a_folder_that_cannot_be_written_before_it_measures(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files.tempfile, "TemporaryFile", no_space)
    assert cli.main(["run", ITEM, "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert f"cannot write in {home}/data/runs/{ITEM}: No space left on device" in printed.err
    assert printed.out == ""
    assert not any(home.iterdir())


@pytest.mark.parametrize(
    "command", [["bench", "a", "--record", "--quiet"], ["notebooks", "00", "--profile", "smoke"]]
)
def test_other_slow_commands_notice_it_first_too(
    command: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (home / "notebooks").mkdir()
    (home / "notebooks" / "00_empty.ipynb").write_text("")
    monkeypatch.setattr("saa_lite.bench.measure.measure", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr("saa_lite.cli.notebooks.execute", lambda *_: pytest.fail("executed"))
    monkeypatch.setattr(files.tempfile, "TemporaryFile", no_space)
    assert cli.main(command) == 2
    assert "cannot write in " in capsys.readouterr().err


def test_the_project_of_this_package_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAA_HOME")
    monkeypatch.chdir(tmp_path)
    assert files.project_root() == Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("project", "found"), [("saa_lite", "checkout"), ("another", "notebooks")])
def test_a_package_installed_elsewhere_finds_the_project_it_is_used_in(
    project: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "checkout" / "notebooks"
    here.mkdir(parents=True)
    (tmp_path / "checkout" / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n')
    monkeypatch.delenv("SAA_HOME")
    monkeypatch.setattr(files, "PACKAGE", tmp_path / "site-packages" / "saa_lite")
    monkeypatch.chdir(here)
    assert files.project_root().name == found


@pytest.mark.parametrize("command", ["items", "scorecard", "doctor", "figures", "record"])
def test_a_home_that_is_a_file_is_named_once(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").write_text("no folder")
    monkeypatch.setenv("SAA_HOME", str(home / "file"))
    assert cli.main([command, *([ITEM] if command == "record" else [])]) == 2
    expected = f"saa-lite: SAA_HOME must name a folder; {home}/file is a file\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("command", [["doctor"], ["run", ITEM], ["train", "--dataset", "digits"]])
@pytest.mark.usefixtures("toy_item")
def test_a_data_root_that_is_a_file_says_so(
    command: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").write_text("no folder")
    assert cli.main([*command, "--data-root", str(home / "file")]) == 2
    printed = capsys.readouterr().err
    assert f"--data-root or SAA_DATA_ROOT) must name a folder; {home}/file is a file" in printed
    assert printed.count("\n") == 1


def test_operating_system_errors_name_the_file() -> None:
    assert cli.sentence(FileNotFoundError(2, "No such file", "x.npz")) == "No such file: x.npz"
    assert cli.sentence(OSError("bare")) == "bare"


def test_doctor_finds_this_machine_usable(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    checks = {check["check"]: check for check in json.loads(printed)}
    assert {"torch", "cpu", "adder kernel", "gpu", "chromium", "folder: runs"} <= set(checks)
    assert all(c["how to get it"] for c in checks.values() if c["state"] == "missing")
    assert not any(home.iterdir()), "doctor leaves nothing behind"


def test_doctor_reports_a_folder_that_cannot_be_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "figures").write_text("a file where a folder should be")
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "Not usable yet: folder: figures." in printed
