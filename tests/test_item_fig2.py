"""Item shiftaddaug/fig2: starts, fits, records, claims and the drawing."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from saa_lite.errors import UsageError
from saa_lite.items import distributions
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug import fig2, starts
from saa_lite.models import create_model
from saa_lite.records import Record, config_hash, measured_records
from saa_lite.records.metrics import METRICS
from saa_lite.viz import distributions as pictures

TINY = fig2.Settings("digits", "lenet5_bn", 32, 40, 20, epochs=1, seeds=2, batch_size=20)
MANY = 100_000
SAMPLES = {
    "gaussian": torch.from_numpy(stats.norm(0.3, 2).rvs(MANY, random_state=0)),
    "laplace": torch.from_numpy(stats.laplace(-1, 0.5).rvs(MANY, random_state=0)),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("family", distributions.FAMILIES)
def test_fits_distances_and_densities_are_those_of_scipy(name: str, family: Any) -> None:
    sample = SAMPLES[name][:2_001].numpy()  # odd: one median
    known = {"gaussian": stats.norm, "laplace": stats.laplace}[family]
    fitted = distributions.fit(torch.from_numpy(sample), family)
    assert (fitted.centre, fitted.width) == pytest.approx(known.fit(sample))
    x = torch.linspace(-40, 40, 81)
    frozen = known(fitted.centre, fitted.width)
    np.testing.assert_allclose(fitted.log_density(x), frozen.logpdf(x.numpy()), rtol=1e-9)
    np.testing.assert_allclose(fitted.cdf(x), frozen.cdf(x.numpy()), rtol=1e-7, atol=1e-15)
    distance = stats.kstest(sample, frozen.cdf).statistic
    assert distributions.cdf_distance(torch.from_numpy(sample), family) == pytest.approx(distance)


def test_distances_name_the_family_and_are_the_largest_gap() -> None:
    found = {
        (name, family): distributions.cdf_distance(sample, family)
        for name, sample in SAMPLES.items()
        for family in distributions.FAMILIES
    }
    assert found["laplace", "gaussian"] == pytest.approx(0.062, abs=2e-3)
    assert found["gaussian", "laplace"] == pytest.approx(0.042, abs=2e-3)
    assert max(found["gaussian", "gaussian"], found["laplace", "laplace"]) < 1.5 / math.sqrt(MANY)
    gap = distributions.cdf_gap(SAMPLES["laplace"], "gaussian", torch.linspace(-6, 4, 4_001))
    assert float(gap.abs().max()) == pytest.approx(found["laplace", "gaussian"], abs=1e-4)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UsageError, match="family must be one of"):
        distributions.fit(torch.ones(3), "cauchy")  # type: ignore[arg-type]


def test_gaussian_filters_of_unequal_width_only_look_laplacian() -> None:
    widths = torch.arange(1.0, 301) / 100
    filters = widths[:, None] * torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    assert distributions.laplace_advantage(filters) > 0.02
    apart = distributions.within_filters(filters)
    assert distributions.laplace_advantage(apart) == pytest.approx(-0.048, abs=5e-3)


@pytest.mark.parametrize("method", fig2.METHODS)
def test_starts_have_the_shape_and_width_that_they_say(method: str) -> None:
    def weights(start: str, seed: int = 3) -> torch.Tensor:
        torch.manual_seed(seed)
        model = create_model("lenet5_bn", 10, method, in_channels=1)
        starts.restart(model, "lenet5_bn", start, seed)
        return starts.layer_weights(model, "lenet5_bn")[2]

    own, laplace, narrow = map(weights, starts.STARTS)
    limits = {"conv": -0.130, "shift": -0.130, "adder": -0.048}
    assert distributions.laplace_advantage(own) == pytest.approx(limits[method], abs=4e-3)
    assert distributions.laplace_advantage(laplace) == pytest.approx(0.072, abs=8e-3)
    assert distributions.laplace_advantage(narrow) == pytest.approx(-0.048, abs=4e-3)
    assert float(laplace.std() / own.std()) == pytest.approx(1, abs=0.02)
    assert float(narrow.std() / own.std()) == pytest.approx(0.1, abs=0.002)
    assert torch.equal(laplace, weights("laplace"))
    assert not torch.equal(laplace, weights("laplace", seed=4))


def test_shares_of_the_start_are_taken_out_and_put_back() -> None:
    start, change = SAMPLES["gaussian"], SAMPLES["laplace"]
    end = 0.4 * start + change
    assert starts.left_share(start, end) == pytest.approx(0.4, abs=0.01)
    kept = starts.left_share(start, end)
    torch.testing.assert_close(starts.with_share(start, end, kept), end)
    alone = starts.with_share(start, end, 0.0)
    assert starts.left_share(start, alone) == pytest.approx(0, abs=1e-9)
    assert distributions.laplace_advantage(alone) == pytest.approx(0.072, abs=5e-3)
    assert distributions.laplace_advantage(starts.with_share(start, end, 9.0)) < -0.04


def test_the_dot_lies_on_the_line_of_the_chosen_method() -> None:
    curves = fig2.curve_table(*(SAMPLES[name] for name in ("gaussian", "laplace")))
    lines = {"conv": (0.0, -0.02), "adder": (0.04, 0.0)}
    figure = pictures.leftover_figure(curves, "adder", (0.0, 2.0), lines, 0.5)
    dot = next(line for line in figure.axes[1].get_lines() if line.get_marker() == "o")
    assert dot.get_xydata().tolist() == [pytest.approx([0.5, 0.03])]


def test_unknown_starts_are_named() -> None:
    model = create_model("lenet5_bn", 10, in_channels=1)
    complaint = "start must be one of 'own', 'laplace', 'narrow'; got 'wide'"
    with pytest.raises(UsageError, match=complaint):
        starts.restart(model, "lenet5_bn", "wide", 0)


def test_layers_that_multiply_anyway_are_not_compared() -> None:
    names = list(starts.compared_layers(create_model("resnet20", 10, "adder"), "resnet20"))
    assert len(names) == 20  # 18 and two shortcuts
    assert not {"conv1", "classifier.conv"} & set(names)
    assert len(starts.compared_layers(create_model("lenet5_bn", 10, "conv"), "lenet5_bn")) == 5


def test_a_layer_counts_by_its_weights() -> None:
    random = torch.Generator().manual_seed(0)
    before = [torch.randn(size, 10, generator=random) for size in (10, 90)]
    after = [before[0] ** 3, before[1].flip(0)]
    small, large = fig2.layer_table(before, after)
    assert small["kurtosis"] > 5
    assert large["kurtosis"] == pytest.approx(large["kurtosis_initial"])
    assert small["start_correlation"] == pytest.approx(math.sqrt(9 / 15), abs=0.1)
    width = math.sqrt(6)  # of x³ − 3x where x is N(0, 1)
    assert small["change_width"] == pytest.approx(width, rel=0.5)
    assert small["change_advantage"] > large["change_advantage"]
    mean = fig2.over_layers((small, large), "kurtosis")
    assert mean == pytest.approx(0.1 * small["kurtosis"] + 0.9 * large["kurtosis"])


def test_item_runs_records_and_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    item = get_item("shiftaddaug/fig2")
    records = run_item(item, Context("smoke", progress=False), settings=TINY)
    assert {r.metric for r in records} == set(fig2.METRICS) == set(METRICS[item.id])
    keys = {(r.settings["start"], r.method, r.seed) for r in records}
    assert len(keys) == 3 * 3 * 2
    value = {
        (r.settings["start"], r.method, r.metric): r.value for r in records if r.seed == 1
    }  # fmt: skip
    assert value["own", "adder", "laplace_advantage_initial"] == pytest.approx(-0.048, abs=0.01)
    assert value["laplace", "conv", "laplace_advantage_initial"] == pytest.approx(0.072, abs=0.01)
    gain = (
        value["own", "conv", "laplace_advantage"]
        - value["own", "conv", "laplace_advantage_initial"]
    )
    assert value["own", "conv", "laplace_gain"] == pytest.approx(gain)
    logs = {(r.settings["start"], r.metric): len(r.log) for r in records if r.log}
    assert logs["own", "laplace_advantage"] == 5
    assert logs["own", "start_correlation"] == 61
    assert ("narrow", "start_correlation") not in logs
    assert {len(claim.samples(records).values) for claim in item.claims} == {2}
    figure = item.draw(records, [])
    assert len(figure.axes) == 9
    assert "2 seeds" in figure.get_suptitle()
    assert len(pictures.layers_figure(records).axes) == 3
    alone = [r for r in records if r.method != "shift"]
    with pytest.raises(UsageError, match="no laplace_advantage of conv and shift and adder"):
        item.draw(alone, [])
    with pytest.raises(UsageError, match="no record is of the layers' own start"):
        item.draw([r for r in records if r.settings["start"] != "own"], [])
    again = run_item(item, Context("smoke", progress=False), settings=TINY)
    assert [r.created for r in again] == [r.created for r in records]


def test_the_legend_lies_outside_of_every_panel() -> None:
    figure = get_item("shiftaddaug/fig2").draw(measured(), [])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    for axis in figure.axes:
        assert not legend.get_window_extent().overlaps(axis.get_tightbbox())


def measured(advantage: dict[str, float] | None = None, **changes: Any) -> list[Record]:
    """Records of five seeds and three starts as a run would leave them, from drawn weights."""
    made = []
    curves = fig2.curve_table(*(SAMPLES[name][:5_000] for name in ("gaussian", "laplace")))
    for start in starts.STARTS:
        settings = {"train_images": 50_000, "start": start}
        for seed in range(5):
            for method in fig2.METHODS:
                level = (advantage or {}).get(f"{start} {method}", 0.0) + seed / 1_000
                record = Record(
                    item="shiftaddaug/fig2", metric="laplace_advantage", value=level, unit="nats",
                    method=method, model="resnet20", dataset="cifar100", seed=seed, profile="full",
                    epochs=300, device="a GPU", versions={}, config_hash=config_hash(settings),
                    commit="unknown", seconds=1.0, peak_memory_mb=1.0, settings=settings,
                )  # fmt: skip
                made += [
                    replace(record, **changes),
                    replace(record, metric="laplace_advantage_initial", value=-0.05),
                    replace(record, metric="laplace_gain", value=level + 0.05, **changes),
                    replace(record, metric="change_advantage", value=-level, **changes),
                    replace(record, metric="start_correlation", log=curves),
                ]
    return made


def test_each_claim_reads_its_own_start_and_measure() -> None:
    levels = {
        "own conv": -0.03, "own shift": -0.04, "own adder": 0.02,
        "laplace conv": -0.025, "narrow conv": 0.05, "narrow adder": 0.03,
    }  # fmt: skip
    records = measured(levels)
    first = {
        claim.id.partition(":")[2]: claim.samples(records).values[0]
        for claim in get_item("shiftaddaug/fig2").claims
    }
    assert first == pytest.approx(
        {
            "conv-gauss": -0.03,
            "adder-laplace": 0.02,
            "shift-laplace": -0.04,
            "adder-above-conv": 0.05,
            "control-trained": 0.07,
            "control-forgets": -0.025,
            "control-change-conv": 0.03,
            "control-change": -0.05,
            "control-narrow-conv": 0.05,
            "control-narrow": -0.02,
        }
    )


@pytest.mark.parametrize("start", starts.STARTS)
@pytest.mark.parametrize("method", fig2.METHODS)
def test_tracked_starts_are_drawn_again(method: str, start: str) -> None:
    found = [
        record for record in measured_records("shiftaddaug/fig2")
        if record.method == method and record.settings["start"] == start
        and record.metric == "laplace_advantage_initial"
    ]  # fmt: skip
    assert "digits" in {record.dataset for record in found}
    for record in found:
        torch.manual_seed(record.seed)
        classes, channels = {"digits": (10, 1), "cifar100": (100, 3)}[record.dataset]
        model = create_model(record.model, classes, method, in_channels=channels)
        starts.restart(model, record.model, start, record.seed)
        layers = starts.layer_weights(model, record.model)
        counts = [layer.numel() for layer in layers]
        again = np.average([*map(distributions.laplace_advantage, layers)], weights=counts)
        assert again == pytest.approx(record.value, abs=1e-6)


def test_a_fit_by_hand_misses_nothing_at_the_best_choice() -> None:
    sample = SAMPLES["laplace"][:5_000].numpy()
    centre, width = stats.laplace.fit(sample)
    best = pictures.hand_numbers(sample, "Laplace", centre, width)
    assert best["missing"] == pytest.approx(0, abs=1e-9)
    off = pictures.hand_numbers(sample, "Laplace", centre, 2 * width)
    # Per weight ln 2 is lost by the lower peak, and half of E|w − m|/b = 1 is won by the tails.
    assert off["missing"] == pytest.approx(math.log(2) - 0.5)
    gaussian = pictures.hand_numbers(sample, "Gaussian", centre, width)
    advantage = distributions.laplace_advantage(torch.from_numpy(sample))
    assert best["best in the family"] - gaussian["best in the family"] == pytest.approx(advantage)
    figure = pictures.hand_figure(sample, "Gaussian", centre, width)
    assert len(figure.axes) == 2


def test_one_layer_shows_both_fits() -> None:
    curves = fig2.curve_table(*(SAMPLES[name] for name in ("gaussian", "laplace")))
    figure = pictures.layer_figure(curves, "adder")
    left, right = figure.axes
    fitted = {line.get_label(): line.get_ydata() for line in left.get_lines()}
    trained, laplace = fitted["trained (in colour)"], fitted["Laplace fit"]
    middle = len(trained) // 2
    assert trained[middle] == pytest.approx(laplace[middle], rel=0.15)
    assert trained[middle] > 1.3 * fitted["Gaussian fit"][middle]
    assert len(right.get_lines()) == 3
