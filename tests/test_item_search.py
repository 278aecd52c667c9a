"""Item shiftaddaug/fig4, part a: every arm runs, is drawn, and keeps its promises."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from saa_lite.files import measured_dir
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug import two_stage
from saa_lite.protocols.load import Protocol, load_protocol
from saa_lite.records import measured_records
from saa_lite.search import SETTINGS, Budget, Search, SearchConfig, image_sets, predict

ITEM = "shiftaddaug/fig4"
TRIED = Protocol(
    name="search-tiny", sha="0" * 64, question="?", item=ITEM, role="exploration", seeds=(0, 1),
    arms=("supernet", *two_stage.SEARCHES, "ranked", *two_stage.TRAINED), decided="",
    settings={"setting": "tiny", "metric": "energy_B", "loose": 0.0031, "tight": 0.0025,
              "population": 2, "generations": 2, "ranked": 2, "epochs": 2},
)  # fmt: skip


def test_every_arm_runs_once_and_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.setattr("saa_lite.items.shiftaddaug.fig4.load_protocol", lambda name: TRIED)
    item = get_item(ITEM)
    settings = replace(item.profiles["smoke"], parts=("a",), searches=("search-tiny",))
    found = run_item(item, Context("smoke", progress=False), settings=settings)
    assert {record.method for record in found} == set(TRIED.arms)
    values = {(r.method, r.seed, r.metric): r.value for r in found}
    assert values["target-inside", 0, "export_difference"] == 0
    assert all(values[m, s, two_stage.TEST] >= 0 for m in two_stage.TRAINED for s in (0, 1))
    energies = {m: values[m, 0, "energy_B"] for m in two_stage.TRAINED}
    assert energies["target-inside"] == energies["target-alone"] <= 0.0025
    assert energies["handmade"] <= energies["target-alone"]
    assert -1 <= values["ranked", 0, "kendall_tau"] <= 1
    assert isinstance(item.draw(found, []), Figure)
    monkeypatch.setattr(two_stage, "trained_supernet", lambda *_, **__: pytest.fail("trained"))
    again = run_item(item, Context("smoke", progress=False), settings=settings)
    assert {r.key for r in again} == {r.key for r in found}


@pytest.mark.parametrize("name", ["search-digits", "search-c", "search-c-small"])
def test_protocols_name_arms_and_settings_that_exist(name: str) -> None:
    protocol = load_protocol(name)
    assert set(protocol.arms) == {*TRIED.arms}
    assert set(protocol.settings) == set(TRIED.settings)
    assert protocol.settings["setting"] in SETTINGS
    assert len(protocol.seeds) >= 5


def test_three_adders_are_the_first_three_that_may_be() -> None:
    made = two_stage.Experiment(TRIED, Context("smoke", progress=False, item=ITEM))
    large = made.space.extreme(-1)
    changed = two_stage.with_three_adders(large)
    kinds = [changed.first, *(b.operator for stage in changed.stages for b in stage.blocks)]
    assert kinds == ["adder", "adder", *(["shift"] * (len(kinds) - 2))]
    chosen = two_stage.networks_of_one_budget(made)
    costs = [predict(made.space, candidate)["energy_B"] for candidate in chosen]
    assert len(set(chosen)) == 2
    assert all(0.9 * 0.0031 <= cost <= 0.0031 for cost in costs)


def test_tracked_journals_hold_the_recorded_searches(tmp_path: Path) -> None:
    with tarfile.open(measured_dir() / "shiftaddaug" / "search-digits.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    protocol = load_protocol("search-digits")
    about, settings = SETTINGS["digits"], protocol.settings
    asked = SearchConfig(
        about.space(image_sets(about)[0]), Budget({"energy_B": settings["loose"]}),
        {"protocol": protocol.label}, population=settings["population"],
        generations=settings["generations"],
    )  # fmt: skip
    records = [r for r in measured_records(ITEM) if r.metric == "best_accuracy"]
    best = {(r.method, r.seed): r.value for r in records if r.settings["search"] == protocol.name}
    assert set(best) == {(name, seed) for name in two_stage.SEARCHES for seed in protocol.seeds}
    for (algorithm, seed), value in best.items():
        config = replace(asked, algorithm=algorithm, seed=seed)
        found = Search(tmp_path / f"whole-{algorithm}-{seed}", config)
        assert found.winner is not None
        assert found.winner.accuracy == value
        assert predict(asked.space, found.candidate(found.winner))["energy_B"] <= settings["loose"]
