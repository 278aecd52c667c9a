"""What a training step costs: its course drawn, its parts stacked, its memory as a curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saa_lite.viz.style import COLOURS, CYCLE, legend_below, panels, styled

COURSE = (
    ("R(W)", 0.7, "weights"), ("target\nforwards", 1.0, "target forwards"),
    ("target\nbackwards", 1.6, "target backwards"),
    ("wide network\nforwards", 2.3, "wide forwards"),
    ("wide network\nbackwards", 3.4, "wide backwards"), ("hand on\nto W", 0.8, "weights"),
    ("update", 0.7, "optimiser"),
)  # fmt: skip
PART_COLOURS = {
    "data": "#999999",
    "target forwards": CYCLE[2],
    "target backwards": "#7fcfb5",
    "wide forwards": CYCLE[0],
    "wide backwards": "#7fb8d8",
    "weights": CYCLE[1],
    "optimiser": CYCLE[4],
}


@styled
def course_figure() -> Figure:
    """One augmented step as a strip, and below it what it holds in memory. A sketch, no data."""
    figure, (strip, memory) = panels(2, 1, height=1.5, sharex=True)
    left, held = 0.0, [(0.0, 0.3)]
    for name, width, part in COURSE:
        box = Rectangle((left, 0), width, 1, color=PART_COLOURS[part])
        strip.add_patch(box)
        strip.text(left + width / 2, 0.5, name, ha="center", va="center", fontsize=8)
        left += width
        held.append((left, {"target forwards": 1.0, "wide forwards": 2.6}.get(part, 0.4)))
    strip.set_ylim(0, 1)
    strip.set_xlim(0, left)
    strip.set_title("one augmented step, from left to right", fontsize=10)
    memory.fill_between(*np.array(held).T, color="#bbbbbb")
    memory.set_ylim(0, 3)
    memory.set_ylabel("memory")
    memory.set_xlabel("time")
    memory.annotate("maps wait for the way back", (5.6, 2.6), (6.6, 2.4), fontsize=9,
                    arrowprops={"arrowstyle": "-|>", "color": "#333333"})  # fmt: skip
    for axis in (strip, memory):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
    return figure


@styled
def parts_figure(parts: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """One stacked bar per method.

    Args:
        parts: method's name → part → ms.
    """
    figure, (axis,) = panels(1, 1, height=1.1 + 0.42 * len(parts))
    left = np.zeros(len(parts))
    for part, colour in PART_COLOURS.items():
        widths = np.array([found.get(part, 0.0) for found in parts.values()])
        axis.barh(range(len(parts)), widths, 0.7, left=left, color=colour, label=part)
        left += widths
    axis.set_yticks(range(len(parts)), list(parts))
    axis.set_ylim(len(parts) - 0.5, -0.5)
    axis.set_xlabel("ms per step")
    axis.set_title(title, fontsize=10)
    legend_below(figure, [axis], columns=4)
    return figure


@styled
def memory_figure(curves: Mapping[str, tuple[str, Sequence[float]]]) -> Figure:
    """MB that are alive, operator by operator, each step stretched to the same width.

    Args:
        curves: label → the method whose colour it takes, and its curve.
    """
    figure, (axis,) = panels(1, 1, height=3.4)
    for label, (method, curve) in curves.items():
        places = np.linspace(0, 100, len(curve))
        axis.plot(places, curve, color=COLOURS[method], label=f"{label}: peak {max(curve):.0f} MB")
    axis.set_xlabel("% of the step's operators")
    axis.set_ylabel("tensors alive, MB")
    axis.set_ylim(0)
    legend_below(figure, [axis])
    return figure


@dataclass(frozen=True)
class Ratio:
    """One method over Base: printed, and measured here or None."""

    method: str
    published: float
    measured: float | None


@styled
def ratios_figure(groups: Mapping[str, Sequence[Ratio]]) -> Figure:
    """One panel per quantity: published hollow, ours solid, a line between the two."""
    figure, axes = panels(1, len(groups), height=3.5, sharey=True)
    for axis, (heading, ratios) in zip(axes, groups.items(), strict=True):
        for place, ratio in enumerate(ratios):
            _draw_ratio(axis, place, ratio)
        axis.set_yticks(range(len(ratios)), [ratio.method for ratio in ratios])
        axis.set_ylim(len(ratios) - 0.5, -0.5)
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        axis.set_xlim(0.85, 24)
        axis.set_xlabel("times Base")
        axis.set_title(heading, fontsize=10)
    axes[0].scatter([], [], color="#333333", label="here, on a processor")
    axes[0].scatter([], [], facecolor="none", edgecolor="#333333", label="published, on a GPU")
    legend_below(figure, axes[:1])
    return figure


def _draw_ratio(axis: Axes, place: int, ratio: Ratio) -> None:
    axis.scatter([ratio.published], [place], s=45, facecolor="none", edgecolor="#333333", zorder=3)
    if ratio.measured is None:
        axis.annotate("not run", (1, place), va="center", fontsize=8, color="#777777")
        return
    axis.plot([ratio.published, ratio.measured], [place] * 2, color="#bbbbbb", zorder=1)
    axis.scatter([ratio.measured], [place], s=45, color=CYCLE[0], zorder=3)


@dataclass(frozen=True)
class Line:
    """A straight line through measured points: y = start + slope·x."""

    start: float
    slope: float

    @classmethod
    def through(cls, x: Sequence[float], y: Sequence[float]) -> "Line":
        """Least squares of relative errors, so that small points count as much as large ones."""
        weight = 1 / np.asarray(y)
        slope, start = np.polyfit(x, y, 1, w=weight)
        return cls(float(start), float(slope))

    def at(self, x: float) -> float:
        """The prediction for ``x``."""
        return self.start + self.slope * x


@styled
def prediction_figure(groups: Mapping[str, tuple[Sequence[float], Sequence[float], Line, float]],
                      units: Mapping[str, str]) -> Figure:  # fmt: skip
    """One panel per quantity: measured points, the line through them, and the chosen place on it.

    Args:
        groups: axis label → x and y of the points, their line, and the x that is chosen.
        units: axis label → label of y.
    """
    figure, axes = panels(1, len(groups), height=3.3)
    for axis, (heading, (x, y, line, chosen)) in zip(axes, groups.items(), strict=True):
        reach = np.array([0, 1.05 * max(*x, chosen)])
        axis.plot(reach, line.start + line.slope * reach, color="#bbbbbb",
                  label="straight line")  # fmt: skip
        axis.scatter(x, y, color=CYCLE[0], label="measured here", zorder=3)
        axis.scatter([chosen], [line.at(chosen)], marker="D", s=70, color=CYCLE[1],
                     label="predicted", zorder=4)  # fmt: skip
        axis.set_xlabel(heading)
        axis.set_ylabel(units[heading])
        axis.set_ylim(0)
    legend_below(figure, axes[:1])
    return figure
