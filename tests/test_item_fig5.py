"""Item shiftaddaug/fig5: our energies of the figure's networks, their ranking, and the panel."""

import time

import pytest
from torch import nn

from saa_lite.costs import count
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug import fig5
from saa_lite.published import find_published, load_published
from saa_lite.records import Record, config_hash
from saa_lite.report.protocols import NO_VERDICT
from saa_lite.report.verdict import FAILS, HOLDS, judge
from saa_lite.viz import energy as pictures
from saa_lite.viz.costs import accountings_figure, layers_figure
from saa_lite.viz.panel import default_state, png

ITEM = "shiftaddaug/fig5"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        return run_item(get_item(ITEM), Context("smoke", progress=False))


def value(records: list[Record], metric: str, method: str, layers: str) -> float:
    (found,) = [
        r.value
        for r in records
        if (r.metric, r.method, r.settings["layers"]) == (metric, method, layers)
    ]
    return found


def test_energies_of_mobilenet_v2(records: list[Record]) -> None:
    """The published 2.471 and 0.74 within 2 %, and the two adder forms around 1.091."""
    assert value(records, "energy_A", "conv", "all") == pytest.approx(2.471, rel=0.02)
    assert value(records, "energy_A", "shift", "all") == pytest.approx(0.74, rel=0.02)
    all_add, registered = (
        value(records, "energy_A", "adder", layers) for layers in ("all", "registered")
    )
    assert all_add == pytest.approx(0.683, rel=0.01)
    assert registered == pytest.approx(1.302, rel=0.01)
    assert all_add < find_published(ITEM, "AdderNet point 2", "energy").value < registered


def test_the_saving_is_mostly_in_the_accounting(records: list[Record]) -> None:
    saved = {
        name: 1 - value(records, f"energy_{name}", "shift", "all")
        / value(records, f"energy_{name}", "conv", "all")
        for name in "ABC"
    }  # fmt: skip
    assert saved["A"] > 0.65
    assert saved["B"] < 0.05
    assert 0.1 < saved["C"] < 0.4


def test_records_say_how_far_another_split_would_move_them(records: list[Record]) -> None:
    for record in records:
        (parts,) = record.log
        assert parts["compute"] < record.value
        if not record.metric.endswith("C"):
            assert parts["least"] <= record.value + 1e-6
            assert parts["fastest"] == pytest.approx(record.value, rel=0.08)


def test_ranking_and_saving_are_judged(records: list[Record]) -> None:
    verdicts = {c.id.partition(":")[2]: judge(c, records).verdict for c in get_item(ITEM).claims}
    assert {verdicts[f"ranking-{name}"] for name in "BC"} == {HOLDS}
    assert verdicts["ranking-A"] == FAILS  # the adder is cheapest if every layer adds
    assert {verdicts[f"saving-{name}"] for name in "ABC"} == {NO_VERDICT}  # that is MobileNetV3's


def test_a_ranking_must_hold_for_both_choices_of_layers(records: list[Record]) -> None:
    claim = next(c for c in get_item(ITEM).claims if c.id.endswith("ranking-A"))
    one = [record for record in records if record.settings["layers"] == "registered"]
    assert judge(claim, one).verdict == HOLDS
    judged = judge(claim, records)
    assert judged.measured == "1 of 2 cases"
    assert judged.why.startswith("MobileNetV2, every layer converted: adder 0.6")
    assert claim.samples([r for r in records if r.method != "adder"]) is None


def energy_record(method: str, accounting: str, mj: float) -> Record:
    settings = {"layers": "all", "resolution": 160}
    return Record(
        item=ITEM, metric=f"energy_{accounting}", value=mj, unit="mJ", method=method,
        model="mobilenet_v3_w035", dataset="one image", seed=0, profile="laptop", epochs=0,
        device="cpu", versions={}, config_hash=config_hash(settings), commit="0" * 40, seconds=1.0,
        peak_memory_mb=1.0, settings=settings,
    )  # fmt: skip


@pytest.mark.parametrize(("shift", "verdict"), [(0.528, HOLDS), (1.18, FAILS)])
def test_saving_claim(shift: float, verdict: str) -> None:
    found = [energy_record("conv", "A", 1.744), energy_record("shift", "A", shift)]
    claim = next(c for c in get_item(ITEM).claims if c.id.endswith("saving-A"))
    assert judge(claim, found).verdict == verdict


