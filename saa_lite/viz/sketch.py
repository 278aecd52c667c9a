"""Drawings of an idea, without data: boxes, arrows, and what they have in common.

**The ideas of notebooks 01 to 04**: what batch norm mends, what two classifiers reward, what a
trained weight is made of, how two layers read one tensor. Those of the other notebooks are in the
rooms of their subjects.
"""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from saa_lite.viz.style import COLOURS, CYCLE, panels, styled

INK = "#333333"
TAPS = 576  # of a middle layer: 64 channels, 3 × 3
CHANNEL_STD = 13.0  # of one filter's outputs over windows, as notebook 01 measures it


def canvas(width: float, height: float, inches: float) -> tuple[Figure, Axes]:
    """A figure without axes whose corner is at 0, 0; call it in a ``@styled`` function."""
    figure, (axis,) = panels(1, 1, height=inches)
    axis.set_axis_off()
    axis.set_xlim(0, width)
    axis.set_ylim(0, height)
    return figure, axis


def box(
    axis: Axes, centre: tuple[float, float], text: str, colour: str = INK, size: float = 10
) -> None:
    """Text in a rounded frame."""
    frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour, "lw": 1.8}
    axis.text(*centre, text, ha="center", va="center", fontsize=size, bbox=frame)


def arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK
) -> None:
    """A straight arrow."""
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5})


@styled
def stages_figure() -> Figure:
    """One channel behind an adder layer, behind batch norm, and behind a ReLU: where it lies."""
    figure, axes = panels(1, 3, height=2.5)
    mean = -TAPS * math.sqrt(4 / math.pi)
    stages = (
        ("adder layer", mean, CHANNEL_STD, (-720, 60)),
        ("batch norm", 0.0, 1.0, (-4, 4)),
        ("ReLU", 0.0, 1.0, (-4, 4)),
    )
    for axis, (title, centre, std, span) in zip(axes, stages, strict=True):
        x = np.linspace(*span, 2001)
        density = np.exp(-(((x - centre) / std) ** 2) / 2)
        shown = np.where(x >= 0, density, 0) if title == "ReLU" else density
        axis.fill_between(x, shown, color=COLOURS["adder"], alpha=0.6)
        axis.axvline(0, color=INK, linewidth=1)
        axis.set(title=title, xlim=span, ylim=(0, 1.25), yticks=[], xlabel="output of one channel")
        axis.grid(visible=False)
    axes[0].annotate(
        f"mean {mean:.0f}\nspread {CHANNEL_STD:.0f}", (mean + 20, 0.7), (-480, 0.75), fontsize=9,
        arrowprops={"arrowstyle": "-|>", "color": INK},
    )  # fmt: skip
    axes[0].text(15, 1.1, "0", fontsize=9)
    axes[2].plot([0, 0], [0, 1.1], color=COLOURS["adder"], linewidth=5)
    axes[2].annotate(
        "half of the windows: 0", (0, 1.05), (0.6, 1.08), fontsize=9,
        arrowprops={"arrowstyle": "-|>", "color": INK},
    )  # fmt: skip
    return figure


@styled
def rewards_figure() -> Figure:
    """Three classes of two features: sectors by angle, diamonds around places."""
    figure, axes = panels(1, 2, height=3.6)
    angles = (math.radians(20), math.radians(140), math.radians(260))
    for axis, title in zip(axes, ("product: a direction", "distance: a place"), strict=True):
        for angle, colour in zip(angles, CYCLE, strict=False):
            w = 1.4 * np.array([math.cos(angle), math.sin(angle)])
            if axis is axes[0]:
                edges = [angle - math.pi / 3, angle, angle + math.pi / 3]
                rim = [9 * np.array([math.cos(a), math.sin(a)]) for a in edges]
                axis.add_patch(Polygon(np.array([np.zeros(2), *rim]), color=colour, alpha=0.2))
                arrow(axis, (0.0, 0.0), tuple(2.6 * w / 1.4), colour)
            else:
                for radius in (1.2, 0.8, 0.4):
                    corners = w + radius * np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
                    axis.add_patch(Polygon(corners, color=colour, alpha=0.2))
            axis.plot(*w, "*", color=colour, markersize=13, markeredgecolor="white")
        axis.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
        axis.set_aspect("equal")
        axis.grid(visible=False)
    axes[0].set_xlabel("farther out is better: rays")
    axes[1].set_xlabel("nearer to the star is better: clusters")
    return figure


@styled
def sum_figure() -> Figure:
    """A trained weight: what it started as, and what training added."""
    figure, axes = panels(1, 3, height=2.4)
    x = np.linspace(-4, 4, 801)
    start, change = (np.abs(x) < 1.2).astype(float), np.exp(-np.abs(x) / 0.7)
    trained = np.convolve(start, change, "same")
    parts = (("β · start", start, "#999999"), ("+  what training added, Δ", change, CYCLE[1]),
             ("=  the trained weight", trained, CYCLE[0]))  # fmt: skip
    for axis, (title, density, colour) in zip(axes, parts, strict=True):
        axis.fill_between(x, density / density.sum(), color=colour, alpha=0.6)
        axis.set(title=title, xticks=[], yticks=[], xlabel="weight")
        axis.grid(visible=False)
    return figure


@styled
def readers_figure() -> Figure:
    """One stored tensor and its two readers: a convolution as it is, an adder layer by a curve."""
    figure, axis = canvas(12, 4, 2.6)
    box(axis, (1.6, 2.0), "stored weights W\nsmall, bell-shaped")
    box(axis, (9.9, 3.1), "convolution  Σ x · w", COLOURS["conv"])
    box(axis, (5.4, 0.9), "remapping R\nrank → Laplace ruler", COLOURS["aug-adder"])
    box(axis, (9.9, 0.9), "adder layer  −Σ |x − R(w)|", COLOURS["adder"])
    for start, end in (
        ((3.0, 2.3), (8.3, 3.1)), ((3.0, 1.7), (3.9, 1.1)), ((6.9, 0.9), (7.9, 0.9)),
    ):  # fmt: skip
        arrow(axis, start, end)
    axis.text(5.6, 3.0, "as it is", ha="center", fontsize=9)
    axis.text(6.0, 1.95, "gradients come back the same ways and add up in W", ha="center",
              fontsize=9, style="italic")  # fmt: skip
    return figure
