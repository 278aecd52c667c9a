"""Slider panels: ``panel(draw, controls)`` is a thin wrapper around a pure drawing function.

``draw(**state) -> Figure`` and ``numbers(**state)`` know nothing of widgets, so they are tested
and used without a notebook. ipywidgets and IPython are imported only when a panel is shown.
"""

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from saa_lite.viz.pixels import png, sharp


@dataclass(frozen=True)
class Slider:
    """A number between ``low`` and ``high``; it acts when released, not while it moves."""

    low: float
    high: float
    step: float
    value: float
    label: str = ""

    def snapped(self, given: float) -> float:
        """The step nearest to ``given``: one step up and one down leave 2.9999999999999996 of 3."""
        steps = round((given - self.low) / self.step)
        return round(self.low + steps * self.step, 12)

    @property
    def steps(self) -> int:
        """From one end to the other."""
        return round((self.high - self.low) / self.step)

    @property
    def decimals(self) -> int:
        """As many as a step has."""
        return len(f"{self.step:f}".rstrip("0").partition(".")[2])

    def text(self, value: float | str) -> str:
        """A value as a reader sees it."""
        return f"{float(value):.{self.decimals}f}"


@dataclass(frozen=True)
class Choice:
    """One of ``options``, as a row of buttons."""

    options: Sequence[str]
    value: str
    label: str = ""

    def snapped(self, given: str) -> str:
        """Options need no steps."""
        return given

    def text(self, value: float | str) -> str:
        """An option is its own text."""
        return str(value)


Controls = Mapping[str, Slider | Choice]
Draw = Callable[..., Figure]
Numbers = Callable[..., Mapping[str, float]]
GAP, LINE = "   ", 96  # of printed numbers; JupyterLab breaks longer lines inside of words
DIGITS = DECIMALS = 4  # of a printed number, at most
WRAPPED = "white-space: pre-wrap; word-break: normal; overflow-wrap: normal"
FOLD = "<style>.jp-OutputArea-child:has(.saa-panel) ~ .jp-OutputArea-child {display: none}</style>"
"""Where a live panel is seen, JupyterLab hides what its cell shows to readers without a kernel."""
NOTE = "The same start position as a still picture, for readers without a kernel:"


def panel(
    draw: Draw, controls: Controls, *, numbers: Numbers | None = None, height: str = "345px"
) -> None:
    """Show the controls, the numbers and the figure, then the first figure as a static picture.

    One line of numbers and one picture stay on the page and change their contents: no flicker. The
    static picture is stored with the notebook, and hidden where JupyterLab shows the live one. A
    button puts all controls back and draws once.

    Args:
        draw: pure function of one argument per control.
        controls: argument name → :class:`Slider` or :class:`Choice`.
        numbers: function of the same arguments whose values are printed above the figure.
        height: of numbers and figure, fixed so that the page does not jump.
    """
    import ipywidgets as widgets  # noqa: PLC0415  (absent where nobody looks at notebooks)
    from IPython.display import Image, clear_output, display  # noqa: PLC0415

    start, moving = default_state(controls), False
    natural = {"align_self": "flex-start", "max_width": "100%"}
    text, picture = widgets.HTML(), widgets.Image(format="png", layout=natural)

    def show(**given: Any) -> None:
        if moving:
            return
        state = settled(controls, given)
        clear_output()  # holds nothing but the error of an earlier position
        line = "" if numbers is None else numbers_line(numbers(**state))
        figure = draw(**state)
        picture.width, picture.value = str(round(figure.bbox.width)), png(figure)
        text.value = f'{FOLD}<pre style="{WRAPPED}">{html.escape(unbroken(line))}</pre>'

    made = {name: _widget(name, control) for name, control in controls.items()}
    errors = widgets.interactive_output(show, made)

    def put_back(_: Any) -> None:
        nonlocal moving
        moving = True  # each control that changes would draw, which takes seconds in some panels
        for name, value in start.items():
            made[name].value = value
        moving = False
        with errors:
            show(**start)

    reset = widgets.Button(description="reset", tooltip="as at the start")
    reset.layout = {"width": "auto", "margin": "2px 2px 2px 24px"}  # apart from options
    reset.add_class("saa-reset").on_click(put_back)
    shown = widgets.VBox([text, picture, errors], layout={"height": height})
    rows = widgets.Box([*made.values(), reset], layout={"flex_flow": "row wrap"})
    display(widgets.VBox([rows, shown]).add_class("saa-panel"))
    print(NOTE)
    if numbers is not None:
        print(numbers_line(numbers(**start)))
    data, size = sharp(draw(**start))
    display(Image(data, **size))


def default_state(controls: Controls) -> dict[str, float | str]:
    """The arguments that ``draw`` gets before anything is moved."""
    return {name: control.value for name, control in controls.items()}


def settled(controls: Controls, given: Mapping[str, Any]) -> dict[str, Any]:
    """The widgets' values, those of sliders on their steps."""
    return {name: controls[name].snapped(value) for name, value in given.items()}


def numbers_line(numbers: Mapping[str, float]) -> str:
    """``name = value`` pairs as :func:`readable` writes them, on as many lines as they need."""
    lines = [""]
    for name, value in numbers.items():
        pair = f"{name} = {readable(value)}"
        if lines[-1] and len(lines[-1]) + len(GAP) + len(pair) > LINE:
            lines.append("")
        lines[-1] += GAP * bool(lines[-1]) + pair
    return "\n".join(lines)


def readable(value: float) -> str:
    """At most four digits and four decimals; whole numbers in full, so a count looks like one.

    0 is written for 0 alone: what four decimals cannot show has a power of ten.
    """
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value and abs(value) < 10**-DECIMALS:
        return f"{value:.1e}"
    value = round(value, DECIMALS)
    if value.is_integer():
        return f"{int(value):,}"
    before = math.floor(math.log10(abs(value))) + 1  # digits before the point
    decimals = min(DECIMALS, max(0, DIGITS - before))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def unbroken(line: str) -> str:
    """Printed numbers that break between pairs alone, where a page is narrow."""
    return re.sub("(?<! ) (?! )", "\N{NO-BREAK SPACE}", line)


def _widget(name: str, control: Slider | Choice) -> Any:
    import ipywidgets as widgets  # noqa: PLC0415

    style = {"description_width": "140px"}
    label = {"description": control.label or name, "style": style}
    if isinstance(control, Choice):
        style["button_width"] = "auto"  # as wide as their texts: seven fit beside each other
        row = widgets.ToggleButtons(options=list(control.options), value=control.value, **label)
        # ipywidgets leaves the classes off that put a label in line with those of sliders.
        return row.add_class("jupyter-widgets").add_class("widget-inline-hbox")
    return widgets.FloatSlider(
        value=control.value,
        min=control.low,
        max=control.high,
        step=control.step,
        readout_format=f".{control.decimals}f",
        continuous_update=False,
        layout={"width": "420px"},  # two of them beside each other, or one in a narrow window
        **label,
    )