def test_scorecard_shows_the_simulator_beside_the_point(records: list[Record]) -> None:
    number = find_published(ITEM, "DeepShift point 2", "energy")
    (beside,) = [record for record in records if fig5.matches(number, record)]
    assert (beside.metric, beside.method, beside.settings["layers"]) == ("energy_A", "shift", "all")
    accuracy = find_published(ITEM, "DeepShift point 2", "accuracy")
    assert not any(fig5.matches(accuracy, record) for record in records)


def test_points_name_rows_of_the_figure() -> None:
    for rows in pictures.NETWORKS.values():
        for row in rows.values():
            assert find_published(ITEM, row, "energy").unit == "mJ"


def test_figure_holds_published_and_ours_apart(records: list[Record]) -> None:
    figure = fig5.draw(records, load_published(ITEM, related=True))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["As published, all points", *pictures.TITLES.values()]
    ours = {line.get_label(): line.get_xdata()[0] for line in figure.axes[1].lines}
    assert ours["DeepShift-Q, mobilenet_v2_w035"] == pytest.approx(0.743, rel=0.01)
    assert png(figure).startswith(b"\x89PNG")


@pytest.fixture
def two_networks(monkeypatch: pytest.MonkeyPatch):
    """The panel on one network: counting all four takes seconds."""
    only = {"mobilenet_v2_w035": pictures.NETWORKS["mobilenet_v2_w035"]}
    monkeypatch.setattr(pictures, "NETWORKS", only)
    pictures.points.cache_clear()
    yield
    pictures.points.cache_clear()


@pytest.mark.usefixtures("two_networks")
def test_panel_starts_at_accounting_b_with_narrow_shift_weights(records: list[Record]) -> None:
    start = default_state(pictures.CONTROLS)
    wide = pictures.energy_numbers(**{**start, "weight_bits": 32})
    for label, method in {
        "CNN mJ": "conv",
        "AdderNet mJ": "adder",
        "DeepShift-Q mJ": "shift",
    }.items():
        assert wide[label] == pytest.approx(value(records, "energy_B", method, "all"))
    assert pictures.energy_numbers(**start)["DeepShift-Q mJ"] < wide["DeepShift-Q mJ"]


@pytest.mark.usefixtures("two_networks")
@pytest.mark.parametrize("name", pictures.CONTROLS)
def test_every_slider_moves_a_printed_number(name: str) -> None:
    start, control = default_state(pictures.CONTROLS), pictures.CONTROLS[name]
    step = control.step if control.value + control.step <= control.high else -control.step
    moved = pictures.energy_numbers(**{**start, name: control.value + step})
    shown, before = (
        [f"{x:.4f}" for x in numbers.values()]
        for numbers in (moved, pictures.energy_numbers(**start))
    )
    assert shown != before


@pytest.mark.usefixtures("two_networks")
def test_panel_is_computed_within_a_slider_s_patience() -> None:
    start = default_state(pictures.CONTROLS)
    pictures.energy_numbers(**start)
    begin = time.thread_time()
    pictures.energy_numbers(**start)
    assert time.thread_time() - begin < 0.02
    assert png(pictures.energy_figure(**start)).startswith(b"\x89PNG")


def test_pictures_of_costs() -> None:
    found = {
        method: fig5.inner_costs("mobilenet_v2_w035", method, "registered", 64)
        for method in ("conv", "binary")
    }
    figure = layers_figure(found["conv"], "MobileNetV2")
    assert "51 layers" in figure.axes[0].get_title(loc="left")
    heights = sum(bar.get_height() for bar in figure.axes[1].patches)
    assert heights == pytest.approx(found["conv"].energy("B").total)
    texts = [text.get_text() for text in accountings_figure(found).axes[0].texts]
    assert "no rule" in texts
    nameless = layers_figure(count(nn.Linear(3, 2), (1, 3)), "One layer")
    assert [tick.get_text() for tick in nameless.axes[1].get_xticklabels()] == ["(network)"]
    assert nameless.axes[0].texts[0].get_text() == "1.2e-05"  # million: 6 products and 6 sums


def test_the_laptop_profile_counts_every_identified_network() -> None:
    assert set(fig5.PROFILES["laptop"].networks) == set(pictures.NETWORKS)
