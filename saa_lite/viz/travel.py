"""How far the weights of a layer get in a training, on the line on which they started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.viz.style import COLOURS, legend_below, panels, styled

INPUTS = COLOURS["conv"]


@dataclass(frozen=True)
class Travel:
    """One training.

    Attributes:
        label: of its row.
        width: standard deviation of the weights at the start.
        distance: root mean square of end minus start.
    """

    label: str
    width: float
    distance: float


@styled
def travel_figure(travels: Sequence[Travel], inputs: tuple[float, float]) -> Figure:
    """One number line per training: where weights start, where inputs lie, how far weights got.

    Args:
        inputs: between which values most inputs of these layers lie.
    """
    figure, axes = panels(len(travels), 1, height=0.85, sharex=True)
    reach = 2.2 * max(max(t.width, t.distance) for t in travels)
    for axis, travel in zip(axes, travels, strict=True):
        _draw(axis, travel, inputs, reach)
    axes[0].plot([], [], color=INPUTS, alpha=0.35, linewidth=8, label="most inputs")
    axes[0].fill_between([], [], color="#999999", alpha=0.4, label="weights at the start")
    axes[0].plot([], [], color="black", linewidth=2.5, label="how far a typical weight got")
    axes[-1].set_xlabel("value of a weight or of an input")
    legend_below(figure, axes[:1])
    return figure


def _draw(axis: Axes, travel: Travel, inputs: tuple[float, float], reach: float) -> None:
    line = np.linspace(-reach, reach, 400)
    axis.fill_between(line, np.exp(-((line / travel.width) ** 2) / 2), color="#999999", alpha=0.4)
    axis.axvspan(*inputs, color=INPUTS, alpha=0.25, linewidth=0)
    end = {"arrowstyle": "-|>", "color": "black", "linewidth": 2.5}
    axis.annotate("", (travel.distance, 0.45), (0, 0.45), arrowprops=end)
    axis.annotate(f" {travel.distance / travel.width:.2f} of the start's width",
                  (travel.distance, 0.45), va="center", fontsize=9)  # fmt: skip
    axis.set_ylim(0, 1.1)
    axis.set_xlim(-reach, reach)
    axis.set_yticks([])
    axis.set_ylabel(travel.label, rotation=0, ha="right", va="center", fontsize=10)
    axis.grid(visible=False)


@styled
def learning_figure(
    chosen: tuple[str, Sequence[float]],
    others: Mapping[str, tuple[str, Sequence[float]]],
    updates: int,
) -> Figure:
    """Accuracy on training batches per epoch, the chosen training thick and black.

    Args:
        chosen: its label, and accuracy in % of every epoch.
        others: label → the method whose colour it takes, and the same.
        updates: of an epoch.
    """
    figure, (axis,) = panels(1, 1, height=3.3)
    lines = {chosen[0]: ("black", 3.0, chosen[1])}
    lines |= {label: (COLOURS[method], 1.5, values) for label, (method, values) in others.items()}
    for label, (colour, width, values) in lines.items():
        places = [updates * (epoch + 1) for epoch in range(len(values))]
        axis.plot(places, values, marker="o", color=colour, linewidth=width, label=label)
    axis.set_ylim(0, 100)
    axis.set_xlabel("updates")
    axis.set_ylabel("accuracy on\ntraining batches, %")
    legend_below(figure, [axis])
    return figure
