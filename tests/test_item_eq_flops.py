"""Item eq-flops: equations on group scales, symbolically and by walking through layers."""

import pytest

from saa_lite.costs.row_stationary import (
    QuantisedLayer,
    overhead,
    overhead_of_four,
    overhead_without_weights,
)
from saa_lite.items.adder_quant import eq_flops
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.records import Record
from saa_lite.report.verdict import FAILS, HOLDS, judge
from saa_lite.viz import costs as pictures
from saa_lite.viz.panel import default_state
from saa_lite.viz.pixels import png

ITEM = "adder-quant/eq-flops"


@pytest.mark.parametrize(
    ("k", "c", "exact", "without", "simple"),
    [
        (32, 16, 0.010269, 0.010274, 0.010309),
        (8, 64, 0.002575, 0.002595, 0.002597),
        (7, 512, 0.000322, 0.000325, 0.000325),
    ],
)
def test_r_at_the_sizes_of_resnets(k, c, exact, without, simple) -> None:
    assert overhead(c, k, 4) == pytest.approx(exact, abs=6e-7)
    assert overhead_without_weights(c, k, 4) == pytest.approx(without, abs=6e-7)
    assert overhead_of_four(c) == pytest.approx(simple, abs=6e-7)


def test_every_identity_holds() -> None:
    held = eq_flops.identities()
    assert len(held) == 6
    assert all(held.values()), held


def test_an_identity_that_does_not_hold_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eq_flops, "overhead", lambda c, k, g: overhead(c, k, g) * (1 + 1 / k))
    assert not all(eq_flops.identities().values())


@pytest.mark.parametrize("seed", range(12))
def test_closed_form_is_what_one_counts(seed: int) -> None:
    layer = eq_flops.random_layer(seed)
    assert layer.operations() == layer.counted_one_by_one()


def test_by_hand_on_the_smallest_layer() -> None:
    """One weight, one input, two scales: 1 + 2 quantisations, 2 for the tap, 2 bias, 1 rescale."""
    assert QuantisedLayer(1, 1, 1, kernel=1, padding=0, groups=2).counted_one_by_one() == 8


def test_the_input_s_size_is_right_for_stride_1_alone() -> None:
    same = QuantisedLayer(3, 4, 6)
    assert same.by_input_size() == same.counted_one_by_one()
    strided = QuantisedLayer(3, 4, 6, stride=2)
    assert strided.by_input_size() > 3 * strided.counted_one_by_one()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        return run_item(get_item(ITEM), Context("smoke", progress=False))


def test_item_runs_judges_and_draws(records: list[Record]) -> None:
    item = get_item(ITEM)
    values = {(r.metric, r.model): r.value for r in records}
    assert values["overhead", "16 channels, 32×32"] == pytest.approx(1.0269, abs=1e-4)
    assert 0.5 < values["network_overhead", "resnet20"] < 1
    missed = {r.settings["formula"]: r.value for r in records if r.metric == "layers_missed"}
    assert missed["by output size"] == 0
    assert missed["by input size"] > 0
    verdicts = {claim.id.partition(":")[2]: judge(claim, records).verdict for claim in item.claims}
    assert verdicts == {
        "ratio": HOLDS, "count": HOLDS, "equation-2": FAILS, "little": HOLDS,
    }  # fmt: skip
    figure = item.draw(records, [])
    assert png(figure).startswith(b"\x89PNG")
    layers = figure.axes[1].lines[-1].get_xdata()
    assert len(layers) == 20


def test_network_overhead_of_a_plain_layer_is_the_printed_one(records: list[Record]) -> None:
    (network,) = [r for r in records if r.metric == "network_overhead"]
    first = network.log[0]
    assert (first["channels"], first["size"]) == (16, 32)
    assert first["overhead"] == pytest.approx(100 * overhead(16, 32, 4), rel=1e-5)


@pytest.mark.parametrize("name", pictures.CONTROLS)
def test_every_slider_moves_the_number(name: str) -> None:
    start = default_state(pictures.CONTROLS)
    moved = {**start, name: start[name] + pictures.CONTROLS[name].step}
    before, after = (pictures.overhead_numbers(**state) for state in (start, moved))
    assert before != after
    assert before["r in %"] == pytest.approx(
        100 * before["added, thousand"] / before["one scale, thousand"]
    )


def test_point_figure_states_r() -> None:
    figure = pictures.overhead_point_figure(**default_state(pictures.CONTROLS))
    assert figure.axes[0].get_title(loc="left") == "r = 1.027 %"
    assert png(pictures.overhead_point_figure(512, 64, 1)).startswith(b"\x89PNG")
