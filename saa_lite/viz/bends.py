"""Where −|x − w| bends: between the inputs, or so far out that every input sees a straight line."""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure

from saa_lite.viz.style import COLOURS, CYCLE, panels, styled

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
