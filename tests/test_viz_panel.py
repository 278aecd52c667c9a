"""Slider panels: what a drawing function is given; a browser drives whole ones elsewhere.

And how notebooks show pictures, those of panels and others.
"""

import io
import math
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.core.pylabtools import select_figure_formats
from matplotlib.figure import Figure
from PIL import Image

from saa_lite.viz.panel import Choice, Slider, numbers_line, panel, readable, settled, unbroken
from saa_lite.viz.pixels import MISSED, PALETTES, png, sharp
from saa_lite.viz.style import panels, styled


@pytest.mark.parametrize(
    ("slider", "given", "expected"),
    [
        (Slider(0, 9, 1, 3), 2.9999999999999996, 3.0),
        (Slider(1, 4, 1, 1), 4.000000000000001, 4.0),
        (Slider(0.96, 1.0, 0.01, 0.99), 0.9800000000000001, 0.98),
        (Slider(0, 1, 0.1, 0.5), 0.30000000000000004, 0.3),
    ],
)
def test_values_lie_on_the_steps(slider: Slider, given: float, expected: float) -> None:
    """A drawing that counts in whole numbers would take 2.9999999999999996 for 2."""
    controls = {"x": slider, "kind": Choice(("a", "b"), "a")}
    assert settled(controls, {"x": given, "kind": "b"}) == {"x": expected, "kind": "b"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16.0, "16"),
        (1_784_398.0, "1,784,398"),
        (99.2, "99.2"),
        (39.4977, "39.5"),
        (-0.0462, "-0.0462"),
        (1.0028, "1.003"),
        (6564.7325, "6,565"),
        (999.96, "1,000"),
        (0.0, "0"),
        (-0.0, "0"),
        (2.5e-7, "2.5e-07"),
        (-2.5e-7, "-2.5e-07"),
        (0.99e-4, "9.9e-05"),
        (1e-4, "0.0001"),
        (1, "1"),
        (math.nan, "nan"),
    ],
)
def test_numbers_are_for_people(value: float, text: str) -> None:
    assert readable(value) == text


def test_numbers_break_between_pairs_alone() -> None:
    line = numbers_line({"KL to Laplace": 0.5, "x": -2.0, **dict.fromkeys("abcdefg", 1.0)})
    shown = unbroken(line)
    assert shown.replace("\N{NO-BREAK SPACE}", " ") == line
    pairs = [part.strip() for part in shown.replace("\n", "   ").split("   ")]
    assert pairs[:2] == [p.replace(" ", "\xa0") for p in ("KL to Laplace = 0.5", "x = -2")]
    assert not any(" " in pair for pair in pairs)


def test_reset_puts_every_control_back_and_draws_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live only: pages drawn beforehand have controls of their own, see ``frames``."""
    shown: list[widgets.Widget] = []
    monkeypatch.setattr("IPython.display.display", lambda one, **how: shown.append(one))
    states: list[tuple[float, str]] = []

    def draw(x: float, kind: str) -> Figure:
        states.append((x, kind))
        return Figure((1, 1))

    controls = {"x": Slider(0, 3, 0.5, 1.5), "kind": Choice(("a", "b"), "a")}
    panel(draw, controls, numbers=lambda x, kind: {"y": x + (kind == "b")})
    rows, below = shown[0].children
    slider, choice, reset = rows.children
    text = below.children[0]
    slider.value, choice.value = 3.0, "b"
    assert states[-1] == (3.0, "b")
    assert "y\xa0=\xa04<" in text.value
    drawn_before = len(states)
    reset.click()
    assert (slider.value, choice.value) == (1.5, "a")
    assert states[drawn_before:] == [(1.5, "a")]
    assert "y\xa0=\xa01.5<" in text.value
    slider.value = 0.0  # and goes on
    assert states[-1] == (0.0, "a")


@styled
def drawn() -> Figure:
    figure, (left, right) = panels(1, 2)
    for axis in (left, right):
        axis.plot([0, 1, 0], label="a line")
        axis.legend()
    return figure


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_notebook_stores_twice_the_dots_in_fewer_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after ``%matplotlib inline``, which registers a formatter of its own."""
    figure, formatter, shown = drawn(), DisplayFormatter(), []
    select_figure_formats(SimpleNamespace(display_formatter=formatter), {"png"})
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: shown.append((what, how)))
    assert formatter.format(figure) == ({}, {})
    [((data,), details)] = shown
    size, stored = details["metadata"]["image/png"], picture(data["image/png"])
    assert stored.width == pytest.approx(2 * size["width"], abs=1)
    assert stored.height == pytest.approx(2 * size["height"], abs=1)
    assert size["width"] == pytest.approx(
        100 * figure.get_figwidth(), rel=0.03
    )  # cut to what is drawn
    assert data["text/plain"] == "<Figure size 900x320 with 2 Axes>"
    plain = io.BytesIO()
    figure.savefig(plain, dpi=100)
    assert len(data["image/png"]) < len(plain.getvalue())


def test_a_palette_keeps_the_colours() -> None:
    figure = drawn()
    few, _ = sharp(figure)
    kept, all_colours = (
        np.asarray(picture(one).convert("RGB"), dtype=int) for one in (few, png(figure))
    )
    assert kept.shape == all_colours.shape == (640, 1800, 3)
    assert np.abs(kept - all_colours).max() < 40
    assert np.sqrt(np.square(kept - all_colours).mean()) <= MISSED
    assert len(picture(few).getcolors()) <= PALETTES[0]


def test_a_photograph_gets_more_colours_and_may_have_fewer_dots() -> None:
    figure, (axis,) = panels(1, 1)
    axis.imshow(np.random.default_rng(0).random((99, 99, 3)), aspect="auto")
    figure.dots = 1
    data, size = sharp(figure)
    stored = picture(data)
    assert len(stored.getcolors()) > PALETTES[1]
    assert stored.size == (size["width"], size["height"]) == (900, 320)
