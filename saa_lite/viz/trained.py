"""Trained networks side by side: how far their weights came, what they make of a photo."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from saa_lite.viz.distributions import ADVANTAGE_LABEL, START_COLOUR, references
from saa_lite.viz.style import COLOURS, LABELS, headline, legend_below, panels, styled

Layers = Sequence[Mapping[str, float]]


@styled
def travel_figure(networks: Mapping[str, Layers], title: str) -> Figure:
    """Layer by layer: how far the weights came, and which distribution they are nearer to.

    Args:
        networks: operator of COLOURS → one row per layer, with ``travel`` (root mean square of
            the way, in that of the start), ``start`` and ``trained`` (Laplace advantages).
    """
    figure, (left, right) = panels(1, 2, height=3.4)
    for method, rows in networks.items():
        place = np.arange(1, len(rows) + 1)
        found = {key: [row[key] for row in rows] for key in rows[0]}
        look = {"color": COLOURS[method], "marker": "o", "markersize": 5}
        left.plot(place, found["travel"], label=LABELS[method], linewidth=1, **look)
        right.plot(place, found["start"], "o", color=START_COLOUR, markerfacecolor="w")
        right.plot(place, found["trained"], linestyle="none", **look)
    most = max(map(len, networks.values()))
    layers = range(5, most + 1, 5)
    left.set(xlabel="layer, in order", xticks=layers)
    left.set(ylabel="way ÷ size at the start (RMS)", ylim=(0, None))
    right.set(xlabel="layer, in order", ylabel=ADVANTAGE_LABEL)
    right.set(xlim=(0.5, 1.25 * most), xticks=layers)  # room for the references
    references(right)
    right.set_title("hollow: at the start; filled: trained", fontsize=10)
    legend_below(figure, (left,))
    headline(figure, title)
    return figure


@styled
def channels_figure(photo: Tensor, channels: Mapping[str, Tensor], title: str) -> Figure:
    """A photo, and beside it channels of one layer, one row per operator.

    Args:
        photo: uint8 [3, H, W].
        channels: operator of LABELS → maps [N, H', W'], each shown in its own grey scale.
    """
    count = max(map(len, channels.values()))
    figure, axes = panels(len(channels), count + 1, height=1.05)
    for row, (method, maps) in enumerate(channels.items()):
        first, *others = axes[row * (count + 1) : (row + 1) * (count + 1)]
        _picture(first, photo.permute(1, 2, 0))
        first.set_ylabel(LABELS[method], rotation=0, ha="right", va="center")
        for axis, one in zip(others, maps, strict=True):
            _picture(axis, one)
    headline(figure, title)
    return figure


def _picture(axis: Axes, pixels: Tensor) -> None:
    """Pixels [H, W, 3] in their colours, or values [H, W] from black (low) to white (high)."""
    axis.imshow(pixels.numpy(), cmap="gray")
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
