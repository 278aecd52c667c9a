"""Item shiftaddaug/fig4, part b: every arm runs, pairs are drawn and judged."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from test_items_augmented import claim, made

from saa_lite.errors import UsageError
from saa_lite.items.base import Context
from saa_lite.items.recipes import RECIPES
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug import fig4
from saa_lite.report.verdict import judge

ITEM = "shiftaddaug/fig4"
MEANS = {"shift": 80.0, "aug-shift": 84.0, "conv": 90.0, "netaug": 91.0, "remap-shift": 79.0}


def records() -> list:
    jitter = {"remap-shift": (0.0, 3.0, 0.5)}
    return [
        made(ITEM, method, seed, mean + jitter.get(method, (0.0, 0.1, 0.2))[seed])
        for method, mean in MEANS.items()
        for seed in range(3)
    ]


def test_pairs_name_arms_that_exist() -> None:
    pairs = [pair for asked in fig4.QUESTIONS.values() for pair in asked]
    assert len(set(pairs)) == len(pairs)
    assert {method for pair in pairs for method in pair} <= set(fig4.METHODS) <= set(RECIPES)
    assert len(set(fig4.METHODS)) == len(fig4.METHODS)
    assert set(fig4.METHODS) == {method for pair in pairs for method in pair}


def test_arms_run_and_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth and mutation together, remapping without a second pass, and the pair they need."""
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    arms = ("shift", "aug-shift", "aug-shift-all", "remap-shift")
    grid = fig4.GRID[1.5, 0.3]
    monkeypatch.setattr(fig4, "METHODS", arms)
    monkeypatch.setattr(fig4, "GRID", {(1.5, 0.3): grid})
    item = get_item(ITEM)
    settings = replace(item.profiles["smoke"], epochs=2)  # one as convolutions, one after it
    found = run_item(item, Context("smoke", progress=False), settings=settings)
    metrics = {arm: {r.metric for r in found if r.method == arm} for arm in arms}
    assert "least_lead" in metrics["aug-shift-all"]
    assert "least_lead" not in metrics["remap-shift"]
    differences = [r.value for r in found if r.metric == "export_difference"]
    assert differences == [0.0, 0.0, 0.0, 0.0]
    assert {r.method for r in found} == {*arms, grid}
    assert (tmp_path / "data/runs" / ITEM / "smoke.png").exists()


def test_differences_are_paired_by_seed() -> None:
    figure = fig4.draw(records(), [])
    assert isinstance(figure, Figure)
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(fig4.QUESTIONS)
    parts, _raw, remapping, *_ = figure.axes
    shown = [text.get_text() for text in parts.texts]
    assert (shown.count("+4.0"), shown.count("+1.0")) == (1, 1)
    assert shown.count("not run") == len(fig4.QUESTIONS[parts.get_title(loc="left")]) - 2
    assert "-1.0" not in [text.get_text() for text in remapping.texts]  # −1 + 1.07 = +0.1
    assert "+0.1" in [text.get_text() for text in remapping.texts]
    labels = [text.get_text() for text in remapping.get_yticklabels()]
    assert labels[:2] == ["Shift, remapped − Shift", "AugShift − AugShift, not remapped"]


def test_one_question_can_be_drawn_alone() -> None:
    asked = "Must the surroundings multiply?"
    (axis,) = fig4.draw(records(), [], [asked]).axes
    assert axis.get_title(loc="left") == asked
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == ["AugShift − AugShift, nothing multiplies"]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(UsageError, match="no seed has accuracy of aug-shift and shift"):
        fig4.draw([made(ITEM, "shift", 0, 80.0)], [])


def test_claims() -> None:
    item = get_item(ITEM)
    found = {
        name: judge(claim(item, name), records()).estimate
        for name in ("together", "netaug", "remap-alone", "more-than-netaug")
    }
    assert {name: estimate.mean for name, estimate in found.items()} == pytest.approx(
        {
            "together": 4.0,
            "netaug": 1.0,
            "remap-alone": -1 + 3.5 / 3 - 0.1,
            "more-than-netaug": 3.0,
        }
    )
    low, high = found["remap-alone"].interval
    assert low < 0 < high
    assert judge(claim(item, "depth"), records()).estimate is None
