"""Item adder-quant/fig1: over clamp and bits waste recorded and drawn."""

from dataclasses import replace
from pathlib import Path

import pytest

from saa_lite.items.adder_quant.fig1 import FULL, MEASURED, METHODS, PROFILES
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item

ITEM = "adder-quant/fig1"


def test_item_runs_records_and_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    item, settings = get_item(ITEM), replace(PROFILES["smoke"], seeds=2)
    records = run_item(item, Context("smoke", progress=False), settings=settings)
    value = {(r.method, r.metric): r.value for r in records if r.seed == 1}
    assert {method for method, _ in value} == {FULL, *MEASURED}
    # Weights start as N(0, 1) and are still wider than the inputs: see the module's text.
    assert value["adder", "weight_range"] > value["adder", "input_range"] > 0
    assert value["qssf-weights", "weights_clamped"] == 0
    assert value["qssf-activations", "weights_clamped"] > 1
    for method in METHODS[1:]:
        assert value[method, "input_entropy"] > value["qssf-weights", "input_entropy"]
    assert 0 < value["redistribution", "weight_entropy"] <= 4
    logs = {(r.method, r.metric): len(r.log) for r in records if r.log}
    assert {length for (method, _), length in logs.items() if method != FULL} == {16}
    assert not [r for r in records if r.log and r.seed == 1]
    assert item.draw is not None
    figure = item.draw(records, [])
    assert len(figure.axes) == 6
    titles = [axis.get_title(loc="left") for axis in figure.axes[:3]]
    assert titles[0].startswith("QSSF, scale of the weights")
    again = run_item(item, Context("smoke", progress=False), settings=settings)
    assert len(again) == len(records)  # nothing is measured twice
