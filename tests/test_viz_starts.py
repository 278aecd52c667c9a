"""Pictures of how an adder network starts: distances travelled, and terms that bend."""

import numpy as np
import pytest

from saa_lite.viz.starts import (
    Travel,
    bends_figure,
    bends_numbers,
    learning_figure,
    straightness,
    travel_figure,
)


def test_a_number_line_per_training_with_its_distance() -> None:
    travels = [Travel("near", 6.0, 0.9), Travel("far", 1.0, 4.0)]
    figure = travel_figure(travels, (0.0, 2.0))
    near, far = figure.axes
    assert [axis.get_ylabel() for axis in (near, far)] == ["near", "far"]
    arrows = [axis.texts[0].xy for axis in (near, far)]
    assert arrows == [(0.9, 0.45), (4.0, 0.45)]
    assert "0.15" in near.texts[1].get_text()
    assert "4.00" in far.texts[1].get_text()
    assert near.get_xlim() == far.get_xlim()


def test_terms_are_as_straight_as_a_correlation_says() -> None:
    """Against samples: weights evenly spaced in rank, inputs drawn."""
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 4_000, 1)), 6 * random.standard_normal((1, 500))
    x = x[0]
    drawn = -np.abs(x - w)
    centred = drawn - drawn.mean(0)
    slopes = (x * centred).mean(0) / (x.std() * drawn.std(0))
    assert np.abs(straightness(6.0)).mean() == pytest.approx(np.abs(slopes).mean(), abs=0.015)
    assert np.abs(straightness(1.0)).mean() < np.abs(straightness(3.0)).mean()


def test_numbers_say_how_many_weights_lie_among_the_inputs() -> None:
    assert bends_numbers(1.0)["weights among 95 % of the inputs, %"] == pytest.approx(
        95.45, abs=0.01
    )
    assert bends_numbers(1e3)["mean correlation"] == pytest.approx(1, abs=5e-3)


def test_a_term_is_straight_in_the_colour_of_its_weight() -> None:
    terms, shares = bends_figure(6.0).axes
    lines = [line for line in terms.lines if len(line.get_xdata()) > 1]
    kinds = {"straight": 0, "bent": 0}
    colours: dict[str, set[str]] = {"straight": set(), "bent": set()}
    for line in lines:
        inside = np.abs(line.get_xdata()) < 1.9
        slopes = np.unique(np.diff(line.get_ydata()[inside]).round(6))
        kind = "straight" if len(slopes) == 1 else "bent"
        kinds[kind] += 1
        colours[kind].add(line.get_color())
    assert kinds == {"straight": 6, "bent": 3}
    assert colours["straight"].isdisjoint(colours["bent"])
    assert sum(bar.get_height() for bar in shares.patches) == pytest.approx(100)


def test_the_chosen_training_stands_out() -> None:
    (axis,) = learning_figure(("chosen", [10.0, 50.0]), {"other": ("conv", [20.0, 30.0])}, 7).axes
    chosen, other = axis.lines
    assert (chosen.get_label(), list(chosen.get_ydata())) == ("chosen", [10.0, 50.0])
    assert list(other.get_xdata()) == [7, 14]
    assert chosen.get_linewidth() > other.get_linewidth()
