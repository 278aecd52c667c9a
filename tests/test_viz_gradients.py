"""Pictures of the gradients: pure, quick enough for sliders, with the right numbers."""

import sys
import time

import pytest
import torch
from matplotlib.figure import Figure

from saa_lite.viz import gradients
from saa_lite.viz.panel import Choice, Slider, default_state, numbers_line, panel
from saa_lite.viz.pixels import png

CONTROLS = {"x": Slider(-3, 3, 0.1, 1.5), "kind": Choice(("clip", "full"), "clip", "gradient")}
POINT = {"x": 1.5, "w": -0.5, "weight_gradient": "full", "input_gradient": "clip"}


def one_axis(x: float, kind: str) -> Figure:
    return gradients.point_figure(x, 0.0, "full", kind)


@pytest.mark.parametrize(
    ("weight_kind", "input_kind", "dw", "dx"),
    [("full", "clip", 2.0, -1.0), ("sign", "full", 1.0, -2.0), ("sign", "sign", 1.0, -1.0)],
)
def test_numbers_of_one_tap_follow_the_equations(
    weight_kind: str, input_kind: str, dw: float, dx: float
) -> None:
    numbers = gradients.point_numbers(1.5, -0.5, weight_kind, input_kind)
    assert numbers == pytest.approx({"Y": -2.0, "dY/dx": dx, "dY/dw": dw})


def test_point_figure_states_the_slopes_it_draws() -> None:
    titles = [axis.get_title(loc="left") for axis in gradients.point_figure(**POINT).axes]
    assert titles == ["dY/dw = +2.00  (full)", "dY/dx = -1.00  (clip)"]


def test_point_figure_is_computed_within_a_slider_s_patience() -> None:
    gradients.point_numbers(**POINT)  # compiled
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        gradients.point_numbers(**POINT)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (gradients.surface_figure, 7),  # six fields and the colour bar
        (gradients.steps_figure, 2),
        (lambda: gradients.maps_figure({"a": torch.eye(3), "b": torch.zeros(2, 2)}), 2),
        (lambda: gradients.outputs_figure({"conv": torch.randn(50), "adder": torch.ones(9)}), 2),
        (
            lambda: gradients.training_figure(
                {"adder": [{"epoch": 1, "train_loss": 2.0, "test_accuracy": 0.5}]}, "one epoch"
            ),
            2,
        ),
    ],
)
def test_figures_render(make: object, axes: int) -> None:
    figure = make()  # type: ignore[operator]
    assert len(figure.axes) == axes
    assert png(figure).startswith(b"\x89PNG")


def test_a_part_of_a_map_is_framed() -> None:
    maps = {"a": torch.eye(4), "b": torch.eye(4)}
    first, second = gradients.maps_figure(maps, framed={"b": (1, 2, 3, 1)}).axes
    assert not first.patches
    ((left, top), (right, bottom)) = second.patches[0].get_bbox().get_points()
    assert (left, top, right, bottom) == (1.5, 0.5, 2.5, 3.5)  # pixels reach half to each side


def test_numbers_of_a_map_have_no_negative_zero() -> None:
    (axis,) = gradients.maps_figure({"a": torch.tensor([[-0.2, 1.6]])}).axes
    assert [text.get_text() for text in axis.texts] == ["0", "2"]


def test_steps_of_the_full_gradient_end_at_the_input() -> None:
    full, sign = (axis.collections[-1] for axis in gradients.steps_figure((1.0, 0.5)).axes)
    at_origin = 6 * 13 + 6
    assert (full.U[at_origin], full.V[at_origin]) == pytest.approx((1.0, 0.5))
    assert (sign.U[at_origin], sign.V[at_origin]) == pytest.approx((1.0, 1.0))


def test_panel_s_text_comes_from_the_numbers_function() -> None:
    assert default_state(CONTROLS) == {"x": 1.5, "kind": "clip"}
    assert numbers_line({"Y": -2.0, "dY/dx": 1}) == "Y = -2   dY/dx = 1"
    lines = numbers_line({f"number {i}": i for i in range(9)}).split("\n")
    assert [line.count("=") for line in lines] == [6, 3]
    assert max(map(len, lines)) <= 96


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is displayed."""
    display = pytest.importorskip("IPython.display")
    items: list[object] = []
    monkeypatch.setattr(display, "display", items.append)
    return items


def test_panel_wires_every_control_and_shows_a_static_picture(shown: list[object]) -> None:
    widgets = pytest.importorskip("ipywidgets")
    panel(one_axis, CONTROLS, numbers=lambda x, kind: {"x": x})
    box = next(item for item in shown if isinstance(item, widgets.VBox))
    controls, area = box.children
    slider, buttons, _ = controls.children
    assert slider.continuous_update is False
    assert buttons.options == ("clip", "full")
    assert area.layout.height == "345px"
    assert type(shown[-1]).__name__ == "Image"
    text, picture, _ = area.children
    before = bytes(picture.value)
    assert before.startswith(b"\x89PNG")
    assert "x = 1.5" in text.value.replace("\xa0", " ")
    slider.value = -2.0
    assert "x = -2<" in text.value.replace("\xa0", " ")
    assert bytes(picture.value) != before


def test_an_error_is_left_to_the_output_below_the_picture(shown: list[object]) -> None:
    panel(lambda x: Figure(), {"x": Slider(0, 3, 1, 1)}, numbers=lambda x: {"a<b": 1 / x})
    controls, area = shown[0].children  # type: ignore[attr-defined]
    slider, _ = controls.children
    assert "a&lt;b\xa0=\xa01" in area.children[0].value
    with pytest.raises(ZeroDivisionError):  # without a kernel nobody catches it
        slider.value = 0


def test_importing_the_panel_does_not_import_widgets() -> None:
    import subprocess  # noqa: PLC0415

    code = "import sys, saa_lite.viz.panel; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
