"""Claims as a forest plot: one line each, what was measured beside what is printed."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from saa_lite.errors import UsageError
from saa_lite.viz.pixels import Figure
from saa_lite.viz.style import COLOURS, CYCLE, WIDTH, headline, styled

ROW, FRAME = 0.27, 0.62  # inches: a line, and the axis of a panel
FAR = 12.0  # beyond this many times the median, a linear axis shows nothing of most lines
LEGEND = 0.5
TITLE = 0.45
NUMBER = "#777777"
LOOKS = {
    "supported": (CYCLE[2], "o"),
    "supported, but smaller than published": (CYCLE[2], "D"),
    "smaller than published": (CYCLE[1], "D"),
    "opposite": (CYCLE[3], "v"),
    "equivalent to none": (CYCLE[0], "s"),
    "open": (CYCLE[4], "X"),
    "not testable here": (NUMBER, "P"),
    "exploration, no verdict": (NUMBER, "o"),
}
"""Colour and marker of a state; of a verdict, its words. They differ in both."""


@dataclass(frozen=True)
class Line:
    """One line of the plot.

    Attributes:
        text: what is claimed or compared.
        state: one of :data:`LOOKS`.
        mean, interval: None where nothing was measured, or of too few seeds.
        published: None where the source prints no such number.
        reference: what the number is held against.
        note: at the right, such as why it is not testable.
    """

    text: str
    state: str
    unit: str
    mean: float | None = None
    interval: tuple[float, float] | None = None
    published: float | None = None
    reference: float = 0.0
    note: str = ""


@styled
def forest_figure(lines: Sequence[Line], title: str) -> Figure:
    """A panel per unit, lines in their order; published values are hollow.

    Raises:
        UsageError: there is no line.
    """
    if not lines:
        raise UsageError("a forest needs at least one line; got none")
    units = list(dict.fromkeys(line.unit for line in lines))
    panels = [[line for line in lines if line.unit == unit] for unit in units]
    heights = [ROW * len(panel) + FRAME for panel in panels]
    size = (WIDTH, sum(heights) + LEGEND + TITLE)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, unit, panel in zip(axes, units, panels, strict=True):
        _draw_panel(axis, panel)
        far = ", logarithmic far out" if axis.get_xscale() == "symlog" else ""
        axis.set_xlabel(f"{unit}{far}", fontsize=9, labelpad=1)
    _legend(figure, lines)
    headline(figure, title)
    _settle(figure)
    return figure


def _settle(figure: Figure) -> None:
    """Keep the places that the layout found, rounded: its solver leaves other last digits each run,
    and files drawn from the same records are to have the same bytes.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        left, bottom, width, height = (round(number, 4) for number in axis.get_position().bounds)
        axis.set_position((left, bottom, width, height))


def _draw_panel(axis: Axes, lines: Sequence[Line]) -> None:
    for row, line in enumerate(lines):
        colour, marker = LOOKS[line.state]
        if line.interval is not None:
            axis.plot(line.interval, (row, row), color=colour, linewidth=2, solid_capstyle="butt")
        if line.mean is not None:
            axis.plot(line.mean, row, marker, color=colour, markersize=8, markeredgecolor="white",
                      markeredgewidth=0.6)  # fmt: skip
        if line.published is not None:
            axis.plot(line.published, row, "o", markerfacecolor="none", markersize=8,
                      markeredgecolor=COLOURS["published"])  # fmt: skip
        axis.annotate(line.note, (1.01, row), xycoords=("axes fraction", "data"), va="center",
                      fontsize=8, color=NUMBER, annotation_clip=False)  # fmt: skip
        axis.plot([line.reference] * 2, (row - 0.5, row + 0.5), color="#333333", linewidth=0.8,
                  zorder=1)  # fmt: skip
    axis.set_yticks(range(len(lines)), [line.text for line in lines], fontsize=8.5)
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8.5)
    axis.grid(visible=False, axis="y")
    _scale(axis, lines)


def _scale(axis: Axes, lines: Sequence[Line]) -> None:
    """Linear within the bulk of the lines, logarithmic beyond, where a few lie far out."""
    ends = [
        abs(end - line.reference)
        for line in lines
        for end in (*(line.interval or ()), line.mean, line.published)
        if end is not None
    ]
    middle = sorted(ends)[len(ends) // 2] if ends else 0.0
    if middle > 0 and max(ends) > FAR * middle:
        near = float(f"{2 * middle:.1g}")
        axis.set_xscale("symlog", linthresh=near, linscale=1.5)
        axis.margins(x=0.06)
        steps = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
        shown = [step for step in steps if step == 0 or abs(step) >= near / 2]
        low, high = axis.get_xlim()
        axis.set_xticks([s for s in shown if low <= s <= high], minor=False)
        axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlim(low, high)
    else:
        axis.margins(x=0.06)


def _legend(figure: Figure, lines: Sequence[Line]) -> None:
    """The states that occur, and the published value."""
    states = [state for state in LOOKS if any(line.state == state for line in lines)]
    handles = [
        Line2D([], [], color=LOOKS[state][0], marker=LOOKS[state][1], markersize=7,
               markeredgecolor="white", label=state)
        for state in states
    ]  # fmt: skip
    if any(line.published is not None for line in lines):
        handles.append(
            Line2D([], [], linestyle="none", marker="o", markersize=8, markerfacecolor="none",
                   markeredgecolor=COLOURS["published"], label="published")
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8.5)
