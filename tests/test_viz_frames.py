"""Panels drawn beforehand: which positions, the pictures of each, and the page that holds them."""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from saa_lite.errors import UsageError
from saa_lite.viz import frames, panel
from saa_lite.viz.panel import Choice, Slider

X, Y = Slider(-3, 3, 0.1, 1.5, "input x"), Slider(1, 4, 1, 2)
SIX = (-3, -1.8, -0.6, 0.6, 1.5, 3)
KIND = Choice(("a", "b<"), "b<", "kind")


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ({"y": Y}, {"y": (1, 2, 3, 4)}),
        ({"x": X, "w": X}, {"x": SIX, "w": SIX}),
        ({"kind": KIND, "y": Y, "x": X}, {"kind": ("a", "b<"), "y": (1, 2, 3, 4)}),
        ({"x": X, "map": KIND, "w": Y}, {"map": ("a", "b<"), "w": (1, 2, 3, 4)}),
    ],
)  # fmt: skip
def test_positions_span_the_controls_and_hold_the_start(
    controls: dict[str, Slider | Choice], expected: dict[str, tuple]
) -> None:
    found = frames.grid(controls)
    assert found == expected
    assert list(found) == list(expected)


def test_a_slider_of_few_steps_leaves_the_other_more() -> None:
    found = frames.grid({"x": Slider(0, 100, 1, 41), "y": Y})
    assert len(found["y"]) == 4
    assert len(found["x"]) == 10  # 40 frames in all
    assert {0, 41, 100} <= set(found["x"])


def test_too_many_options_are_an_error() -> None:
    many = Choice(tuple(map(str, range(7))), "0")
    with pytest.raises(UsageError, match="a × b have more than 40 products"):
        frames.grid({"a": many, "b": many})


def square(x: float, y: float, kind: str) -> Figure:
    """Grey as bright as x and y say."""
    figure = Figure((0.4, 0.2), facecolor=str((4 * x + y) / 16))
    return figure if kind == "a" else Figure((0.4, 0.2), facecolor="red")


def values(x: float, y: float, kind: str) -> dict[str, float]:
    return {"10 x + y": 10 * x + y}


CONTROLS = {"x": Slider(0, 3, 1, 1), "y": Y, "kind": Choice(("a", "b<"), "a", "kind")}


def test_each_frame_is_what_the_panel_draws_and_prints_there(tmp_path: Path) -> None:
    found = frames.record(square, CONTROLS, values, tmp_path / "1")
    assert len(found) == 16
    assert found.start == 1 * 4 + 1
    for x in range(4):
        for y in range(4):
            place = x * 4 + y
            assert found.numbers[place] == panel.numbers_line(values(x, y + 1, "a"))
            with Image.open(tmp_path / "1" / f"{place:02d}.webp") as picture:
                assert picture.format == "WEBP"
                assert picture.size == (60, 30)
                grey = np.asarray(picture.convert("L")).mean()
            assert grey == pytest.approx(255 * (place + 1) / 16, abs=3)
    assert found.still == ("kind a",)
    assert frames.Frames.read(tmp_path / "1" / "frames.json") == found


def test_panels_are_recorded_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "panel", panel.panel)  # put back afterwards
    frames.record_panels(str(tmp_path))
    panel.panel(square, CONTROLS, numbers=values, height="9px")
    panel.panel(square, CONTROLS | {"x": Slider(0, 1, 1, 0)})
    assert len(list((tmp_path / "1").glob("*.webp"))) == 16
    second = frames.Frames.read(tmp_path / "2" / "frames.json")
    assert second.numbers == ("",) * 8


def test_the_page_names_what_moves_and_what_stays() -> None:
    moved: list[Any] = [frames.Moved("x & y", ("0.5", "1.0"), 1, False)]
    moved.append(frames.Moved("kind", ("a", "b<"), 0, True))
    made = frames.Frames(tuple(moved), ("n = 0", "n = 1", "n = 2", "</script>"), ("S 1.5",))
    page = frames.page_html(made, "../frames/01/1")
    assert 'src="../frames/01/1/02.webp"' in page
    assert '<div class="frames-controls" hidden>' in page  # nothing to move without a script
    assert "<pre>n\xa0=\xa02</pre>" in page
    assert "x &amp; y" in page
    assert '<option value="0" selected>a</option><option value="1">b&lt;</option>' in page
    texts = re.search('data-texts="([^"]+)"', page)
    assert texts
    assert json.loads(html.unescape(texts[1])) == ["0.5", "1.0"]
    assert "Here these stay: S 1.5." in page
    assert page.count("</script>") == 1
