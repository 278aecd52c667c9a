"""Pictures of notebook 14, at the ends of every control."""

import math
from itertools import product

import pytest

from saa_lite.viz import deployment
from saa_lite.viz.pixels import png


@pytest.mark.parametrize(("gamma", "beta", "bits"), list(product((-2, 0, 2), (-2, 3), (1, 8))))
def test_thresholds_give_every_code(gamma: float, beta: float, bits: float) -> None:
    numbers = deployment.threshold_numbers(gamma, beta, bits)
    assert numbers["wrong codes"] == 0
    assert numbers["thresholds"] <= 2**bits - 1


def test_a_rise_is_seen_and_a_fall_too() -> None:
    first = (0.5 * 3 / 7 - 0.6) * deployment.DEVIATION / 1.2  # where the norm reaches half a code
    for gamma, threshold in ((1.2, math.ceil(first)), (-1.2, math.floor(-first))):
        numbers = deployment.threshold_numbers(gamma, 0.6, 3)
        assert (numbers["thresholds"], numbers["T₁"]) == (7, threshold)


@pytest.mark.parametrize("gamma", [-2, 0, 2])
def test_the_staircase_is_drawn(gamma: float) -> None:
    left, right = deployment.threshold_figure(gamma, 0.6, 4).axes
    assert left.get_xlabel() == "sum s, an integer"
    line = right.get_lines()[0]
    thresholds = deployment.threshold_numbers(gamma, 0.6, 4)["thresholds"]
    assert len(line.get_xdata()) <= thresholds


def test_bars_and_bits_show_what_was_measured() -> None:
    counts = {"cortex-m4": {"adder": [1000, 2000], "conv": [3000, 4000]}}
    (axis,) = deployment.instructions_figure(counts, ["a", "b"]).axes
    assert [bar.get_width() for bar in axis.patches] == [1, 2, 3, 4]
    found = {b: deployment.Measured(90 + b, 1000 * b, 10**6 * b) for b in (2, 4)}
    axes = deployment.bits_figure(found, 4).axes
    assert [axis.get_lines()[1].get_ydata()[0] for axis in axes] == [94, 4, 4]
    assert png(deployment.bits_figure(found, 2)) != png(deployment.bits_figure(found, 4))
