"""One look for every figure: readable at notebook width, in colours safe for the colour-blind.

A method keeps its colour in every figure. Measured numbers are drawn solid, published ones dashed
and hollow, so that the two are never mistaken for each other.
"""

from collections.abc import Sequence
from typing import Any, Literal

import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes

from saa_lite.viz.pixels import Figure

WIDTH = 9.0  # inches: fills a notebook column

_PALETTE = sns.color_palette("colorblind").as_hex()
COLOURS = {
    "conv": _PALETTE[0],
    "adder": _PALETTE[1],
    "shift": _PALETTE[2],
    "shift-ps": _PALETTE[8],
    "binary": _PALETTE[4],
    "shiftadd": _PALETTE[5],
    "aug-shift": _PALETTE[3],
    "aug-adder": _PALETTE[6],
    "netaug": _PALETTE[9],
    "adder-calm": _PALETTE[7],
    "aug-adder-calm": "#000000",
    "aug-shift-unsorted": _PALETTE[3],
    "aug-adder-unsorted": _PALETTE[6],
    "aug-adder-calm-unsorted": "#000000",
    "aug-shift-raw": _PALETTE[3],
    "aug-adder-calm-raw": "#000000",
    "adder-calm-depthwise": _PALETTE[7],
    "adder-calm-stem": _PALETTE[7],
    "adder-calm-classifier": _PALETTE[7],
    "adder-wide": _PALETTE[1],
    "adder-silent": _PALETTE[1],
    "shift-add3": _PALETTE[2],
    "published": "#555555",
}
LABELS = {
    "conv": "CNN",
    "adder": "AdderNet",
    "shift": "DeepShift-Q",
    "shift-ps": "DeepShift-PS",
    "binary": "XNOR",
    "shiftadd": "ShiftAddNet",
    "aug-shift": "AugShift",
    "aug-adder": "AugAdd",
    "netaug": "NetAug",
    "adder-calm": "Add, calm start",
    "aug-adder-calm": "AugAdd, calm start",
    "aug-shift-unsorted": "AugShift, unsorted",
    "aug-adder-unsorted": "AugAdd, unsorted",
    "aug-adder-calm-unsorted": "AugAdd, calm, unsorted",
    "aug-shift-raw": "AugShift, not remapped",
    "aug-adder-calm-raw": "AugAdd, calm, not remapped",
}
MEASURED: dict[str, Any] = {"linestyle": "-", "marker": "o", "markersize": 4}
PUBLISHED: dict[str, Any] = {"linestyle": "--", "marker": "o", "markerfacecolor": "none"}
CYCLE = _PALETTE

_RC = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.9),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titley": 1.0,  # there anyway; looking for a free place costs a third of the drawing time
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so figures agree between machines
    "figure.dpi": 100,
}


# Decorator of every drawing function: titles and legends take their looks when they are made.
styled = rc_context(_RC)


def counted(number: int, noun: str) -> str:
    """``number`` with its noun: "1 seed", "2 seeds", "10,000 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def headline(figure: Figure, text: str) -> None:
    """What was trained on what, with the budget, over all panels."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)


def legend_below(
    figure: Figure,
    axes: Sequence[Axes],
    where: Literal["outside lower center", "outside lower right"] = "outside lower center",
    columns: int = 0,
) -> None:
    """One legend for ``axes``, each label once, under all panels: there it covers no line.

    Args:
        columns: 0, all labels in one row.
    """
    found = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(found.values()), list(found), loc=where, ncols=columns or len(found))


def panels(
    rows: int = 1, columns: int = 1, *, height: float = 3.2, **options: Any
) -> tuple[Figure, Sequence[Axes]]:
    """A figure, ``height`` inches per row, and its axes as one flat list; call it ``@styled``.

    The figure is not registered with pyplot: nothing has to be closed, nothing shows twice.
    """
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [axis for row in axes for axis in row]
