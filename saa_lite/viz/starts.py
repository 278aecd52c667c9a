"""How an adder network starts, in pictures.

**Accuracy of adder networks against η, the size of the steps that their weights take.**

**Where −|x − w| bends: between the inputs, or so far out that every input sees a straight line.**

**How far the weights of a layer get in a training, on the line on which they started.**

**How alike an image and its noisy copy remain, block by block of untrained networks.**
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator

from saa_lite.viz.augmented import name_of
from saa_lite.viz.style import COLOURS, CYCLE, headline, legend_below, panels, styled

# Alone and inside an augmented network a start keeps its colour and marker.
LOOKS = {
    "adder": ("AdderNet's start, N(0, 1)", COLOURS["adder"], "o"),
    "adder-calm": ("calm start", COLOURS["adder-calm"], "s"),
    "adder-annealed": ("squared distances first", COLOURS["shiftadd"], "^"),
    "adder-normalised": ("weights as wide as inputs", COLOURS["binary"], "D"),
    "aug-adder": ("remapped", COLOURS["aug-adder"], "v"),
    "aug-adder-raw": ("N(0, 1), rate once a step", COLOURS["adder"], "o"),
    "aug-adder-raw-pass": ("N(0, 1), rate in each pass", COLOURS["adder"], "P"),
    "aug-adder-calm-raw": ("calm start", COLOURS["adder-calm"], "s"),
}
LEVELS = {
    "conv": ("convolution", "-"),
    "signs-frozen": ("fixed random signs", ":"),
    "adder-calm-frozen": ("calm start, frozen", "--"),
    "adder-frozen": ("N(0, 1), frozen", "-."),
}


@dataclass(frozen=True)
class Sweep:
    """One arm at several steps.

    Attributes:
        arm: its name.
        etas: root mean square of the gradient that moves an adder weight, ascending.
        values: per step, accuracies in %, one per seed.
        intervals: per step, 95 %, or None below two seeds.
    """

    arm: str
    etas: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    intervals: tuple[tuple[float, float] | None, ...]


@styled
def steps_figure(
    sweeps: Mapping[str, Sequence[Sweep]],
    title: str,
    tested: str,
    levels: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """One panel per group of arms, with the same scales; what all have in common is named below.

    Args:
        sweeps: by the panel's heading.
        tested: on which images, for the axis.
        levels: by heading and arm, mean accuracies in % of arms that have no step, drawn across.
    """
    figure, axes = panels(1, len(sweeps), height=4.4, sharey=True)
    for axis, (heading, group) in zip(axes, sweeps.items(), strict=True):
        for sweep in group:
            _draw_sweep(axis, sweep)
        for arm, level in (levels or {}).get(heading, {}).items():
            label, style = LEVELS[arm]
            axis.axhline(level, color="#333333", linestyle=style, linewidth=1.2, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({eta for sweep in group for eta in sweep.etas}))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("step size η of adder weights")
        axis.set_title(heading, fontsize=10)
    axes[0].set_ylabel(f"accuracy on {tested}, %")
    legend_below(figure, axes, columns=3)
    headline(figure, title)
    return figure


def _draw_sweep(axis: Axes, sweep: Sweep) -> None:
    label, colour, marker = LOOKS.get(sweep.arm, (sweep.arm, COLOURS["published"], "x"))
    means = [sum(values) / len(values) for values in sweep.values]
    dashed = "--" if sweep.arm.endswith("-pass") else "-"
    axis.plot(sweep.etas, means, dashed, color=colour, marker=marker, markersize=6, label=label)
    for eta, interval in zip(sweep.etas, sweep.intervals, strict=True):
        if interval is not None:
            axis.plot([eta, eta], interval, color=colour, linewidth=2, alpha=0.6)


SHOWN = 9  # weights, at evenly spaced ranks of their distribution
EDGE = 2.0  # 95 % of normalised inputs lie within
SAMPLES = 401


@styled
def bends_figure(spread: float) -> Figure:
    """Left single terms, each of another weight; right how straight the terms of all weights are.

    Args:
        spread: standard deviation of the weights, in those of the inputs.
    """
    x = np.linspace(-3, 3, 301)
    terms = -np.abs(x[:, None] - _weights(spread, SHOWN))
    figure, (left, right) = panels(1, 2, height=3.4)
    for term, weight in zip(terms.T, _weights(spread, SHOWN), strict=True):
        bends = abs(weight) < EDGE
        colour = COLOURS["adder"] if bends else COLOURS["conv"]
        left.plot(x, term - term.mean(), color=colour, linewidth=1.5)
    left.plot([], [], color=COLOURS["adder"], label="bends among the inputs")
    left.plot([], [], color=COLOURS["conv"], label="straight there: ±(x − w)")
    left.set_title("−|x − w| of nine weights, each moved to its middle", fontsize=10)
    left.legend(loc="lower center", fontsize=9)
    slopes = np.abs(straightness(spread))
    right.hist(slopes, bins=20, range=(0, 1), weights=np.full(len(slopes), 100 / len(slopes)),
               color=CYCLE[7])  # fmt: skip
    right.set_title("how straight the terms are", fontsize=10)
    right.set_xlabel("correlation of |x − w| with x, without its sign")
    right.set_ylabel("weights, %")
    left.axvspan(-EDGE, EDGE, color="#eeeeee", zorder=0)
    left.set_xlabel("input x, in standard deviations; grey: 95 % of them")
    left.set_ylabel("term of the sum")
    left.set_ylim(-4.5, 3.2)  # the same for every spread
    right.set_ylim(0, 100)
    return figure


def bends_numbers(spread: float) -> Mapping[str, float]:
    """Share of weights that lie among the inputs, and how straight a term is on average."""
    return {
        "weights among 95 % of the inputs, %": 100 * math.erf(EDGE / spread / math.sqrt(2)),
        "mean correlation": float(np.abs(straightness(spread)).mean()),
    }


def straightness(spread: float) -> np.ndarray:
    """Correlation of −|x − w| with a standard normal x, for weights evenly spaced in rank.

    By Stein's lemma Cov(x, |x − w|) is the mean slope P(x > w) − P(x < w); the variance of |x − w|
    is 1 + w² − m² with its mean m.
    """
    normal = NormalDist()
    found = []
    for w in _weights(spread, SAMPLES):
        slope = 1 - 2 * normal.cdf(w)
        mean = 2 * normal.pdf(w) - w * slope
        found.append(-slope / math.sqrt(1 + w * w - mean * mean))
    return np.clip(found, -1, 1)  # far out, rounding leaves a little more


def _weights(spread: float, count: int) -> np.ndarray:
    ranks = (np.arange(count) + 0.5) / count
    return np.array([spread * NormalDist().inv_cdf(rank) for rank in ranks])


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
        _draw_travel(axis, travel, inputs, reach)
    axes[0].plot([], [], color=INPUTS, alpha=0.35, linewidth=8, label="most inputs")
    axes[0].fill_between([], [], color="#999999", alpha=0.4, label="weights at the start")
    axes[0].plot([], [], color="black", linewidth=2.5, label="how far a typical weight got")
    axes[-1].set_xlabel("value of a weight or of an input")
    legend_below(figure, axes[:1])
    return figure


def _draw_travel(axis: Axes, travel: Travel, inputs: tuple[float, float], reach: float) -> None:
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


@styled
def likeness_figure(curves: Mapping[str, Sequence[float]]) -> Figure:
    """One line per network: correlation of the features behind each block, from the first on.

    Args:
        curves: method → correlation per block, −1 to 1.
    """
    figure, (axis,) = panels(1, 1, height=3.3)
    for method, values in curves.items():
        blocks = range(1, len(values) + 1)
        axis.plot(blocks, values, color=COLOURS[method], marker="o", markersize=4,
                  label=name_of(method))  # fmt: skip
    axis.axhline(0, color="#777777", linewidth=1)
    axis.set_ylim(-0.2, 1.05)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("block of MobileNetV2-w0.35, untrained")
    axis.set_ylabel("correlation with the noisy copy")
    legend_below(figure, [axis])
    return figure
