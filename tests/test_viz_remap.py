"""Panels of remapping: numbers follow the equations, every control moves one, quick enough."""

import math
import time
from functools import partial

import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from saa_lite.viz import remap, remap_figures
from saa_lite.viz.panel import numbers_line
from saa_lite.viz.pixels import png

START = {"mu": 0.0, "sigma": 0.05, "b": 0.7, "bits": 4.0, "w": 1.5, "map": "remapped"}
STEPS = {"mu": 0.01, "sigma": 0.06, "b": 0.8, "bits": 5.0, "w": 1.6, "map": "as is"}


def layers() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"normal": 0.05 * torch.randn(32, 16, 3, 3), "uniform": torch.rand(32, 9) - 0.5}


LAYER = {"layer": "normal", "map": "remapped", "b": 0.7}


def test_numbers_of_the_start_position() -> None:
    numbers = remap.remap_numbers(**START)
    assert numbers["w"] == pytest.approx(0.075)
    assert numbers["F(w)"] == pytest.approx(stats.norm.cdf(1.5))
    assert numbers["mapped"] == pytest.approx(stats.laplace.ppf(stats.norm.cdf(1.5), scale=0.7))
    assert numbers["kurtosis before"] == pytest.approx(0, abs=0.1)
    assert numbers["kurtosis after"] == pytest.approx(3, abs=0.7)
    assert numbers["KL to Laplace"] < 0.01
    assert numbers["round trip"] < 1e-6


def test_no_map_is_far_from_laplace_and_from_home() -> None:
    numbers = remap.remap_numbers(**{**START, "map": "as is"})
    assert numbers["mapped"] == numbers["w"]
    assert numbers["KL to Laplace"] > 1.5
    assert numbers["round trip"] > 0.5


@pytest.mark.parametrize(("bits", "least"), [(2, 1.0), (5, 0.1)])
def test_rounding_costs_more_with_fewer_bits(bits: int, least: float) -> None:
    error = remap.remap_numbers(**{**START, "bits": float(bits)})["±2^p error"]
    assert least < error < 10 * least
    rounded = remap.follow(**{**START, "bits": float(bits), "map": "shift"}).after
    assert bool((torch.frexp(rounded.abs()).mantissa == 0.5).all())
    assert float(rounded.abs().min()) >= 2.0 ** -(2 ** (bits - 1) - 1)


@pytest.mark.parametrize("control", STEPS)
def test_every_control_moves_a_printed_number(control: str) -> None:
    moved = remap.remap_numbers(**{**START, control: STEPS[control]})
    assert numbers_line(moved) != numbers_line(remap.remap_numbers(**START))


@pytest.mark.parametrize("name", remap.MAPS)
def test_the_weight_s_path_is_drawn_where_the_numbers_say(name: str) -> None:
    figure = remap.remap_figure(**{**START, "map": name})
    numbers = remap.remap_numbers(**{**START, "map": name})
    path = figure.axes[1].lines[1]
    assert path.get_xdata()[1] == pytest.approx(numbers["mapped"])
    assert path.get_ydata()[1] == pytest.approx(numbers["F(w)"])
    title = figure.axes[1].get_title(loc="left")
    assert title.endswith("same rank") == (name in ("remapped", "bins"))
    assert png(figure).startswith(b"\x89PNG")


def test_computation_leaves_the_picture_its_time() -> None:
    """Both sets of numbers in less than 20 ms of one thread."""
    slow = {"map": "bins"}
    calls = (
        partial(remap.remap_numbers, **{**START, **slow}),
        partial(remap.layer_numbers, layers(), **{**LAYER, **slow}),
    )
    for call in calls:
        call()
        seconds = []
        for _ in range(9):
            start = time.thread_time()
            call()
            seconds.append(time.thread_time() - start)
        assert min(seconds) < 0.02


def test_layer_numbers_see_what_equation_5_assumes() -> None:
    """Normal weights become Laplacian; uniform ones do not."""
    normal = remap.layer_numbers(layers(), **LAYER)
    assert normal["std before"] == pytest.approx(0.05, rel=0.03)
    assert normal["std after"] == pytest.approx(0.7 * math.sqrt(2), rel=0.05)
    assert normal["KL to Laplace"] < 0.02
    uniform = remap.layer_numbers(layers(), **{**LAYER, "layer": "uniform"})
    assert uniform["kurtosis after"] < 1
    assert uniform["KL to Laplace"] > 0.1


@pytest.mark.parametrize("change", [{"layer": "uniform"}, {"map": "shift"}, {"b": 0.8}])
def test_controls_of_the_layer_panel_move_numbers(change: dict[str, object]) -> None:
    here, there = (
        numbers_line(remap.layer_numbers(layers(), **{**LAYER, **c})) for c in ({}, change)
    )
    assert here != there
    assert png(remap.layer_figure(layers(), **{**LAYER, **change})).startswith(b"\x89PNG")


def test_static_figures_render() -> None:
    weights = {"conv": layers()["normal"], "adder": 2 * torch.randn(500)}
    problem = remap_figures.problem_figure(weights, "two layers")
    assert [t.get_text() for t in problem.axes[0].get_legend().get_texts()] == [
        "convolution, std 0.05", f"adder layer, std {weights['adder'].std():.2f}",
    ]  # fmt: skip
    forms = remap_figures.forms_figure()
    assert len(forms.axes) == 4
    for figure in (problem, forms):
        assert isinstance(figure, Figure)
        assert png(figure).startswith(b"\x89PNG")


def test_forms_contain_the_analytic_curve() -> None:
    axes = remap_figures.forms_figure().axes
    z, v = axes[0].lines[1].get_data()
    assert axes[0].lines[1].get_label() == "gain 1, offset 0"
    expected = stats.laplace.ppf(stats.norm.cdf(z), scale=math.sqrt(0.5))
    assert v == pytest.approx(expected, abs=1e-5)
    assert axes[1].lines[1].get_ydata() == pytest.approx(expected, abs=1e-5)
