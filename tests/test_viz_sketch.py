"""Drawings without data still say true numbers."""

import math

import pytest
import torch

from saa_lite.costs import price_list
from saa_lite.ops import adder_linear
from saa_lite.viz import attention, energy, hybrid_layer, sketch


def words(figure: object) -> list[str]:
    return [t.get_text() for axis in figure.axes for t in axis.texts]  # type: ignore[attr-defined]


def test_the_offset_is_that_of_an_adder_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, sketch.TAPS, generator=generator).abs()
    y = adder_linear(x, torch.randn(100, sketch.TAPS, generator=generator))
    assert -sketch.TAPS * math.sqrt(4 / math.pi) == pytest.approx(y.mean().item(), rel=0.01)
    assert pytest.approx(y.std(0).mean().item(), rel=0.05) == sketch.CHANNEL_STD
    assert any("mean -650" in text for text in words(sketch.stages_figure()))


def test_the_way_of_a_number_has_the_prices_of_the_list() -> None:
    found = "\n".join(words(energy.way_figure()))
    for name, kind in (("DRAM", "DRAM"), ("global buffer", "buffer"), ("registers", "registers")):
        (row,) = [p for p in price_list() if (p.kind, p.number) == (kind, "any")]
        assert f"{name}\n{row.pj:g}" in found
    assert all(f"{name} {pj}" in found for name, pj in (("product", 3.7), ("shift", 0.13)))


def test_the_winning_key_is_that_of_notebook_12() -> None:
    titles = [axis.get_title("left") for axis in attention.keys_figure().axes]
    assert titles == ["products: key 2 wins", "distances: key 1 wins"]


@pytest.mark.parametrize(
    ("draw", "panels"),
    [(sketch.rewards_figure, 2), (sketch.sum_figure, 3), (sketch.readers_figure, 1),
     (hybrid_layer.passes_figure, 1)],
)  # fmt: skip
def test_the_others_are_drawn(draw: object, panels: int) -> None:
    figure = draw()  # type: ignore[operator]
    assert len(figure.axes) == panels
    assert all(axis.has_data() or axis.texts for axis in figure.axes)
