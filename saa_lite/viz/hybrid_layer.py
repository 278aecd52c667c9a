"""A hybrid layer: its two passes, which weights multiply under each reading, who pulls at one."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from saa_lite.viz.sketch import INK, arrow, box, canvas
from saa_lite.viz.style import COLOURS, CYCLE, legend_below, panels, styled

TARGET = 3  # channels of the target at either side of the layer that is drawn
LARGEST = 8
FREE, MULTIPLIES, OFF = COLOURS["adder"], COLOURS["conv"], "#eeeeee"
READINGS = ("block", "output", "input", "free")


@styled
def passes_figure() -> Figure:
    """A hybrid layer as it computes, in the target's pass and in the augmented one."""
    figure, axis = canvas(14, 6, 3.9)
    for left, wide in ((0.0, False), (7.2, True)):
        title = "augmented pass" if wide else "target's pass"
        axis.text(left + 0.3, 5.6, title, fontsize=11, fontweight="bold")
        colour, link = (INK, INK) if wide else ("#bbbbbb", "#dddddd")
        box(axis, (left + 0.9, 3.9), "x, first m", FREE, 9)
        box(axis, (left + 0.9, 1.7), "x, the rest", MULTIPLIES if wide else colour, 9)
        box(axis, (left + 2.9, 4.6), "adder", FREE, 9)
        box(axis, (left + 2.9, 3.0), "multiply", MULTIPLIES if wide else colour, 9)
        box(axis, (left + 2.9, 1.0), "multiply", MULTIPLIES if wide else colour, 9)
        box(axis, (left + 4.5, 4.6), "norm", FREE, 9)
        box(axis, (left + 4.5, 3.0), "norm", MULTIPLIES if wide else colour, 9)
        box(axis, (left + 6.1, 3.8), "y, first n", FREE, 9)
        box(axis, (left + 6.1, 1.0), "y, the rest", MULTIPLIES if wide else colour, 9)
        arrow(axis, (left + 1.6, 4.1), (left + 2.4, 4.5), INK)
        arrow(axis, (left + 3.4, 4.6), (left + 4.0, 4.6), INK)
        arrow(axis, (left + 5.0, 4.5), (left + 5.5, 4.1), INK)
        for start, end in (
            ((1.6, 2.0), (2.3, 2.8)), ((3.5, 3.0), (4.0, 3.0)), ((5.0, 3.1), (5.5, 3.6)),
            ((1.6, 1.5), (2.3, 1.1)), ((1.4, 3.5), (2.4, 1.4)), ((3.5, 1.0), (5.3, 1.0)),
        ):  # fmt: skip
            arrow(axis, (left + start[0], start[1]), (left + end[0], end[1]), link)
    axis.text(7.0, 0.15, "one set of weights; grey: not computed in this pass, and not exported",
              ha="center", fontsize=9, style="italic")  # fmt: skip
    return figure


def free_part(reading: str, outputs: int, inputs: int) -> tuple[int, int]:
    """Rows and columns of W that are multiplication-free."""
    rows = TARGET if reading in ("block", "output") else outputs
    columns = TARGET if reading in ("block", "input") else inputs
    return rows, columns


def reading_numbers(reading: str, outputs: float, inputs: float) -> Mapping[str, float]:
    """How many weights are read in which way."""
    rows, columns = free_part(reading, int(outputs), int(inputs))
    free, total = rows * columns, int(outputs) * int(inputs)
    return {
        "weights without multiplication": free,
        "weights that multiply": total - free,
        "weights exported": TARGET * TARGET,
    }


