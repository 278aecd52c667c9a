"""Panel of all roundings of one filter: the numbers follow from the definitions."""

import itertools
import math
import time

import pytest
import torch
from matplotlib.figure import Figure

from saa_lite.viz.attention import (
    WEIGHTS,
    annealing_figure,
    rounding_figure,
    rounding_numbers,
    roundings,
)
from saa_lite.viz.panel import numbers_line, png

START = {"rho": 0.8, "bits": 3.0, "draw": 0.0}
STEPS = {"rho": 0.0, "bits": 2.0, "draw": 1.0}


@pytest.mark.parametrize("draw", range(5))
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_independent_inputs_want_the_nearest(bits: int, draw: int) -> None:
    found = roundings(0.0, bits, draw)
    assert found.nearest == found.best
    torch.testing.assert_close(found.output_error, found.weight_error)
    assert rounding_numbers(0.0, bits, draw)["ratio"] == 1


def test_output_error_is_that_of_sampled_inputs() -> None:
    """Inputs √ρ·common + √(1−ρ)·own have variance 1 and correlation ρ."""
    rho, found = 0.7, roundings(0.7, 3, 0)
    generator = torch.Generator().manual_seed(0)
    common, own = (
        torch.randn(200_000, n, generator=generator, dtype=torch.float64) for n in (1, WEIGHTS)
    )
    inputs = math.sqrt(rho) * common + math.sqrt(1 - rho) * own
    wrong = inputs @ (found.grid.values(found.codes) - found.weight).T
    torch.testing.assert_close(wrong.square().mean(0).sqrt(), found.output_error, rtol=0.02, atol=0)


def test_all_roundings_are_there() -> None:
    found = roundings(0.8, 3, 0)
    lower = ((found.weight / found.grid.step).floor() + found.grid.zero).tolist()
    expected = {
        tuple(min(max(code + up, 0), 7) for code, up in zip(lower, ups, strict=True))
        for ups in itertools.product((0, 1), repeat=WEIGHTS)
    }
    assert {tuple(row) for row in found.codes.tolist()} == expected
    assert found.output_error[found.best] == found.output_error.min()
    assert found.weight_error[found.nearest] == found.weight_error.min()


def test_correlated_inputs_want_another_rounding() -> None:
    ratios = [rounding_numbers(0.9, 3, draw)["ratio"] for draw in range(10)]
    assert all(ratio >= 1 for ratio in ratios)
    assert sum(ratio > 1.3 for ratio in ratios) >= 5


@pytest.mark.parametrize("control", STEPS)
def test_every_control_moves_a_printed_number(control: str) -> None:
    moved = rounding_numbers(**{**START, control: STEPS[control]})
    assert numbers_line(moved) != numbers_line(rounding_numbers(**START))


def test_computes_and_draws_in_time() -> None:
    rounding_numbers(**START)
    started = time.thread_time()
    rounding_numbers(rho=0.33, bits=5.0, draw=7.0)
    assert time.thread_time() - started < 0.1
    assert png(rounding_figure(**START)).startswith(b"\x89PNG")
    figure = rounding_figure(rho=0.5, bits=8.0, draw=2.0)  # too many codes for lines
    assert isinstance(figure, Figure)


def test_the_levels_of_the_grid_are_labelled() -> None:
    axis = rounding_figure(**START).axes[0]
    lines = [line.get_ydata()[0] for line in axis.lines]
    assert list(axis.get_yticks()) == lines
    assert len(lines) == 2 ** START["bits"]


def test_annealing_figure_shows_what_the_method_uses() -> None:
    sigmoid, charge = annealing_figure().axes
    low, high = sigmoid.lines[0].get_ydata()[[0, -1]]
    assert (low, high) == (0, 1)
    labels = [line.get_label() for line in charge.lines]
    assert labels == ["β = 20", "β = 8", "β = 2"]
    for line in charge.lines:
        assert line.get_ydata()[[0, -1]].tolist() == pytest.approx([0, 0])
        assert max(line.get_ydata()) == pytest.approx(1)
