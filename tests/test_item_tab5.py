"""Items tab4 and tab5: what is quantised how, what it costs, and what the claims make of it."""

from dataclasses import replace

import pytest
import torch

from saa_lite.data import load_dataset
from saa_lite.items.adder_quant import tab4, tab5
from saa_lite.items.adder_quant.networks import Network
from saa_lite.items.adder_quant.tab4 import change_metric, error_metric, metrics_of, rows_of
from saa_lite.items.base import Context, Unit
from saa_lite.items.claims import CLAIMS as ALL
from saa_lite.items.output import Table
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.models import create_model
from saa_lite.published import load_published
from saa_lite.quantize.adder_layers import QuantizedAdder
from saa_lite.quantize.layers import input_quantizers, quantized_layers
from saa_lite.records import Record
from saa_lite.report.verdict import judge

QUIET = Context("smoke", progress=False)
CLAIMS = {c.id: c for c in ALL if c.item in ("adder-quant/tab4", "adder-quant/tab5")}


@pytest.fixture(scope="module", params=["tab4", "tab5"])
def run(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Record]]:
    module = {"tab4": tab4, "tab5": tab5}[request.param]
    item = get_item(f"adder-quant/{request.param}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        settings = replace(module.PROFILES["smoke"], seeds=1)
        records = run_item(item, QUIET, settings=settings)
        assert run_item(item, QUIET, settings=settings) == records  # nothing is measured again
    return request.param, records


def test_every_row_has_every_number(run: tuple[str, list[Record]]) -> None:
    name, records = run
    full = [tab4.FULL] if name == "tab4" else list(tab5.FULL.values())
    rows = list(tab4.METHODS) if name == "tab4" else list(tab5.METHODS)
    bits = records[0].settings["bits"]
    found = {(record.method, record.metric) for record in records}
    assert found == {(method, metric) for method in rows for metric in metrics_of(bits)} | {
        (method, metric) for method in full for metric in ("accuracy", "accuracy_reestimated")
    }
    assert all(record.value >= 0 for record in records if "error" in record.metric)


def test_change_is_a_difference_of_accuracies(run: tuple[str, list[Record]]) -> None:
    """Of 50 test images: 2 points each."""
    _, records = run
    for record in records:
        if record.metric.startswith("change"):
            assert record.value / 2 == pytest.approx(round(record.value / 2), abs=1e-6)
            assert abs(record.value) <= 100


def test_table_puts_published_beside_measured(run: tuple[str, list[Record]]) -> None:
    name, records = run
    item = get_item(f"adder-quant/{name}")
    assert item.draw is not None
    table = item.draw(records, load_published(item.id, related=True))
    assert isinstance(table, Table)
    assert all(len(row) == len(table.columns) for row in table.rows)
    text = table.to_markdown()
    assert ("-16.3 points" if name == "tab4" else "-6.77 points") in text
    assert "digits" in table.rows[0][0]


def test_cells_say_where_seeds_are_missing(run: tuple[str, list[Record]]) -> None:
    _, records = run
    first = next(record for record in records if record.metric.startswith("change"))
    first = replace(first, hits=None)
    two = [first, replace(first, seed=1), replace(first, seed=1, method="another")]
    bits = int(first.metric.removeprefix("change_").removesuffix("_bits"))
    methods = [first.method, "another"]
    both, one = (row[2] for row in rows_of(two, [], methods, [bits], tab4.full_of))
    assert both.endswith(" points")
    assert one.endswith(" points (1 seed)")


def unit(method: str, **changes: int) -> tuple[Unit, tab5.Settings]:
    settings = replace(tab5.PROFILES["smoke"], **changes)
    context = replace(QUIET, item="adder-quant/tab5")
    return tab5.unit_of(context, settings, method, 0), settings


@pytest.mark.parametrize("method", ["AddNN", *tab5.CONVOLUTION])
def test_methods_quantise_their_own_layers(method: str) -> None:
    torch.manual_seed(0)
    kind = "adder" if method in tab5.ADDER else "conv"
    model, images = create_model("lenet5_bn", 10, kind, in_channels=1), torch.randn(8, 1, 32, 32)
    chosen, settings = unit(method, iterations=2)
    copied = tab5.quantized(chosen, settings, model, [images[:4], images[4:]], 3)
    adders = [layer for layer in copied.modules() if isinstance(layer, QuantizedAdder)]
    convolutions = list(quantized_layers(copied))
    assert (len(adders) > 0, len(convolutions) > 0) == (kind == "adder", kind == "conv")
    assert copied(images).shape == (8, 10)
    if kind == "conv":
        assert (input_quantizers(copied) == []) == (method in tab5.WEIGHTS_ONLY)


@pytest.mark.parametrize("method", ["AddNN", "CNN nearest"])
def test_batch_norm_is_taken_anew_of_the_same_quantised_network(method: str) -> None:
    """Either kind ends with the statistics of what its quantised first layer puts out."""
    torch.manual_seed(0)
    kind = "adder" if method == "AddNN" else "conv"
    model = create_model("lenet5_bn", 10, kind, in_channels=1).eval()
    images = torch.randn(64, 1, 32, 32)
    data = load_dataset("digits", "test", size=32, count=10)
    network = Network(model, data, data, "cpu")
    copied = tab5.quantized(*unit(method), model, [images], 8)
    old, anew = tab5._variants(copied, network, [images])
    assert old is copied
    assert torch.equal(old.layer1.conv.weight, copied.layer1.conv.weight)
    with torch.no_grad():
        given = anew.layer1.pool(anew.layer1.conv(images))
    norm = anew.layer1.norm
    torch.testing.assert_close(norm.running_mean, given.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.weight, model.layer1.norm.weight)


def test_like_is_compared_with_like() -> None:
    """An arm's change is from full precision with the statistics that the arm itself has."""
    for method in tab5.METHODS:
        name, metric = tab5.full_of(method)
        assert name == ("AddNN FP" if method.startswith("AddNN") else "CNN FP")
        assert (metric == "accuracy_reestimated") == (method == "AddNN" or "anew" in method)
    arms = [arm for method in ("AddNN", *tab5.CONVOLUTION) for arm in tab5.arms_of(method)]
    assert sorted(arms) == sorted(tab5.METHODS)


def test_published_numbers_have_records_beside_them(run: tuple[str, list[Record]]) -> None:
    name, records = run
    published = load_published(f"adder-quant/{name}")
    item = get_item(f"adder-quant/{name}")
    assert item.matches is not None
    there = [replace(r, model="resnet20", dataset="cifar100") for r in records]
    pairs = {(n.row, n.column) for n in published for r in there if item.matches(n, r)}
    assert not any(item.matches(n, r) for n in published for r in records)
    if name == "tab5":
        rows = ("AddNN", "CNN AdaRound", "CNN BRECQ", "CNN QDrop")
        full = {(row, "accuracy") for row in ("AddNN FP", "CNN FP")}
        assert pairs == {(row, "W3A3") for row in rows} | full
    else:
        assert pairs == set()


def made(records: list[Record], changes: dict[str, float], bits: int) -> list[Record]:
    """Three seeds; the change of each method, and a little that differs by seed."""
    template = next(record for record in records if record.metric.startswith("change"))
    return [
        replace(template, method=m, metric=change_metric(bits), value=v + 0.01 * seed, seed=seed)
        for m, v in changes.items()
        for seed in range(3)
    ]


def test_claims_of_table_4_hold_against_the_best_reading(run: tuple[str, list[Record]]) -> None:
    name, records = run
    if name != "tab4":
        return
    claim = CLAIMS["adder-quant/tab4:ours"]
    values = dict.fromkeys(tab4.METHODS, -10.0)
    won = made(records, values | {"Ours": -5.0}, 4)
    assert judge(claim, won).estimate.mean == pytest.approx(5.0)
    lost = made(records, values | {"Ours": -5.0, "QSSF, scale of the weights": -1.0}, 4)
    assert judge(claim, lost).estimate.mean == pytest.approx(-4.0)
    one_scale = CLAIMS["adder-quant/tab4:ours-one-scale-4-bits"]
    assert judge(one_scale, lost).estimate.mean == pytest.approx(5.0)


def test_claims_of_table_5_are_paired(run: tuple[str, list[Record]]) -> None:
    name, records = run
    if name != "tab5":
        return
    values = dict.fromkeys(tab5.METHODS, -6.0) | {"CNN QDrop": -2.0, "CNN nearest": -20.0}
    found = made(records, values, 3)
    found = [replace(r, value=r.value + 0.3 * (r.method == "CNN QDrop") * r.seed) for r in found]
    estimates = {key: judge(claim, found).estimate for key, claim in CLAIMS.items()}
    for key, ahead in (("qdrop-nearest", 18.3), ("qdrop-adaround", 4.3), ("qdrop-addnn", 4.3)):
        assert estimates[f"adder-quant/tab5:{key}-3-bits"].mean == pytest.approx(ahead)
    assert estimates["adder-quant/tab5:qdrop-nearest-4-bits"] is None
    text = CLAIMS["adder-quant/tab5:addnn-adaround-3-bits"].published
    assert text == "-6.02 against -6.77 points (+0.75)"


def test_metric_names() -> None:
    assert metrics_of((4, 3)) == [
        "change_4_bits",
        "logit_error_4_bits",
        "change_3_bits",
        "logit_error_3_bits",
    ]
    assert error_metric(4) == "logit_error_4_bits"
