"""Pictures of deployment: thresholds in place of a norm, instructions per layer, bits and flash."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from saa_lite.deploy.staircase import Staircase, find_staircase
from saa_lite.viz.style import COLOURS, CYCLE, LABELS, panels, styled

REACH = 120  # sums of the picture lie between −REACH and REACH
TOP = 3.0  # value of the last code
DEVIATION = 41.37  # of the sums; with round numbers float rounding alone would decide half codes
GREY = "#999999"


def _codes(sums: Tensor, gamma: float, beta: float, bits: float) -> Tensor:
    """Norm (its γ and β), ReLU, quantiser."""
    most = 2 ** int(bits) - 1
    values = (gamma * sums / DEVIATION + beta).relu()
    return (values * (most / TOP) + 0.5).floor().clamp(0, most)


def _stairs(gamma: float, beta: float, bits: float) -> Staircase:
    ends = np.array([REACH])
    return find_staircase("panel", lambda sums: _codes(sums, gamma, beta, bits), -ends, ends)


def threshold_numbers(gamma: float, beta: float, bits: float) -> dict[str, float]:
    """What is stored of a channel, and whether it gives every code."""
    stairs = _stairs(gamma, beta, bits)
    every = np.arange(-REACH, REACH + 1)[:, None]
    wanted = _codes(torch.from_numpy(every).double(), gamma, beta, bits).long().numpy()
    found = stairs.first + stairs.counts(every)
    return {
        "thresholds": float(stairs.steps),
        "T₁": float(stairs.base[0]),
        "slope A / 2^f": float(stairs.slope[0]) / 2.0**stairs.fraction,
        "wrong codes": float((found != wanted).sum()),
    }


@styled
def threshold_figure(gamma: float, beta: float, bits: float) -> Figure:
    """Left: the codes over the sums. Right: the thresholds, on a line."""
    figure, (left, right) = panels(1, 2, height=3.4)
    stairs = _stairs(gamma, beta, bits)
    sums = np.arange(-REACH, REACH + 1)
    most = 2 ** int(bits) - 1
    exact = np.clip((gamma * sums / DEVIATION + beta) * most / TOP, 0, most)
    left.plot(sums, exact, color=GREY, lw=4, alpha=0.5, label="norm and ReLU, in codes")
    codes = stairs.first + stairs.counts(sums[:, None])[:, 0]
    left.step(sums, codes, where="mid", color=COLOURS["adder"], label="code")
    left.set(xlabel="sum s, an integer", ylabel="code", title="What the next layer reads")
    left.legend(loc="best")
    rising = stairs.thresholds[0]
    reached = rising <= REACH  # what no sum can reach lies one beyond
    places = np.arange(len(rising))[reached]
    at = -rising[reached] if stairs.down[0] else rising[reached]
    right.plot(places, at, "o", color=COLOURS["adder"], markersize=4, label="thresholds found")
    if len(places):
        sign = -1 if stairs.down[0] else 1
        line = (places * stairs.slope[0] + stairs.phase[0]) / 2.0**stairs.fraction
        right.plot(places, stairs.base[0] + sign * line, color="k", lw=1, label="the stored line")
    right.set(xlabel="j", ylabel="sum s", title="Thresholds, and the line they lie on")
    right.legend(loc="best")
    return figure


@styled
def instructions_figure(
    counts: Mapping[str, Mapping[str, Sequence[int]]], names: Sequence[str]
) -> Figure:
    """Bars per layer: processor → operator → instructions of each layer."""
    figure, axes = panels(1, len(counts), height=3.6)
    for axis, (target, operators) in zip(axes, counts.items(), strict=True):
        width = 0.8 / len(operators)
        for place, (operator, found) in enumerate(operators.items()):
            at = np.arange(len(found)) + (place - (len(operators) - 1) / 2) * width
            label = f"{LABELS[operator]}, {sum(found) / 1e6:.2f} million"
            axis.barh(at, np.array(found) / 1e3, width, color=COLOURS[operator], label=label)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set(xlabel="thousand instructions", title=target)
        axis.legend(loc="lower right", fontsize=9)
    return figure


class Measured(NamedTuple):
    """One number of bits: accuracy in %, bytes of flash, instructions of one image (0: unknown)."""

    accuracy: float
    flash: int
    instructions: int


@styled
def bits_figure(found: Mapping[int, Measured], bits: float) -> Figure:
    """Accuracy, flash and instructions over the bits; the chosen one is filled."""
    figure, axes = panels(1, 3, height=3.0)
    rows = (
        ("accuracy, %", [m.accuracy for m in found.values()]),
        ("flash, kB", [m.flash / 1000 for m in found.values()]),
        ("instructions, million", [m.instructions / 1e6 for m in found.values()]),
    )
    for axis, colour, (name, values) in zip(axes, CYCLE, rows, strict=False):
        axis.plot(list(found), values, "o-", color=colour, markerfacecolor="white")
        chosen = values[list(found).index(int(bits))]
        axis.plot(bits, chosen, "o", color=colour, markersize=9)
        axis.set(xlabel="bits", title=name, xticks=list(found))
        axis.margins(y=0.2)
    return figure
