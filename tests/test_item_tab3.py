"""Networks trained once and shared, and the α sweep over one of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saa_lite.errors import CheckpointError
from saa_lite.items.adder_quant.networks import (
    Training,
    keep_network,
    network_name,
    tracked_network,
    tracked_networks,
    tracked_path,
    trained_network,
    training_folder,
)
from saa_lite.items.adder_quant.tab3 import FULL, PROFILES, PROTOCOLS, matches, method_of
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.table import Table
from saa_lite.published import load_published

ITEM = "adder-quant/tab3"
TINY = Training(
    "digits", "lenet5_bn", 100, 50, 1, 1, batch_size=20, flip=False, calibration_batches=3
)
QUIET = Context("smoke", progress=False)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))


def test_a_network_is_trained_once_and_found_again() -> None:
    first = trained_network(TINY, QUIET, "adder", 0)
    checkpoint = training_folder(network_name(TINY, "adder", 0), 50) / "last.safetensors"
    written = checkpoint.stat().st_mtime_ns
    again = trained_network(replace(TINY, seeds=7, calibration_batches=1), QUIET, "adder", 0)
    assert checkpoint.stat().st_mtime_ns == written
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)
    assert torch.equal(first.logits(), again.logits())
    right = first.logits().argmax(1) == first.test_set.labels
    assert first.accuracy(first.logits()) == 2 * right.sum()
    names = {network_name(TINY, kind, seed) for kind in ("conv", "adder") for seed in (0, 1)}
    assert len({*names, network_name(replace(TINY, epochs=2), "adder", 0)}) == 5


def test_calibration_images_are_the_first_and_the_same_for_every_network() -> None:
    adder, conv = (trained_network(TINY, QUIET, kind, 0) for kind in ("adder", "conv"))
    images = adder.calibration(TINY)
    assert [len(batch) for batch in images] == [20, 20, 20]
    assert all(map(torch.equal, images, conv.calibration(TINY)))


def test_tracked_networks_come_first_and_say_when_they_are_others() -> None:
    network = trained_network(TINY, QUIET, "adder", 0)
    path = keep_network(network, TINY, "adder", 0)
    with torch.no_grad():
        network.model.bn.bias.fill_(3)
    keep_network(network, TINY, "adder", 0)
    found = trained_network(TINY, QUIET, "adder", 0).model
    assert (found.bn.bias == 3).all()
    weight = network.model.layer1.conv.weight
    assert torch.equal(found.layer1.conv.weight, weight.half().float())
    assert path.stat().st_size < 0.6 * 4 * sum(p.numel() for p in found.parameters())
    (name,) = tracked_networks()
    alone = tracked_network(name)  # no images at hand
    assert not alone.training
    assert torch.equal(alone.layer1.conv.weight, found.layer1.conv.weight)
    path.rename(tracked_path(network_name(TINY, "conv", 0)))
    with pytest.raises(CheckpointError, match="is of another model"):
        trained_network(TINY, QUIET, "conv", 0)


def test_sweep_runs_records_and_draws() -> None:
    item, settings = get_item(ITEM), replace(PROFILES["smoke"], seeds=2)
    records = run_item(item, QUIET, settings=settings)
    methods = {FULL, *(method_of(alpha) for alpha in settings.alphas)}
    metrics = {*PROTOCOLS, "logit_error"}
    assert {(r.method, r.metric, r.seed) for r in records} == {
        (method, metric, seed) for method in methods for metric in metrics for seed in (0, 1)
    }
    errors = {r.method: r.value for r in records if r.metric == "logit_error" and not r.seed}
    assert errors.pop(FULL) == 0
    assert all(0 < error < 100 for error in errors.values())
    assert len(run_item(item, QUIET, settings=settings)) == len(records)
    published = load_published(ITEM, related=True)
    assert item.draw is not None
    table = item.draw(records, published)
    assert isinstance(table, Table)
    assert [row[1:3] for row in table.rows] == [
        ("full precision", "67.59 %"),
        ("0.9990", "67.35 %"),
        ("1.0", "65.17 %"),
    ]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_published_rows_are_found() -> None:
    rows = [number.row for number in load_published(ITEM)]
    assert rows == [method_of(alpha) for alpha in (0.9985, 0.999, 0.9995, 1.0)]
    settings = replace(PROFILES["smoke"], tuned_epochs=0)
    found = run_item(get_item(ITEM), QUIET, settings=settings)
    assert {record.metric for record in found} == {
        *PROTOCOLS, "logit_error",
    } - {"accuracy_trained"}  # fmt: skip
    record = next(record for record in found if record.metric == "accuracy")
    number = load_published(ITEM)[0]
    on_cifar = replace(record, model="resnet20", dataset="cifar100", method=number.row)
    assert matches(number, on_cifar)
    assert not matches(number, replace(on_cifar, dataset="digits"))
