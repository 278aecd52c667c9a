"""Slider panels: what a drawing function is given; a browser drives whole ones elsewhere."""

import pytest

from saa_lite.viz.panel import Choice, Slider, settled


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
