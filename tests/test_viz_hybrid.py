"""Panels on the hybrid layer: they count what the layer itself reads, and draw all of it."""

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from torch import nn

from saa_lite.augment.config import Axis
from saa_lite.augment.unit import WideConv
from saa_lite.nn import make_conv
from saa_lite.viz import hybrid_layer as pictures


@pytest.mark.parametrize("reading", pictures.READINGS)
def test_counts_are_those_of_the_layer(reading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights that the layer remaps or hands to its adder, at 6 outputs and 7 inputs."""
    target = pictures.TARGET
    inputs, outputs = (Axis(name, target, (1.0, pictures.LARGEST / target)) for name in "io")
    layer = make_conv("adder", target, target, 1, bias=False)
    unit = WideConv(layer, nn.BatchNorm2d(target), inputs, outputs, reading=reading)
    outputs.active = 6
    seen = []
    original = layer._conv_forward
    monkeypatch.setattr(
        layer, "_conv_forward", lambda x, w, b: (seen.append(w.numel()), original(x, w, b))[1]
    )
    unit(torch.randn(4, 7, 2, 2))
    numbers = pictures.reading_numbers(reading, 6.0, 7.0)
    assert seen == [numbers["weights without multiplication"]]
    assert sum(numbers.values()) == 6 * 7 + target**2
    figure = pictures.reading_figure(reading, 6.0, 7.0)
    axis = figure.axes[pictures.READINGS.index(reading)]
    assert axis.get_title(loc="left") == reading
    squares = [p for p in axis.patches if isinstance(p, Rectangle) and p.get_fill()]
    assert {square.get_alpha() for square in squares} == {1}  # those of the other readings are pale
    colours = [to_hex(square.get_facecolor()) for square in squares]
    assert colours.count(to_hex(pictures.FREE)) == numbers["weights without multiplication"]
    assert colours.count(to_hex(pictures.MULTIPLIES)) == numbers["weights that multiply"]


PULLS = {"a": (1.0, 1.0), "b": (0.0, 5.0), "c": (1.0, -1.0)}


def test_pulls_agree_as_vectors_do() -> None:
    numbers = pictures.pull_numbers(PULLS, 1.0)
    assert numbers["cosine of both pulls"] == pytest.approx(0.0)
    assert numbers["cosine of sum and target's"] == pytest.approx(0.5**0.5)
    assert pictures.pull_numbers(PULLS, 0.0)["cosine of sum and target's"] == pytest.approx(1.0)


def test_the_sum_is_marked() -> None:
    figure = pictures.pull_figure(PULLS, 2.0)
    (marks,) = [line for line in figure.axes[0].lines if line.get_label() == "sum"]
    assert list(marks.get_ydata()) == [3.0, 10.0, -1.0]
    spans = [p for p in figure.axes[0].patches if p.get_width() == 1.0]
    assert [span.get_x() + 0.5 for span in spans] == [0, 2]  # a and c: both passes reach them
