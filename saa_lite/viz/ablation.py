"""Paired differences between arms of an experiment: one row each, with seeds and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.viz.style import CYCLE, WIDTH, headline, styled

GREY = "#777777"


@dataclass(frozen=True)
class Difference:
    """``values``: one per seed; ``interval``: 95 %, or None for fewer than two seeds."""

    label: str
    values: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None


@styled
def difference_figure(columns: Sequence[Mapping[str, Sequence[Difference]]], title: str) -> Figure:
    """One panel per group, in columns; right of 0 the first arm of the pair is better."""
    rows = [[len(group) + 2 for group in column.values()] for column in columns]  # and a title
    figure = Figure(figsize=(WIDTH, 0.5 + 0.38 * max(map(sum, rows))), layout="constrained")
    grid = figure.add_gridspec(1, len(columns))
    for i, column in enumerate(columns):
        inner = grid[i].subgridspec(len(column), 1, height_ratios=rows[i])
        for j, (name, group) in enumerate(column.items()):
            axis = figure.add_subplot(inner[j])
            draw_rows(axis, group)
            axis.set_title(name, fontsize=10)
    headline(figure, title)
    return figure


def draw_rows(axis: Axes, group: Sequence[Difference]) -> None:
    """Points are seeds, the bar is the interval, dark where it leaves out 0; right, the means."""
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
        axis.annotate(f"{found.mean:+.1f}", (1.02, row), xycoords=("axes fraction", "data"),
                      va="center", fontsize=8, color=colour, annotation_clip=False)  # fmt: skip
    axis.set_yticks(range(len(group)), [found.label for found in group], fontsize=8)
    axis.set_ylim(len(group) - 0.4, -0.7)
    axis.set_xlabel("points of accuracy")
    axis.margins(x=0.12)
