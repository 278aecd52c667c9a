"""The drawing of three taps says what the layers compute, and what the price list charges."""

import csv

import pytest
import torch
from matplotlib.colors import to_rgb

from saa_lite.costs.energy import PATH
from saa_lite.ops import adder_conv2d, shift_quantize
from saa_lite.viz.taps import INPUT, WEIGHT, results, tap_energy, taps_figure


def test_the_numbers_are_those_of_the_operators() -> None:
    x, w = (torch.full((1, 1, 1, 1), float(value)) for value in (INPUT, WEIGHT))
    found = results()
    assert found["multiply"] == pytest.approx((x * w).item())
    assert found["adder"] == pytest.approx(adder_conv2d(x, w).item())
    assert found["shift"] == (x * shift_quantize(w)).item()
    assert found["shift"] != found["multiply"]  # a power of two stands for the weight


def test_every_operation_of_a_tap_is_paid() -> None:
    with PATH.open(encoding="utf-8", newline="") as file:
        prices = {(r["kind"], r["number"], r["bits"]): float(r["pJ"]) for r in csv.DictReader(file)}
    add = prices["add", "float", "32"]
    assert tap_energy("multiply") == pytest.approx(prices["multiply", "float", "32"] + add)
    assert tap_energy("adder") == pytest.approx(2 * add)
    shift = prices["shift", "integer", "32"] + prices["add", "integer", "32"]
    assert tap_energy("shift") == pytest.approx(shift)


@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out_from_the_page(dark: bool) -> None:
    figure = taps_figure(dark=dark)

    def light(colour: object) -> float:
        return sum(to_rgb(colour)) / 3

    ground = light(figure.get_facecolor()[:3])
    texts = [text for axis in figure.axes for text in axis.texts if text.get_text()]
    said = " ".join(text.get_text() for text in texts)
    assert all(f"{value:g}".replace("-", "−") in said for value in results().values())
    bits = {"0", "1"}  # white on a coloured square
    inks = [text.get_color() for text in texts if text.get_text() not in bits]
    assert min(abs(light(ink) - ground) for ink in inks) > 0.6