@styled
def reading_figure(reading: str, outputs: float, inputs: float) -> Figure:
    """The wide weight under each reading, a square per connection; the chosen one is not pale.

    The target is framed.
    """
    figure, axes = panels(1, len(READINGS), height=3.1, sharey=True)
    for axis, name in zip(axes, READINGS, strict=True):
        chosen = name == reading
        draw_weight(axis, free_part(name, int(outputs), int(inputs)), (outputs, inputs), chosen)
        axis.set_title(name, fontsize=11, fontweight="bold" if chosen else "normal")
    axes[0].set_ylabel("output channel")
    handles = [
        Patch(color=FREE, label="adder or shift: no multiplication"),
        Patch(color=MULTIPLIES, label="convolution"),
        Patch(color=OFF, label="not active in this step"),
        Patch(facecolor="none", edgecolor="black", linewidth=2, label="the target: exported"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def draw_weight(
    axis: Axes, free: tuple[int, int], active: tuple[float, float], chosen: bool
) -> None:
    """One wide weight: rows are outputs, columns inputs, of which the first ones are ``active``."""
    for i in range(LARGEST):
        for j in range(LARGEST):
            on = i < active[0] and j < active[1]
            colour = (FREE if i < free[0] and j < free[1] else MULTIPLIES) if on else OFF
            square = Rectangle((j, i), 0.92, 0.92, facecolor=colour, alpha=1 if chosen else 0.4)
            axis.add_patch(square)
    corner = (-0.04, -0.04)
    axis.add_patch(
        Rectangle(corner, TARGET, TARGET, fill=False, edgecolor="black", linewidth=2.5, zorder=3)
    )
    axis.set(xlim=(-0.2, LARGEST), ylim=(LARGEST, -0.2), aspect="equal", xlabel="input channel")
    axis.grid(visible=False)
    ticks = np.arange(LARGEST) + 0.5, [str(i + 1) for i in range(LARGEST)]
    axis.set_xticks(*ticks)
    axis.set_yticks(*ticks)


@styled
def pull_figure(pulls: Mapping[str, tuple[float, float]], alpha: float) -> Figure:
    """Two passes at each stored weight: bars of the gradients, a mark for what the step follows.

    Args:
        pulls: name of a weight → gradient from the target's pass and from the augmented one.
        alpha: factor of the latter.
    """
    figure, (axis,) = panels(1, 1, height=3.0)
    places = np.arange(len(pulls))
    shared = [place for place, pair in enumerate(pulls.values()) if all(pair)]
    for place in shared:
        label = "both passes reach it" if place == shared[0] else ""
        axis.axvspan(place - 0.5, place + 0.5, color="#eeeeee", zorder=0, label=label)
    target, augmented = (np.array([pair[k] for pair in pulls.values()]) for k in (0, 1))
    axis.bar(places - 0.2, target, 0.38, color=CYCLE[1], label="target's pass")
    axis.bar(places + 0.2, alpha * augmented, 0.38, color=CYCLE[0], label="α · augmented pass")
    axis.plot(places, target + alpha * augmented, "kD", markersize=5, label="sum")
    axis.axhline(0, color="#333333", linewidth=1)
    # The same at every α, so that bars can be compared; 3 is the slider's end.
    ends = np.array([0 * target, target, 3 * augmented, target + 3 * augmented])
    spare = 0.08 * (ends.max() - ends.min())
    axis.set_ylim(ends.min() - spare, ends.max() + spare)
    axis.set_xticks(places, list(pulls))
    axis.set_ylabel("gradient")
    axis.grid(visible=False, axis="x")
    legend_below(figure, [axis])
    return figure


def pull_numbers(pulls: Mapping[str, tuple[float, float]], alpha: float) -> Mapping[str, float]:
    """How far the two passes agree, over the weights that both reach."""
    both = np.array([pair for pair in pulls.values() if all(pair)])
    norms = np.linalg.norm(both, axis=0)
    total = both[:, 0] + alpha * both[:, 1]
    return {
        "cosine of both pulls": float(both[:, 0] @ both[:, 1] / norms.prod()),
        "cosine of sum and target's": float(both[:, 0] @ total / norms[0] / np.linalg.norm(total)),
    }
