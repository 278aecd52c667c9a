"""Weights against the Gaussian and the Laplace fitted to them, at the start and after training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import stats

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, counted, headline, legend_below, panels, styled

METHODS = ("conv", "shift", "adder")
ADVANTAGE, CURVES = "laplace_advantage", "start_correlation"  # whose logs are drawn
LIMITS = {"uniform": -0.1304, "Gaussian": -0.0484, "Laplace": 0.0724}  # of the advantage
STARTS = {"own": "its own", "laplace": "Laplace", "narrow": "narrow"}
FITS = {"gaussian": ("--", "Gaussian fit"), "laplace": (":", "Laplace fit")}
FAMILIES = {"Gaussian": stats.norm, "Laplace": stats.laplace}
START_COLOUR = "#999999"
Z_TICKS = range(-4, 5, 2)
NAMED_LAYERS = 6  # up to so many, each is labelled with its number of weights
ADVANTAGE_LABEL = "Laplace − Gaussian\nfit (nats per weight)"

Values = NDArray[np.float64]
Columns = Mapping[str, Values]
Rows = Sequence[Mapping[str, float | None]]


@styled
def weights_figure(records: Sequence[Record]) -> Figure:
    """Columns: convolution, shift, adder. Rows: density, misfit of both fits, start and trained.

    Args:
        records: of one budget, the methods of METHODS, every start.
    """
    figure, axes = panels(3, 3, height=2.75, height_ratios=(1.25, 1, 1.1))
    for column, method in enumerate(METHODS):
        mine = [record for record in records if record.method == method]
        curves = mean_curves(
            [record.log for record in mine if record.metric == CURVES and record.log]
        )
        densities(axes[column], curves, method)
        misfits(axes[3 + column], curves)
        starts(axes[6 + column], mine, method)
        axes[column].set_title(LABELS[method])
    labels = ("density", "share of weights below z,\nminus the fit's (points)", ADVANTAGE_LABEL)
    for axis, label in zip(axes[::3], labels, strict=True):
        axis.set_ylabel(label)
    for row in (axes[3:6], axes[6:9]):
        _share_limits(row)
    legend_below(figure, axes)
    headline(figure, f"{budget_line(records)}. Upper rows: the largest layer")
    return figure


@styled
def layers_figure(records: Sequence[Record]) -> Figure:
    """Layer by layer: hollow before training, filled after, one mark per seed; own starts."""
    figure, axes = panels(1, 3, height=3.3, sharey=True)
    for axis, method in zip(axes, METHODS, strict=True):
        mine = [r for r in records if (r.metric, r.method) == (ADVANTAGE, method) and r.log]
        layer_marks(axis, [record.log for record in mine if record.log], method)
        axis.set_title(LABELS[method])
    axes[0].set_ylabel(ADVANTAGE_LABEL)
    headline(figure, f"{budget_line(records)}. Hollow: at the start; filled: trained")
    return figure


def layer_marks(axis: Axes, tables: Sequence[Rows], method: str) -> None:
    """The advantage over the layers of one network, before and after, a table per seed."""
    place = np.arange(1, len(tables[0]) + 1)
    for table in tables:
        axis.plot(place, _column(table, f"{ADVANTAGE}_initial"), "o", mfc="w", color=START_COLOUR)
    for table in tables:
        axis.plot(place, _column(table, ADVANTAGE), "o", ms=5, color=COLOURS[method], alpha=0.8)
    references(axis)
    axis.set(xlim=(0.5, 1.2 * len(place) + 0.4), xlabel="layer, in order")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(place) <= NAMED_LAYERS:
        sizes = _column(tables[0], "weights")
        labels = [f"{i}\n{size:,.0f}" for i, size in zip(place, sizes, strict=True)]
        axis.set_xticks(place, labels, fontsize=8)
        axis.set_xlabel("layer, its number of weights")


@styled
def layer_figure(curves: Rows, method: str) -> Figure:
    """One layer: its densities with both fits on the left, the misfits on the right.

    Args:
        curves: rows over z with the columns that :func:`densities` and :func:`misfits` draw.
    """
    figure, (left, right) = panels(1, 2, height=3.3)
    columns = mean_curves([curves])
    densities(left, columns, method)
    left.set(ylabel="density", xlabel="z: weight, in σ from its mean")
    misfits(right, columns)
    right.set_ylabel("share of weights below z,\nminus the fit's (points)")
    legend_below(figure, (left,))
    return figure


@styled
def leftover_figure(
    curves: Rows,
    method: str,
    shares: Sequence[float],
    advantages: Mapping[str, Sequence[float]],
    share: float,
) -> Figure:
    """What is left with another share of the start: its densities, the advantage over all shares.

    Args:
        curves: rows over z with the columns that :func:`densities` draws.
        shares, advantages: the line of each method; ``share`` is where ``method`` gets its dot.
    """
    figure, (left, right) = panels(1, 2, height=3.3)
    densities(left, mean_curves([curves]), method)
    left.set(ylabel="density", xlabel="z: weight, in σ from its mean")
    for name, line in advantages.items():
        mine = name == method
        right.plot(shares, line, color=COLOURS[name], lw=3 if mine else 1.5, label=LABELS[name])
    height = float(np.interp(share, shares, advantages[method]))
    right.plot(share, height, "o", color=COLOURS[method], ms=10, mec="k")
    references(right)
    right.set(xlim=(shares[0], 1.25 * shares[-1]), xlabel="share of the start that is left")
    right.set_xticks(np.linspace(shares[0], shares[-1], 5))  # behind the last one stand names
    right.set_ylabel(ADVANTAGE_LABEL)
    right.legend(loc="lower left")  # no line comes there: what training added has no short tails
    legend_below(figure, (left,))
    return figure


@styled
def hand_figure(weights: Values, family: str, centre: float, width: float) -> Figure:
    """A fit by hand: the density over the histogram, and its likelihood among other widths.

    Args:
        family: one of FAMILIES.
        centre, width: μ and σ, or m and b.
    """
    figure, (left, right) = panels(1, 2, height=3.3)
    span = 5 * weights.std()
    x = np.linspace(-span, span, 401)
    bins = np.linspace(-span, span, 81).tolist()  # values beyond are left out
    left.hist(weights, bins, density=True, histtype="stepfilled", color="#cccccc", label="weights")
    left.plot(x, FAMILIES[family].pdf(x, centre, width), "k", lw=2, label=f"{family}, by hand")
    left.set(xlabel="weight", ylabel="density")
    widths = np.geomspace(0.3, 3, 60) * weights.std()
    chosen = _likelihood(weights, family, centre, width)
    highest = chosen
    for name, (line, _) in zip(FAMILIES, FITS.values(), strict=True):
        found = [_likelihood(weights, name, centre, each) for each in widths]
        highest = max(highest, *found)
        right.plot(widths, found, f"k{line}", lw=2 if name == family else 1, label=name)
    right.plot(width, chosen, "o", color="#d62728", ms=9)
    right.set_ylim(min(chosen, highest - 1) - 0.1, highest + 0.1)
    right.set(xlabel="width", ylabel="log-likelihood\nper weight (nats)")
    right.set_title("dot: your choice", fontsize=10)
    legend_below(figure, (left, right))
    return figure


def hand_numbers(weights: Values, family: str, centre: float, width: float) -> dict[str, float]:
    """Log-likelihood per weight of the choice, and of the best choice in the family."""
    best = FAMILIES[family].fit(weights)
    chosen, highest = (_likelihood(weights, family, *at) for at in ((centre, width), best))
    return {"log-likelihood": chosen, "best in the family": highest, "missing": highest - chosen}


def _likelihood(weights: Values, family: str, centre: float, width: float) -> float:
    return float(FAMILIES[family].logpdf(weights, centre, width).mean())


def mean_curves(logs: Sequence[Rows]) -> Columns:
    """Curves of one layer, averaged over seeds."""
    return {k: np.mean([_column(log, k) for log in logs], axis=0) for k in logs[0][0]}


def _column(log: Rows, name: str) -> Values:
    return np.array([row[name] for row in log], dtype=float)


def densities(axis: Axes, curves: Columns, method: str) -> None:
    """Start and trained on a log scale, with both maximum-likelihood fits to the trained."""
    z = curves["z"]
    axis.plot(z, _shown(curves["initial"]), color=START_COLOUR, lw=1.5, label="at the start")
    axis.plot(
        z, _shown(curves["trained"]), color=COLOURS[method], lw=3, label="trained (in colour)"
    )
    gaussian = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    for (line, label), density in zip(FITS.values(), (gaussian, curves["laplace"]), strict=True):
        axis.plot(z, density, f"k{line}", lw=1.5, label=label)
    axis.set(yscale="log", ylim=(2e-5, 2), xlim=(-5, 5), xticks=Z_TICKS)


def misfits(axis: Axes, curves: Columns) -> None:
    """Measured minus fitted distribution function, in points of probability."""
    for family, (line, label) in FITS.items():
        axis.plot(curves["z"], 100 * curves[f"{family}_gap"], f"k{line}", lw=1.8, label=label)
    axis.axhline(0, color="k", lw=0.8)
    axis.set(xlim=(-5, 5), xticks=Z_TICKS, xlabel="z: weight, in σ from its mean")


def starts(axis: Axes, records: Sequence[Record], method: str) -> None:
    """Hollow: before training, filled: after; one pair per seed, start by start."""
    found = [name for name in STARTS if any(r.settings["start"] == name for r in records)]
    for place, name in enumerate(found):
        mine = [record for record in records if record.settings["start"] == name]
        before, after = (
            [r.value for r in mine if r.metric == ADVANTAGE + end] for end in ("_initial", "")
        )
        x = place + np.linspace(-0.15, 0.15, len(after)) * (len(after) > 1)
        axis.vlines(x, before, after, color=COLOURS[method], lw=0.8, alpha=0.6)
        axis.plot(x, before, "o", mfc="white", color=START_COLOUR, ms=5)
        axis.plot(x, after, "o", color=COLOURS[method], ms=5)
    axis.set_xlim(-0.45, len(found) + 0.15)
    axis.set_xticks(range(len(found)), [STARTS[name] for name in found])
    axis.set_xlabel("start: hollow; trained: filled")
    axis.grid(visible=False, axis="x")
    references(axis)


def references(axis: Axes) -> None:
    """What samples of the three pure families score, named at the right edge."""
    for label, level in LIMITS.items():
        axis.axhline(level, color="#777777", lw=0.8, ls=":")
        axis.annotate(
            label, (0.995, level), xycoords=("axes fraction", "data"), fontsize=7, ha="right",
            va="bottom",
        )  # fmt: skip
    axis.axhline(0, color="k", lw=0.8)


def _shown(density: Values) -> Values:
    return np.where(density > 0, density, np.nan)


def _share_limits(axes: Sequence[Axes]) -> None:
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)


def budget_line(records: Sequence[Record]) -> str:
    """Network, data set, images, epochs and seeds in words."""
    first = records[0]
    return (
        f"{first.model} on {first.dataset}: {first.settings['train_images']:,} images, "
        f"{counted(first.epochs, 'epoch')}, {counted(len({r.seed for r in records}), 'seed')}"
    )
