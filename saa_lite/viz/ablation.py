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
def difference_figure(groups: Mapping[str, Sequence[Difference]], title: str) -> Figure:
    """One panel per question, below each other on one scale; right of 0 the first arm is better."""
    rows = [len(group) + 1.6 for group in groups.values()]  # with the question above
    figure = Figure(figsize=(WIDTH, 0.9 + 0.3 * sum(rows)), layout="constrained")
    axes = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": rows}
    )[:, 0]
    for axis, (question, group) in zip(axes, groups.items(), strict=True):
        draw_rows(axis, group)
        axis.set_title(question, fontsize=10)
    axes[-1].set_xlabel("difference in points of test accuracy: right of 0, the first is better")
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
    axis.set_yticks(range(len(group)), [found.label for found in group], fontsize=9)
    axis.set_ylim(len(group) - 0.4, -0.6)
    axis.margins(x=0.05)
