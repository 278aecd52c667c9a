"""Paired differences between arms of an experiment: one row each, with seeds and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from saa_lite.viz.style import CYCLE, headline, panels, styled

GREY = "#777777"
HALO = [withStroke(linewidth=3, foreground="white")]  # numbers stand on the line at 0


@dataclass(frozen=True)
class Difference:
    """``values``: one per seed; ``interval``: 95 %, or None for fewer than two seeds."""

    label: str
    values: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None


@styled
def difference_figure(groups: Mapping[str, Sequence[Difference]], title: str) -> Figure:
    """One panel per group, rows from the top; right of 0 the first arm of the pair is better."""
    rows = max(len(group) for group in groups.values())
    figure, axes = panels(1, len(groups), height=0.9 + 0.42 * rows)
    for axis, (name, group) in zip(axes, groups.items(), strict=True):
        draw_rows(axis, group)
        axis.set_title(name, fontsize=10)
    headline(figure, title)
    return figure


def draw_rows(axis: Axes, group: Sequence[Difference]) -> None:
    """Points are seeds, the bar is the interval: dark where it leaves out 0."""
    axis.axvline(0, color="#333333", linewidth=1)
    for row, found in enumerate(group):
        if found.mean is None:
            axis.annotate("not run", (0.02, row), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8, color=GREY)  # fmt: skip
            continue
        decided = found.interval is not None and not found.interval[0] <= 0 <= found.interval[1]
        colour = CYCLE[0] if decided else GREY
        axis.scatter(found.values, [row] * len(found.values), s=14, color=colour, alpha=0.45)
        if found.interval is not None:
            axis.plot(found.interval, [row, row], color=colour, linewidth=2)
        axis.plot(found.mean, row, "D", color=colour, markersize=5)
        axis.annotate(f"{found.mean:+.1f}", (found.mean, row), (0, 6), ha="center", fontsize=8,
                      textcoords="offset points", color=colour, path_effects=HALO)  # fmt: skip
    axis.set_yticks(range(len(group)), [found.label for found in group], fontsize=8)
    axis.set_ylim(len(group) - 0.4, -0.7)
    axis.set_xlabel("points of accuracy")
    axis.margins(x=0.12)
