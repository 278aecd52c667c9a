"""Campaigns that several processes share: nothing is lost, nothing is done twice."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import campaign_samples
import pytest
import torch
from campaign_samples import DIVERGED, FIRST, ITEM, LAST, METHODS, Settings, campaign, worker

from saa_lite import cli, locks
from saa_lite.cli.campaign import worker_arguments
from saa_lite.cli.parser import build_parser
from saa_lite.cluster import processes
from saa_lite.cluster.processes import companions
from saa_lite.errors import UsageError
from saa_lite.items.base import Context, Unit, checkpoint_folder
from saa_lite.items.progress import estimate, judges, progress
from saa_lite.items.registry import find_item, get_item, list_items
from saa_lite.items.runner import check_shareable, run_item, share_item
from saa_lite.locks import LEASE, RUNNING, Lease, locked
from saa_lite.records import Record, append_unit_record, run_folder, run_records, unit_folder
from saa_lite.train import DivergenceError

QUIET = Context("laptop", progress=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return tmp_path


def content(records: list[Record]) -> dict[tuple, tuple]:
    """What is measured, without the clock."""
    return {
        r.key: (r.value, r.unit, [{**row, "seconds": 0} for row in r.log or []]) for r in records
    }


def unit_of_seed(seed: int, method: str = "conv", epochs: int = 4) -> Unit:
    return replace(QUIET, item=ITEM).unit(
        method=method, model="linear", dataset="noise", seed=seed, epochs=epochs,
        settings={"epochs": epochs},
    )  # fmt: skip


# Killed between the two renames of a checkpoint, one goes on from the previous one and says so.
@pytest.mark.filterwarnings("default:.*going on from")
def test_two_workers_killed_at_random_lose_nothing_and_repeat_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content(share_item(campaign(), QUIET))
    assert len(expected) == 12
    monkeypatch.setenv("SAA_HOME", str(tmp_path / "shared"))
    delays = [random.uniform(0.2, 0.9) for _ in range(2)]
    workers = [worker(tmp_path / "shared", pause=0.15) for _ in delays]
    for process in workers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process, delay in zip(workers, delays, strict=True):
        time.sleep(delay)
        process.kill()
        process.communicate()
    before = run_records(ITEM, "laptop")
    assert progress(campaign(), QUIET).left, "too slow a kill to prove anything"
    assert content(share_item(campaign(), QUIET)) == expected, delays
    after = run_records(ITEM, "laptop")
    # Of a unit without its last record the others are measured again, and may be replaced.
    assert all(record in after for record in before if record.metric == LAST)
    assert sorted(r.key for r in after if r.metric == LAST) == sorted(
        key for key in expected if LAST in key
    ), delays
    assert not list(checkpoint_folder(ITEM).glob(f"*{LEASE}*"))


def test_what_another_runs_is_left_to_it_and_waited_for() -> None:
    theirs = Lease(unit_of_seed(1).lease)
    assert theirs.take()
    found = share_item(campaign(), QUIET, patience=0)
    assert {(r.method, r.seed) for r in found} == {
        ("conv", 0), ("adder", 0), ("adder", 1), ("conv", 2), ("adder", 2)
    }  # fmt: skip
    assert not (run_folder(ITEM) / "laptop.svg").exists()

    @dataclass(frozen=True)
    class Leaving(Settings):
        def after_epoch(self, unit: Unit, epoch: int) -> None:
            theirs.leave()

    item = campaign(Leaving(seeds=4))
    assert len(share_item(item, QUIET)) == 16
    assert (run_folder(ITEM) / "laptop.svg").exists()


def test_a_unit_that_was_finished_meanwhile_is_not_repeated() -> None:
    """This process read the records before the other one wrote its own."""

    @dataclass(frozen=True)
    class Overtaken(Settings):
        def after_epoch(self, unit: Unit, epoch: int) -> None:
            if unit.key == unit_of_seed(0).key and epoch == 1:
                for metric in (FIRST, LAST):
                    append_unit_record(unit_of_seed(2).record(metric, 0.25, "theirs"))

    found = share_item(campaign(Overtaken()), QUIET)
    assert [r.value for r in found if (r.method, r.seed) == ("conv", 2)] == [0.25, 0.25]
    assert len(found) == 12


def test_only_runs_one_unit_alone() -> None:
    found = share_item(campaign(), QUIET, only=unit_of_seed(2, "adder").lease.stem)
    assert {(r.method, r.seed, r.metric) for r in found} == {
        ("adder", 2, FIRST), ("adder", 2, LAST)
    }  # fmt: skip


def test_a_name_that_no_unit_has_is_refused_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    command = ["campaign", "run", ITEM, "--device", "cpu", "--quiet", "--json", "--only"]
    assert cli.main([*command, "conv-linear-noise-7"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    names = [unit_of_seed(seed, method).lease.stem for seed in range(3) for method in METHODS]
    assert all(name in message for name in names)
    assert not run_records(ITEM)
    assert cli.main([*command, names[0]]) == 0
    first = capsys.readouterr().out
    assert len(run_records(ITEM)) == 2
    assert cli.main([*command, names[0]]) == 0  # done, and shown again
    assert capsys.readouterr().out == first
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign(Settings(seeds=20)))
    assert cli.main([*command, "conv-linear-noise-7"]) == 2
    assert "(and 28 more)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slurm", "timeout_min=3"], "--slurm is for --engine slurm; got --engine here"),
        (["--python", "p"], "--python is for --engine ssh; got --engine here"),
        (["--only", "a", "--workers", "2"], "--only runs one unit, .*; got --engine here --work"),
        (["--only", "a", "--engine", "ssh", "--hosts", "b"], "--only runs one unit, .*; got --en"),
    ],
)
def test_options_that_would_be_of_no_effect_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["campaign", "run", ITEM, *options]) == 2
    message = capsys.readouterr().err
    assert re.search(said, message)
    assert message.count("\n") == 1


def test_a_lost_claim_stops_the_unit_and_not_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.02)
    epochs = []

    @dataclass(frozen=True)
    class Robbed(Settings):
        def after_epoch(self, unit: Unit, epoch: int) -> None:
            epochs.append(epoch)
            if len(epochs) == 2:
                unit.lease.unlink()
                time.sleep(0.5)  # meanwhile the heartbeat notices, and interrupts

    found = share_item(campaign(Robbed(seeds=1)), QUIET)
    assert len(found) == 4
    assert epochs == [1, 2, 3, 4, 1, 2, 3, 4]


def test_a_divergence_is_a_result_and_the_campaign_goes_on() -> None:
    item = campaign(Settings(diverging=1))
    with pytest.warns(UserWarning, match="training diverged") as caught:
        found = share_item(item, QUIET)
    assert len(caught) == 2
    assert {(r.method, r.seed) for r in found if r.metric == DIVERGED} == {
        ("conv", 1), ("adder", 1)
    }  # fmt: skip
    assert len(found) == 2 + 8
    assert content(share_item(item, QUIET)) == content(found)


def test_a_divergence_that_is_not_recorded_ends_the_campaign() -> None:
    def diverge(settings: Settings, context: Context) -> Iterator[Record]:
        unit = unit_of_seed(0)
        if not unit.done(FIRST):
            raise DivergenceError("it diverged", 0)
        yield unit.record(FIRST, 0.5, "")

    with pytest.raises(DivergenceError, match="it diverged"):
        share_item(replace(campaign(), run=diverge), QUIET)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_signals_end_a_unit_after_its_step(
    number: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = []

    @dataclass(frozen=True)
    class Stopping(Settings):
        def after_epoch(self, unit: Unit, epoch: int) -> None:
            seen.append((unit.method, unit.seed, epoch))
            if len(seen) == 6:
                os.kill(os.getpid(), number)

    item = campaign(Stopping(seeds=1))
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: item)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    command = ["campaign", "run", ITEM, "--device", "cpu", "--quiet"]
    assert cli.main(command) == status
    assert "the same command goes on from there" in capsys.readouterr().err
    assert not list(checkpoint_folder(ITEM).glob(f"*{LEASE}"))
    assert cli.main(command) == 0
    assert seen == [(m, 0, e) for m in ("conv", "adder") for e in (1, 2, 3, 4)]
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert after == before


def test_status_says_what_is_done_where_it_runs_and_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, method, seconds in ((0, "conv", 100.0), (0, "adder", 400.0), (1, "conv", 140.0)):
        for metric in (FIRST, LAST):
            unit = unit_of_seed(seed, method)
            append_unit_record(unit.record(metric, 0.5, "", seconds=seconds))
    append_unit_record(unit_of_seed(1, "adder").record(FIRST, 0.5, ""))  # not complete
    theirs = Lease(unit_of_seed(2, "conv").lease)
    assert theirs.take()
    found = progress(campaign(), QUIET)
    assert (found.units, found.done, found.workers) == (6, 3, 1)
    assert found.left == tuple(
        unit_of_seed(s, m).lease.stem for s, m in ((1, "adder"), (2, "conv"), (2, "adder"))
    )
    assert found.seconds == found.rest == 400 + 120 / 2 + 400
    (running,) = found.running
    assert (running.name, running.units, running.pid) == (found.left[1], 1, os.getpid())
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    assert cli.main(["campaign", "status", ITEM, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    theirs.leave()
    assert "14 min" in shown
    assert running.host in shown
    assert str(os.getpid()) in shown
    assert progress(campaign(), QUIET).running == ()


def trained(seed: int, method: str, seconds: float, **changes: Any) -> Record:
    """One unit of a network of 4 channels that sees 10 images in each of 5 epochs."""
    epochs, width = changes.pop("epochs", 5), changes.pop("width", 4)
    unit = replace(QUIET, item=ITEM).unit(
        method=method, model="linear", dataset="noise", seed=seed, epochs=epochs,
        settings={"train_images": 10, "net_width": width, "epochs": epochs},
    )  # fmt: skip
    return replace(unit.record(FIRST, 0.5, "", seconds=seconds), **changes)


def left(method: str, epochs: int, width: int = 4) -> Unit:
    return replace(QUIET, item=ITEM).unit(
        method=method, model="linear", dataset="noise", seed=9, epochs=epochs,
        settings={"train_images": 10, "net_width": width, "epochs": epochs},
    )  # fmt: skip


def test_a_unit_is_judged_by_what_is_most_like_it_and_by_how_long_it_trains() -> None:
    short, wide = trained(0, "conv", 50.0), trained(0, "adder", 900.0, width=16)
    long = trained(0, "conv", 440.0, epochs=40)
    done = [short, wide, long]

    def judged(unit: Unit) -> float:
        return estimate(unit, judges(unit, done, "mine"))

    assert judged(left("conv", 5)) == 50.0  # its own settings
    assert judged(left("conv", 20)) == pytest.approx(200 * (1.0 + 1.1) / 2)  # seconds per image
    assert judged(left("adder", 20)) == pytest.approx(200 * 1.05)  # the same network first
    assert judged(left("adder", 5, width=8)) == 900.0  # then the same method
    assert judged(left("shift", 5, width=8)) == pytest.approx(50 * 1.1)  # then anything


def test_this_processor_is_asked_first_and_others_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = [trained(s, "conv", 80.0, device="Fast CPU (9 cores, 1 thread)") for s in range(3)]
    mine = trained(3, "conv", 500.0, device="Slow CPU (2 cores, 2 threads)")
    assert judges(left("conv", 5), [*theirs, mine], "Slow CPU") == [mine]
    assert judges(left("conv", 5), theirs, "Slow CPU") == theirs

    monkeypatch.setattr("saa_lite.items.progress.device_name", lambda _: "Slow CPU (1 cores, …)")
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    command = ["campaign", "status", ITEM, "--device", "cpu"]
    assert cli.main(command) == 0  # nothing is recorded, here or elsewhere
    shown = capsys.readouterr().out
    assert "unknown" in shown
    assert "Judged" not in shown
    for method, device in (("conv", "Fast CPU (9 cores, 1 thread)"), ("adder", "Slow CPU (2")):
        for metric in (FIRST, LAST):
            made = unit_of_seed(0, method).record(metric, 0.5, "", seconds=60.0)
            append_unit_record(replace(made, device=device))
    assert progress(campaign(), QUIET).judged_by == ("Fast CPU",)
    assert cli.main(command) == 0
    assert capsys.readouterr().out.endswith("as far as this one has no record: Fast CPU\n")


def test_companions_take_part_until_this_process_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROGRAM", [campaign_samples.__file__])
    threads = torch.get_num_threads()
    with companions(["0.1"], workers=2):
        wanted = time.monotonic() + 120
        while not (found := progress(campaign(), QUIET)).running and time.monotonic() < wanted:
            time.sleep(0.05)
        share_item(campaign(), QUIET, patience=0)
    assert [claim.pid == os.getpid() for claim in found.running] == [False]
    assert torch.get_num_threads() == threads
    assert not list(checkpoint_folder(ITEM).glob(f"*{LEASE}"))
    assert len(share_item(campaign(), QUIET)) == 12


def test_another_worker_is_started_with_the_same_settings() -> None:
    words = f"campaign run {ITEM} a/b --profile full --set a=1 --set b=[2] --device cpu"
    given = build_parser().parse_args([*words.split(), "--workers", "3", "--data-root", "a b"])
    found = build_parser().parse_args(worker_arguments(given))
    assert vars(found) == vars(given) | {"workers": 1, "quiet": True}


def test_a_campaign_and_a_plain_run_exclude_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: campaign())
    theirs = Lease(unit_of_seed(0).lease)
    assert theirs.take()
    assert cli.main(["run", ITEM, "--device", "cpu", "--quiet"]) == 2
    theirs.leave()
    assert f"join it: saa-lite campaign run {ITEM}" in capsys.readouterr().err
    with locked(run_folder(ITEM), purpose=RUNNING, busy="never"):
        assert cli.main(["campaign", "run", ITEM, "--device", "cpu", "--quiet"]) == 2
    assert f"another run of {ITEM} is going on" in capsys.readouterr().err


def test_a_plain_run_goes_on_where_a_campaign_left_it_and_the_other_way_round() -> None:
    share_item(campaign(Settings(seeds=1)), QUIET)
    found = run_item(campaign(Settings(seeds=2)), QUIET)
    assert len(found) == 8
    assert len((run_folder(ITEM) / "laptop.jsonl").read_text().splitlines()) == 4
    assert len(list(unit_folder(ITEM, "laptop").iterdir())) == 2
    assert len(share_item(campaign(Settings(seeds=2)), QUIET)) == 8
    assert len(list(unit_folder(ITEM, "laptop").iterdir())) == 2
    assert len(run_item(campaign(Settings(seeds=1)), QUIET, fresh=True)) == 4
    assert not unit_folder(ITEM, "laptop").exists()


@pytest.mark.parametrize(
    "name",
    ["shiftaddaug-supp/tab3", "shiftaddaug-supp/addconv-nas", "addernet-impacts/claim-speed"],
)
def test_times_are_not_measured_in_company(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} measures times.* saa-lite run {name}"):
        check_shareable(get_item(name), "smoke")


def test_every_other_item_asks_whether_a_unit_is_done_before_it_measures() -> None:
    for name in (item.id for item in list_items()):
        item = get_item(name)
        if not item.timed:
            found = progress(item, Context("smoke"))
            assert (found.done, found.running, found.rest) == (0, (), None), name
            assert found.units >= len(found.left) > 0, name


@pytest.mark.parametrize(
    ("name", "claims"),
    [("fig1", ["adder"]), ("tab3", ["adder"]), ("tab4", ["adder"]), ("tab5", ["conv", "adder"])],
)
def test_units_that_quantise_one_network_are_claimed_together(name: str, claims: list) -> None:
    found = progress(get_item(f"adder-quant/{name}"), Context("smoke"))
    assert [lease.partition("-")[0] for lease in found.left] == claims
    assert found.units > len(claims)


def test_the_file_of_a_process_killed_while_it_made_it_is_no_claim_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    path.touch()
    assert not Lease(path).take()
    os.utime(path, (time.time() - 301,) * 2)
    lease = Lease(path)
    assert lease.take()
    assert lease.holder is not None
    lease.leave()
    assert not path.exists()


def test_status_without_items_is_of_all_that_protocols_judge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = ("shiftaddaug-supp/tab1", "shiftaddaug-supp/tab3", "shiftaddaug/fig1")
    monkeypatch.setattr("saa_lite.cli.campaign.list_items", lambda: list(map(find_item, names)))
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    assert cli.main(["campaign", "status", "--json"]) == 0
    assert [row["item"] for row in json.loads(capsys.readouterr().out)] == [names[0]]
