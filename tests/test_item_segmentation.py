"""The segmentation item: what it records, what its protocols train, and its drawing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saa_lite.errors import UsageError
from saa_lite.items import campaign
from saa_lite.items.base import Context
from saa_lite.items.contrasts import Trainings
from saa_lite.items.shiftaddaug import claim_segmentation as item
from saa_lite.items.targets import build, train_config
from saa_lite.models import Segmenter
from saa_lite.protocols import list_protocols, load_protocol
from saa_lite.records import Record, config_hash

PROTOCOLS = list_protocols(item.ITEM_ID)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))


def test_the_tiny_run_scores_every_method_once() -> None:
    context = Context("smoke", progress=False, item=item.ITEM_ID)
    records = list(item.run(campaign.Settings(), context))
    by_method = {
        method: {r.metric: r for r in records if r.method == method}
        for method in item.TRIED_METHODS
    }
    for found in by_method.values():
        share = [r.value for name, r in found.items() if name.startswith("iou ")]
        assert found[item.MIOU].value == pytest.approx(sum(share) / len(share))
        assert 0 <= found[item.MIOU].value <= found["pixel_accuracy_reestimated"].value <= 100
        assert found["energy_C"].value > 0
        assert found[item.MIOU].settings["task"] == "segmentation"
    assert by_method["aug-shift"]["export_difference"].value == 0
    assert "export_difference" not in by_method["conv"]
    assert by_method["aug-shift"]["energy_C"].value < by_method["conv"]["energy_C"].value
    again = replace(context, finished=tuple(records))
    assert list(item.run(campaign.Settings(), again)) == []
    figure = item.draw(records, [])
    assert "digit-scenes" in figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_can_be_run(name: str) -> None:
    protocol = load_protocol(name)
    settings = campaign.Settings((name,), seeds=protocol.seeds[:1])
    found = list(campaign.asked(settings, Context("laptop", item=item.ITEM_ID), ()))
    assert [unit.settings.get("arm", unit.method) for unit, _ in found] == list(protocol.arms)
    assert len({unit.key for unit, _ in found}) == len(found)
    for unit, training in found:
        config = train_config(training, unit.method, unit.seed)
        assert config.lr == protocol.rates[unit.method]
        assert config.epochs == unit.epochs
        assert training.task == "segmentation"


def test_arms_and_seeds_that_no_protocol_has() -> None:
    context = Context("laptop", item=item.ITEM_ID)
    with pytest.raises(UsageError, match="arms must be one of"):
        list(campaign.asked(campaign.Settings(("segment-digits",), arms=("binary",)), context, ()))
    with pytest.raises(UsageError, match=r"seeds must be among .*; got 99"):
        list(campaign.asked(campaign.Settings(("segment-digits",), seeds=(99,)), context, ()))


def test_the_network_of_a_method_is_a_segmenter() -> None:
    from saa_lite.data import load_dataset  # noqa: PLC0415

    scenes = load_dataset("digit-scenes", count=2, size=32)
    model = build("conv", item.TRIED, scenes, 0)
    assert isinstance(model, Segmenter)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 11, 32, 32)


def test_contrasts_compare_mean_iou() -> None:
    protocol = load_protocol("segment-digits")

    def made(metric: str, method: str, seed: int, value: float) -> Record:
        settings: dict[str, Any] = {"protocol": protocol.label}
        return Record(
            item=item.ITEM_ID, metric=metric, value=value, unit="%", method=method, model="resnet8",
            dataset="digit-scenes", seed=seed, profile="laptop", epochs=40, device="cpu",
            versions={}, config_hash=config_hash(settings), commit="unknown", seconds=1.0,
            peak_memory_mb=1.0, settings=settings,
        )  # fmt: skip

    records = [made(item.MIOU, "shift", seed, 50.0 + seed) for seed in range(3)]
    records += [made(item.MIOU, "aug-shift", seed, 53.0) for seed in range(2)]
    records += [made("miou", "shift", 0, 1.0), made("diverged_epoch", "aug-shift", 2, 4)]
    found = Trainings(protocol, records).difference(protocol.contrasts[0])
    assert found.values == pytest.approx((3.0, 2.0, 100 / 11 - 52))
    assert found.diverged == 1
    assert found.hits is None
