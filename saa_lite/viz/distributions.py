"""Weights against the Gaussian and the Laplace fitted to them, at the start and after training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from saa_lite.records import Record
from saa_lite.viz.style import (
    COLOURS,
    CYCLE,
    LABELS,
    counted,
    headline,
    legend_below,
    panels,
    styled,
)

METHODS = ("conv", "shift", "adder")
ADVANTAGE, CURVES = "laplace_advantage", "start_correlation"  # the second one's log is drawn
LIMITS = {"uniform": -0.1304, "Gaussian": -0.0484, "Laplace": 0.0724}  # of the advantage
STARTS = {"own": "as made", "laplace": "Laplace", "narrow": "narrow"}
FITS = {"gaussian": (CYCLE[7], "--", "Gaussian fit"), "laplace": (CYCLE[3], ":", "Laplace fit")}
START_COLOUR = "#999999"

Columns = Mapping[str, NDArray[np.float64]]


@styled
def weights_figure(records: Sequence[Record]) -> Figure:
    """Columns: convolution, shift, adder. Rows: density, misfit of both fits, start and trained.

    Args:
        records: of one budget, the methods of METHODS, every start.
    """
    figure, axes = panels(3, 3, height=2.75, height_ratios=(1.25, 1, 1))
    for column, method in enumerate(METHODS):
        mine = [record for record in records if record.method == method]
        curves = mean_curves(mine)
        densities(axes[column], curves, method)
        misfits(axes[3 + column], curves)
        starts(axes[6 + column], mine, method)
        axes[column].set_title(LABELS[method])
    for axis, label in zip(
        axes[::3],
        (
            "density",
            "share of weights below,\nminus the fit's (points)",
            "Laplace − Gaussian\nfit (nats per weight)",
        ),
        strict=True,
    ):
        axis.set_ylabel(label)
    for row in (axes[3:6], axes[6:9]):
        _share_limits(row)
    legend_below(figure, axes)
    headline(figure, _headline(records))
    return figure


def mean_curves(records: Sequence[Record]) -> Columns:
    """The logged curves of the largest layer, averaged over seeds."""
    logs = [record.log for record in records if record.metric == CURVES and record.log]
    return {
        k: np.array([[row[k] for row in log] for log in logs], float).mean(0) for k in logs[0][0]
    }


def densities(axis: Axes, curves: Columns, method: str) -> None:
    """Start and trained on a log scale, with both maximum-likelihood fits to the trained."""
    z = curves["z"]
    axis.plot(z, _shown(curves["initial"]), color=START_COLOUR, lw=1.5, label="at the start")
    axis.plot(z, _shown(curves["trained"]), color=COLOURS[method], lw=2.5)
    fitted = {
        "gaussian": np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
        "laplace": curves["laplace"],
    }
    for family, density in fitted.items():
        colour, line, label = FITS[family]
        axis.plot(z, density, line, color=colour, lw=1.5, label=label)
    axis.set(yscale="log", ylim=(2e-5, 2), xlim=(-5, 5))


def misfits(axis: Axes, curves: Columns) -> None:
    """Measured minus fitted distribution function, in points of probability."""
    for family, (colour, line, _) in FITS.items():
        axis.plot(curves["z"], 100 * curves[f"{family}_gap"], line, color=colour, lw=1.8)
    axis.axhline(0, color="k", lw=0.8)
    axis.set(xlim=(-5, 5), xlabel="weight, in σ from its mean")


def starts(axis: Axes, records: Sequence[Record], method: str) -> None:
    """Hollow: before training, filled: after; one pair per seed, start by start."""
    found = [name for name in STARTS if any(r.settings["start"] == name for r in records)]
    for place, name in enumerate(found):
        mine = [record for record in records if record.settings["start"] == name]
        before, after = (
            [r.value for r in mine if r.metric == ADVANTAGE + end] for end in ("_initial", "")
        )
        spread = np.linspace(-0.12, 0.12, len(after)) if len(after) > 1 else np.zeros(1)
        for x, low, high in zip(place + spread, before, after, strict=True):
            axis.plot([x, x], [low, high], color=COLOURS[method], lw=0.8, alpha=0.6)
        axis.plot(place + spread, before, "o", mfc="white", color=START_COLOUR, ms=5)
        axis.plot(place + spread, after, "o", color=COLOURS[method], ms=5)
    for label, level in LIMITS.items():
        axis.axhline(level, color="#777777", lw=0.8, ls=":")
        axis.annotate(label, (len(found) - 0.42, level), fontsize=7, va="bottom", ha="right")
    axis.axhline(0, color="k", lw=0.8)
    axis.set(xlim=(-0.45, len(found) - 0.4), xlabel="start of the training")
    axis.set_xticks(range(len(found)), [STARTS[name] for name in found])
    axis.grid(visible=False, axis="x")


def _shown(density: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(density > 0, density, np.nan)


def _share_limits(axes: Sequence[Axes]) -> None:
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)


def _headline(records: Sequence[Record]) -> str:
    first = records[0]
    seeds = counted(len({record.seed for record in records}), "seed")
    return (
        f"{first.model} on {first.dataset}: {first.settings['train_images']:,} images, "
        f"{counted(first.epochs, 'epoch')}, {seeds}. Upper rows: its largest layer"
    )
