"""Pictures of what a step costs show the numbers that they are given."""

import pytest

from saa_lite.items.shiftaddaug_supp.step_cost import PARTS
from saa_lite.viz.training_cost import (
    PART_COLOURS,
    Line,
    Ratio,
    course_figure,
    memory_figure,
    parts_figure,
    prediction_figure,
    ratios_figure,
)


def test_parts_are_stacked_and_none_is_left_out() -> None:
    assert set(PART_COLOURS) == set(PARTS)
    parts = {
        "Base": {"target forwards": 2.0, "optimiser": 1.0},
        "NetAug": dict.fromkeys(PARTS, 1.0),
    }
    (axis,) = parts_figure(parts, "64×64").axes
    ends = [bar.get_x() + bar.get_width() for bar in axis.patches]
    assert max(ends[::2]) == 3.0
    assert max(ends[1::2]) == len(PARTS)


def test_a_curve_has_its_peak_in_the_legend() -> None:
    figure = memory_figure({"Base": ("conv", [0.0, 23.0, 5.0])})
    assert figure.axes[0].lines[0].get_xdata().tolist() == [0.0, 50.0, 100.0]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["Base: peak 23 MB"]


def test_what_was_not_run_says_so() -> None:
    ratios = [Ratio("NetAug", 2.4, 6.1), Ratio("AugAdd", 6.7, None)]
    (axis,) = ratios_figure({"time": ratios}).axes
    assert [text.get_text() for text in axis.texts] == ["not run"]
    assert list(axis.lines[0].get_xdata()) == [2.4, 6.1]


def test_a_line_goes_through_points_that_lie_on_one() -> None:
    """And small points count as much as large ones: the last of them is 10 % off."""
    x = [1.0, 2.0, 4.0]
    line = Line.through(x, [3.0, 5.0, 9.0])
    assert (line.start, line.slope, line.at(10)) == pytest.approx((1.0, 2.0, 21.0))
    off = Line.through([1.0, 2.0, 4.0, 400.0], [3.0, 5.0, 9.0, 1.1 * 801])
    assert off.at(1.0) == pytest.approx(3.0, rel=0.1)
    groups = {"GMACs": (x, [3.0, 5.0, 9.0], line, 8.0)}
    (axis,) = prediction_figure(groups, {"GMACs": "seconds"}).axes
    assert axis.collections[1].get_offsets().tolist() == [[8.0, pytest.approx(17.0)]]


def test_the_sketch_has_every_pass() -> None:
    strip = course_figure().axes[0]
    assert len(strip.patches) == len(strip.texts) == 7
