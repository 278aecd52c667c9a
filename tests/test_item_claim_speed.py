"""Item claim-speed: pairs of networks alike in all but the operator; the faster layout counts."""

from pathlib import Path

import pytest
import torch

from saa_lite.items.addernet_impacts import claim_speed
from saa_lite.items.addernet_impacts.claim_speed import METHODS, PROFILES
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item

ITEM = "addernet-impacts/claim-speed"


@pytest.fixture
def fixed_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The networks run, but the clock says what it is told: seconds by method and layout."""
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    seconds = {
        ("conv", "contiguous"): 0.004,
        ("conv", "channels_last"): 0.002,
        ("adder", "contiguous"): 0.006,
        ("adder", "channels_last"): 0.009,
    }

    def measured(calls, rounds, warm_up):
        assert {call().shape for call in calls.values()} == {(2, 10)}
        return {name: [seconds[name]] * rounds for name in calls}

    monkeypatch.setattr(claim_speed, "interleaved", measured)


@pytest.mark.usefixtures("fixed_times")
def test_item_runs_records_and_draws():
    item = get_item(ITEM)
    records = run_item(item, Context("smoke", progress=False))
    assert {r.method: r.value for r in records} == pytest.approx({"conv": 2.0, "adder": 6.0})
    assert {r.settings["threads"] for r in records} == {torch.get_num_threads()}
    (claim,) = item.claims
    assert claim.samples(records).values == pytest.approx((4.0,))
    assert item.draw is not None
    (axis,) = item.draw(records, []).axes
    assert axis.get_title(loc="left") == "2 images: adder ÷ CNN = 3.0"
    again = run_item(item, Context("smoke", progress=False))
    assert [r.created for r in again] == [r.created for r in records]


def test_both_networks_share_images_and_topology():
    unit = Context("smoke", item=ITEM).unit(
        method="conv", model="resnet20", dataset="normal numbers", seed=3, settings={}
    )
    passes = claim_speed.forward_passes(unit, PROFILES["smoke"], batch=2)
    assert {method for method, _ in passes} == set(METHODS)
    logits = {name: call() for name, call in passes.items()}
    for method in METHODS:
        one, other = (logits[method, layout] for layout in claim_speed.LAYOUTS)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
