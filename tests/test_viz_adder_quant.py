"""Panels of adder quantisation: numbers follow the definitions, every control moves one."""

import time

import pytest
import torch
from matplotlib.figure import Figure
from quantize_samples import calibration, digits, trained

from saa_lite.data import Batches, normalization
from saa_lite.items.adder_quant.tab3 import PROTOCOLS
from saa_lite.published import load_published
from saa_lite.quantize import quantize
from saa_lite.records import Record, config_hash
from saa_lite.viz import adder_quant as panels
from saa_lite.viz.adder_quant import sweep_figure
from saa_lite.viz.panel import numbers_line, png

START = {"method": "redistribution", "bits": 4.0, "groups": 4.0, "alpha": 0.998}
MOVED = {"method": "qssf-weights", "bits": 3.0, "groups": 1.0, "alpha": 0.99}
CLAMP = {"w": 3.0, "S": 1.5, "x": 0.5}


@pytest.fixture(scope="module")
def view() -> panels.LayerView:
    mean, std = normalization(digits("train"))
    _, images, labels = next(Batches(digits("test"), 200, mean=mean, std=std).epoch(0))
    return panels.LayerView(trained(), "6", calibration()[:2], images, labels)


def test_clamp_is_lossless_within_the_range_and_not_beyond() -> None:
    numbers = panels.clamp_numbers(**CLAMP)
    assert (numbers["|x − w|"], numbers["clip(w)"], numbers["excess"]) == (2.5, 1.5, 1.5)
    assert numbers["difference"] == 0
    assert panels.clamp_numbers(w=3.0, S=1.5, x=2.0)["difference"] == pytest.approx(1)
    assert panels.clamp_numbers(w=1.0, S=1.5, x=2.0)["difference"] == 0
    for name, value in (("w", 2.9), ("S", 1.6), ("x", 0.6)):
        moved = panels.clamp_numbers(**{**CLAMP, name: value})
        assert numbers_line(moved) != numbers_line(numbers)
    figure = panels.clamp_figure(**CLAMP)
    both, way = (line.get_ydata() for line in figure.axes[0].lines[:2])
    inside = abs(figure.axes[0].lines[0].get_xdata()) <= 1.5
    assert abs(both - way)[inside].max() < 1e-12
    assert abs(both - way)[~inside].max() > 1


def test_numbers_of_a_layer_are_those_of_the_quantised_network(view: panels.LayerView) -> None:
    numbers = view.numbers(**START)
    network = quantize(trained(), calibration()[:2], bits=4, groups=4, alpha=0.998)
    with torch.no_grad():
        right = network(view.images).argmax(1) == view.labels
        read = network[:6](calibration()[0])
    assert numbers["accuracy %"] == pytest.approx(100 * right.double().mean().item())
    clamped = (network[6].clamped_weight()[0] != network[6].weight).double().mean().item()
    assert numbers["W clamped %"] == pytest.approx(100 * clamped)
    assert 0 < numbers["X bits used"] <= 4
    assert numbers["codes used X"] <= 16
    assert read.shape == view.read.shape


@pytest.mark.parametrize("control", MOVED)
def test_every_control_moves_a_printed_number(view: panels.LayerView, control: str) -> None:
    moved = view.numbers(**{**START, control: MOVED[control]})
    assert numbers_line(moved) != numbers_line(view.numbers(**START))


@pytest.mark.parametrize("method", panels.METHODS)
def test_a_picture_per_method(view: panels.LayerView, method: str) -> None:
    figure = view.figure(**{**START, "method": method})
    assert len(figure.axes) == 3
    assert png(figure).startswith(b"\x89PNG")


def test_a_second_look_costs_nothing(view: panels.LayerView) -> None:
    view.numbers(**START)
    started = time.thread_time()
    view.numbers(**START)
    assert time.thread_time() - started < 0.02


def test_groups_of_several_layers() -> None:
    torch.manual_seed(0)
    weights = {f"layer{i}": i * torch.randn(8 * i, 3, 3, 3) for i in (1, 2)}
    figure = panels.groups_figure(weights, 4)
    for axis in figure.axes:
        assert len(axis.lines) == 8  # dots and a line per group


def record(method: str, metric: str, seed: int, value: float) -> Record:
    return Record(
        item="adder-quant/tab3", metric=metric, value=value, unit="%", method=method,
        model="resnet20", dataset="cifar100", seed=seed, profile="laptop", epochs=10, device="here",
        versions={}, config_hash=config_hash({}), commit="unknown", seconds=1.0, peak_memory_mb=1.0,
        settings={},
    )  # fmt: skip


def test_sweep_shows_differences_to_full_precision() -> None:
    published = load_published("adder-quant/tab3")
    records = [
        record(method, "accuracy", seed, 20 + seed + place)
        for place, method in enumerate(["adder", *(n.row for n in published)])
        for seed in (0, 1)
    ]
    figure = sweep_figure(records, published, PROTOCOLS)
    assert isinstance(figure, Figure)
    printed, ours, _ = figure.axes
    assert list(printed.lines[0].get_ydata()) == [67.29, 67.35, 67.11, 65.17]
    mean = next(line for line in ours.lines if line.get_label() == "post-training")
    assert list(mean.get_ydata()) == [1, 2, 3, 4]
