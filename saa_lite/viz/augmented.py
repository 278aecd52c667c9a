"""Accuracies of targets trained alone and inside an augmented model, beside the published ones."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, headline, legend_below, panels, styled

# The papers' names; elsewhere the operators go by the names of the networks they come from.
NAMES = {
    "shift": "Shift", "conv": "Mult", "adder": "Add", "shift-add3": "Shift, first 3 Add",
    "adder-calm-depthwise": "… depthwise too", "adder-calm-stem": "… stem too",
    "adder-calm-classifier": "… classifier too", "adder-wide": "Add, wider weights alone",
    "adder-silent": "Add, silent branches alone", "adder-frozen": "Add, frozen",
    "adder-calm-frozen": "Add, calm start, frozen", "signs-frozen": "Add, signs alone, frozen",
    "adder-rectified": "Add, ReLU before", "adder-annealed": "Add, squares first",
    "adder-normalised": "Add, as wide as inputs", "remap-shift": "Shift, remapped",
    "remap-adder": "Add, remapped", "remap-adder-affine": "Add, affine map",
    "remap-adder-calm": "Add, calm, remapped", "aug-shift-width": "AugShift, width alone",
    "aug-shift-expand": "AugShift, expansion alone", "aug-shift-depth": "AugShift, depth alone",
    "aug-shift-mutation": "AugShift, blocks mutate", "aug-shift-all": "AugShift, all four",
    "aug-shift-free": "AugShift, nothing multiplies", "aug-shift-affine": "AugShift, affine map",
    "aug-adder-affine": "AugAdd, affine map", "aug-adder-raw": "AugAdd, not remapped",
    "aug-adder-pass": "AugAdd, rate per pass",
    "aug-adder-raw-pass": "AugAdd, not remapped, rate per pass",
    "aug-adder-raw-unsorted": "AugAdd, not remapped, unsorted",
}  # fmt: skip
TAUGHT = {"kl": "KL", "ce": "CE", "external": "external teacher", "poor": "poor teacher"}


def name_of(method: str) -> str:
    """A method as ShiftAddAug calls it."""
    for key, said in TAUGHT.items():
        base, found, how = method.partition(f"-{key}-")
        if found:
            return f"{name_of(base)}, {said} {how.replace('-', ', ')}"
    return NAMES.get(method, LABELS.get(method, method))


def colour_of(method: str) -> str:
    """A method's colour; one that has a teacher keeps that of the same without."""
    for key in TAUGHT:
        method = method.partition(f"-{key}-")[0]
    return COLOURS[method]


@styled
def gain_figure(
    records: Sequence[Record], published: Mapping[str, float], title: str, methods: Sequence[str]
) -> Figure:
    """Final accuracies, and in a panel of their own the published ones.

    Args:
        records: accuracies that may be compared, of one configuration.
        published: method → printed accuracy in %; may be empty.
        methods: order from the top.
    """
    figure, axes = panels(1, 2, height=0.8 + 0.34 * len(methods), width_ratios=[1.3, 1.0])
    measured, printed = axes
    values = {m: [r.value for r in records if r.method == m] for m in methods}
    draw_accuracies(measured, values, "measured: accuracy (%)", solid=True)
    shown = {method: [published[method]] if method in published else [] for method in methods}
    draw_accuracies(printed, shown, "published (%)", solid=False)
    printed.tick_params(labelleft=False)  # the rows are those of its neighbour
    headline(figure, title)
    return figure


@styled
def places_figure(
    accuracies: Mapping[str, Sequence[float]],
    setbacks: Mapping[str, Sequence[float]],
    lost: Mapping[str, int],
    title: str,
) -> Figure:
    """Where layers may add: per method final accuracies in % and setbacks in points.

    Args:
        lost: trainings that ended in NaN, by method.
    """
    figure, axes = panels(1, 2, height=3.9, sharey=True)
    draw_accuracies(axes[0], accuracies, "measured here: test accuracy (%)", solid=True)
    draw_accuracies(axes[1], setbacks, "largest fall on the way there (points)", solid=True)
    names = [
        name_of(method) + (f" ({count} more: NaN)" if (count := lost.get(method)) else "")
        for method in accuracies
    ]
    axes[0].set_yticks(range(len(names)), names)
    headline(figure, title)
    return figure


def draw_accuracies(
    axis: Axes, values: Mapping[str, Sequence[float]], title: str, *, solid: bool
) -> None:
    """One row per method: a point per seed and their mean, hollow where published."""
    for row, (method, found) in enumerate(values.items()):
        colour = colour_of(method)
        if not found:
            axis.annotate("not printed" if not solid else "not run", (0.02, row),
                          xycoords=("axes fraction", "data"), va="center", fontsize=8,
                          color="#777777")  # fmt: skip
            continue
        face = colour if solid else "none"
        axis.scatter(found, [row] * len(found), s=36, color=face, edgecolor=colour, alpha=0.7)
        mean = fmean(found)
        axis.annotate(f"{mean:.2f}", (mean, row), (0, 7), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
        if solid and len(found) > 1:
            axis.plot([mean, mean], [row - 0.25, row + 0.25], color=colour, linewidth=2)
    most = max(map(len, values.values()))
    if not most:
        axis.set_xticks([])
    few = [f" ({len(v)} of {most} seeds)" if 0 < len(v) < most else "" for v in values.values()]
    names = [name_of(method) + note for method, note in zip(values, few, strict=True)]
    axis.set_yticks(range(len(values)), names)
    axis.set_ylim(len(values) - 0.4, -0.7)
    axis.margins(x=0.15)
    axis.set_title(title, fontsize=10)


@styled
def lead_figure(records: Sequence[Record], title: str) -> Figure:
    """Train accuracy of the target's pass and of the augmented pass, one panel per method.

    Thin lines are seeds, thick ones their means.
    """
    methods = list(dict.fromkeys(record.method for record in records))
    figure, axes = panels(1, len(methods), height=3.3, sharey=True)
    for axis, method in zip(axes, methods, strict=True):
        logs = [record.log for record in records if record.method == method and record.log]
        draw_passes(axis, logs, COLOURS[method])
        axis.set_title(f"{name_of(method)}, {len(logs)} seed{'s' if len(logs) > 1 else ''}")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for name, style, _ in PASSES:
        axes[0].plot([], [], style, color="#555555", linewidth=2.5, label=f"{name}, mean")
    axes[0].set_ylabel("train accuracy (%)")
    legend_below(figure, axes[:1])
    headline(figure, title)
    return figure


PASSES = (("target", "-", "train_accuracy"), ("augmented model", "--", "augmented_accuracy"))


def draw_passes(axis: Axes, logs: Sequence[Sequence[Mapping[str, Any]]], colour: str) -> None:
    """Both passes of every run, one log per run, and their means."""
    for _, style, quantity in PASSES:
        curves = 100 * np.array([[float(row[quantity] or 0) for row in log] for log in logs])
        epochs = range(1, curves.shape[1] + 1)
        axis.plot(epochs, curves.T, style, color=colour, linewidth=0.8, alpha=0.5)
        axis.plot(epochs, curves.mean(0), style, color=colour, linewidth=2.5)
