"""Engines that start workers elsewhere: what they ask of their packages, and what comes back."""

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from campaign_samples import FIRST, ITEM, LAST, Settings, campaign

from saa_lite import cli
from saa_lite.cluster import ssh
from saa_lite.cluster.slurm import Worker, submit
from saa_lite.errors import SaaLiteError, Stopped, UsageError
from saa_lite.items.base import Context
from saa_lite.items.progress import progress
from saa_lite.items.runner import share_item
from saa_lite.records import run_records
from saa_lite.train.checkpoint import stop_politely

QUIET = Context("laptop", progress=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return tmp_path


class Executor:
    """Keeps what submitit would be told, and refuses what it would refuse."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.options, self.parameters = folder, options, dict[str, Any]()
        made.append(self)

    def update_parameters(self, **parameters: Any) -> None:
        if unknown := parameters.keys() - {
            "name", "timeout_min", "slurm_signal_delay_s", "slurm_additional_parameters",
            "slurm_array_parallelism", "slurm_partition",
        }:  # fmt: skip
            raise NameError(f"Unknown argument(s): {unknown}")
        self.parameters = parameters

    def map_array(self, work: Worker, arguments: list[Namespace]) -> list[Any]:
        self.work, self.arguments = work, arguments
        return [SimpleNamespace(job_id=f"7_{i}") for i in range(len(arguments))]


made: list[Executor] = []


@pytest.fixture
def submitit(monkeypatch: pytest.MonkeyPatch) -> list[Executor]:
    module: Any = ModuleType("submitit")
    module.AutoExecutor = Executor
    module.helpers = SimpleNamespace(DelayedSubmission=lambda *given: given)
    monkeypatch.setitem(sys.modules, "submitit", module)
    made.clear()
    return made


@pytest.mark.parametrize(
    ("options", "name"), [(["--engine=slurm"], "submitit"), (["--engine=ssh", "--hosts=a"], "dist")]
)
def test_a_missing_package_is_named_with_its_extra(
    options: list[str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    for package in ("submitit", "distributed"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert cli.main(["campaign", "run", ITEM, "--device", "cpu", *options]) == 2
    message = capsys.readouterr().err
    assert f"needs {name}" in message
    assert message.endswith('which is not installed: pip install "saa_lite[cluster]"\n')


def test_no_engine_is_imported_unless_it_is_asked_for() -> None:
    share_item(campaign(Settings(seeds=1)), QUIET)
    assert not {"submitit", "distributed", "asyncssh"} & set(sys.modules)


def test_slurm_jobs_are_an_array_that_is_queued_again(
    home: Path,
    submitit: list[Executor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    command = ["campaign", "run", ITEM, "--device", "cpu", "--quiet", "--engine", "slurm"]
    options = ["--workers", "3", "--slurm", "timeout_min=30", "--slurm", "slurm_partition=gpu"]
    assert cli.main([*command, *options]) == 0
    shown = capsys.readouterr().out
    assert [f"7_{i}" in shown for i in range(4)] == [True, True, True, False]
    assert f"saa-lite campaign status {ITEM}" in shown
    (executor,) = submitit
    assert executor.folder == home / "data/runs/slurm/%j"
    assert executor.options["cluster"] == "slurm"
    assert executor.parameters == {
        "name": "saa-lite", "timeout_min": 30, "slurm_partition": "gpu",
        "slurm_array_parallelism": 3, "slurm_signal_delay_s": 120,
        "slurm_additional_parameters": {"requeue": True},
    }  # fmt: skip
    assert not run_records(ITEM)  # this process does nothing
    assert [executor.work(arguments) for arguments in executor.arguments] == [0, 0, 0]
    assert len(run_records(ITEM)) == 12
    assert executor.work.checkpoint(executor.arguments[0]) == (
        executor.work, executor.arguments[0]
    )  # fmt: skip
    assert cli.main([*command, "--slurm", "partitoin=gpu"]) == 2
    assert "--engine slurm: Unknown argument(s): {'partitoin'}" in capsys.readouterr().err


def test_without_slurm_one_is_told_so(
    submitit: list[Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Executor, **options: Any) -> None:
        raise RuntimeError('Could not detect "srun", are you indeed on a slurm cluster?')

    monkeypatch.setattr(Executor, "__init__", refuse)
    with pytest.raises(UsageError, match="are you indeed on a slurm cluster"):
        submit(print, Namespace(), 1, [])
    monkeypatch.undo()


def test_a_job_that_slurm_takes_away_is_queued_again_after_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    epochs: list[int] = []

    class Stopping(Settings):
        def after_epoch(self, unit: Any, epoch: int) -> None:
            epochs.append(epoch)
            if len(epochs) == 2:
                signal.raise_signal(signal.SIGUSR2)

    def share(arguments: Namespace) -> int:
        with stop_politely():
            return len(share_item(campaign(Stopping(seeds=1)), QUIET))

    before = signal.signal(signal.SIGUSR2, lambda number, frame: asked.append(number))
    try:
        with pytest.raises(Stopped):
            Worker(share)(Namespace())
        assert asked == [signal.SIGUSR2]
        assert Worker(share)(Namespace()) == 4
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert epochs == [1, 2, 3, 4, 1, 2, 3, 4]


class Cluster:
    """A cluster that is not there: what is submitted runs at once, here."""

    def __init__(self, hosts: list[str], **options: Any) -> None:
        self.hosts, self.options = hosts, options

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Client(Cluster):
    def __init__(self, cluster: Cluster) -> None:
        clusters.append(cluster)

    def submit(self, work: Any, *arguments: Any, **options: Any) -> Any:
        assert (options["key"], options["pure"], options["retries"]) == (arguments[1], False, 3)
        return arguments[1], work(*arguments)


clusters: list[Cluster] = []


def backwards(sent: list[Any], with_results: bool) -> Iterator[Any]:
    return reversed(sent)


def test_units_sent_to_other_machines_come_back_as_records(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other machine has a folder of its own, and writes JSON to stdout."""
    module: Any = ModuleType("distributed")
    module.SSHCluster, module.Client, module.as_completed = Cluster, Client, backwards
    monkeypatch.setitem(sys.modules, "distributed", module)
    monkeypatch.setitem(sys.modules, "asyncssh", ModuleType("asyncssh"))
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    sent: list[str] = []

    def there(command: list[str], **options: Any) -> Any:
        assert command[:3] == [sys.executable, "-m", "saa_lite"]
        sent.append(command[command.index("--only") + 1])
        monkeypatch.setenv("SAA_HOME", str(home / "elsewhere"))
        with redirect_stdout(StringIO()) as printed:
            status = cli.main(command[3:])
        monkeypatch.setenv("SAA_HOME", str(home))
        return SimpleNamespace(returncode=status, stdout=printed.getvalue(), stderr="")

    share_item(campaign(Settings(seeds=1)), QUIET)
    left = list(progress(campaign(), QUIET).left)
    monkeypatch.setattr(ssh, "subprocess", SimpleNamespace(run=there))
    command = ["campaign", "run", ITEM, "--device", "cpu", "--engine", "ssh", "--json"]
    assert cli.main([*command, "--hosts", "ada", "ada", "--python", "/opt/python"]) == 0
    assert sent == left
    found = json.loads(capsys.readouterr().out)
    assert sorted((r["method"], r["seed"], r["metric"]) for r in found) == sorted(
        (method, seed, metric)
        for method in ("conv", "adder") for seed in range(3) for metric in (FIRST, LAST)
    )  # fmt: skip
    (cluster,) = clusters
    assert cluster.hosts == ["ada", "ada", "ada"]
    assert cluster.options["remote_python"] == "/opt/python"


def test_a_unit_that_fails_elsewhere_says_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(returncode=2, stdout="", stderr="a warning\nsaa-lite: no such set\n")
    monkeypatch.setattr(ssh, "subprocess", SimpleNamespace(run=lambda *_, **__: done))
    with pytest.raises(SaaLiteError, match=r"^a-unit: no such set$"):
        ssh.run_unit(["campaign", "run"], "a-unit")


def test_hosts_and_engine_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--engine", "ssh"], ["--hosts", "ada"]):
        assert cli.main(["campaign", "run", ITEM, *options]) == 2
        assert "--engine ssh and --hosts go together" in capsys.readouterr().err
