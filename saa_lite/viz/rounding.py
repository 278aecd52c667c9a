"""Panel: one filter of six weights, all 64 ways to round it, and which is best for the output.

Weights lie between two neighbours of a grid. Nearest rounding makes the error of the *weights*
least. The error of the *output* is eᵀMe, with e the errors of the weights and M the second moments
of the inputs (AdaRound, ICML 2020, eq. 9): where inputs go together, errors should cancel.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from saa_lite.quantize.quantizers import rectified_sigmoid, regulariser
from saa_lite.quantize.uniform import Grid, min_max_grid
from saa_lite.viz.style import CYCLE, panels, styled

WEIGHTS = 6
BETAS = (20.0, 8.0, 2.0)


@dataclass(frozen=True)
class Roundings:
    """All roundings of one filter.

    Attributes:
        weight: [6]; grid: its b-bit grid from the least to the greatest weight.
        codes: [64, 6]; weight_error, output_error: [64], root mean squares.
        nearest, best: rows of ``codes``.
    """

    weight: Tensor
    grid: Grid
    codes: Tensor
    weight_error: Tensor
    output_error: Tensor
    nearest: int
    best: int


@cache
def roundings(rho: float, bits: float, draw: float) -> Roundings:
    """Every choice of lower or upper neighbour.

    Args:
        rho: correlation of any two inputs, each of variance 1; at least 0 and below 1.
        bits: of the grid, 2 to 8.
        draw: number of the random filter.
    """
    generator = torch.Generator().manual_seed(int(draw))
    weight = torch.randn(WEIGHTS, generator=generator, dtype=torch.float64)
    grid = min_max_grid(weight, int(bits))
    ups = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * WEIGHTS)
    codes = ((weight / grid.step).floor() + grid.zero + ups).clamp(grid.low, grid.high)
    errors = grid.values(codes) - weight
    moments = (1 - rho) * torch.eye(WEIGHTS, dtype=torch.float64) + rho
    output = ((errors @ moments) * errors).sum(1).sqrt()
    nearest = int((codes - grid.codes(weight)).abs().sum(1).argmin())
    size = errors.square().sum(1).sqrt()
    return Roundings(weight, grid, codes, size, output, nearest, int(output.argmin()))


def rounding_numbers(rho: float, bits: float, draw: float) -> dict[str, float]:
    """Output errors, and how many of the six weights go to their farther neighbour in the best."""
    found = roundings(rho, bits, draw)
    nearest, best = (float(found.output_error[i]) for i in (found.nearest, found.best))
    moved = (found.codes[found.nearest] != found.codes[found.best]).sum()
    return {
        "nearest": nearest,
        "best of 64": best,
        "ratio": nearest / best if best > 0 else 1.0,
        "weights rounded the other way": float(moved),
    }


@styled
def rounding_figure(rho: float, bits: float, draw: float) -> Figure:
    """Left: weights on their grid. Right: the 64 roundings by error of weights and of output."""
    found = roundings(rho, bits, draw)
    figure, axes = panels(1, 2, height=3.8, width_ratios=(5, 4))
    _weights(axes[0], found)
    _errors(axes[1], found)
    return figure


def _weights(axis: Axes, found: Roundings) -> None:
    codes = torch.arange(found.grid.low, found.grid.high + 1, dtype=torch.float64)
    if len(codes) <= 32:  # more lines than that are a grey field
        for level in found.grid.values(codes).tolist():
            axis.axhline(level, color="#cccccc", linewidth=1, zorder=0)
    place = np.arange(WEIGHTS)
    axis.scatter(place, found.weight, marker="_", s=700, color="k", label="weight")
    for row, marker, colour, label, shift in (
        (found.nearest, "o", CYCLE[0], "nearest", -0.12),
        (found.best, "D", CYCLE[1], "best for the output", 0.12),
    ):
        values = found.grid.values(found.codes[row])
        axis.scatter(place + shift, values, marker=marker, color=colour, label=label, zorder=3)
    axis.set(title="Six weights and their grid", xlabel="input", ylabel="value", xticks=place)
    axis.set_xticklabels([str(i + 1) for i in place])
    axis.grid(visible=False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, markerscale=0.7)


def _errors(axis: Axes, found: Roundings) -> None:
    axis.scatter(found.weight_error, found.output_error, s=14, color="#999999")
    for row, marker, colour in ((found.nearest, "o", CYCLE[0]), (found.best, "D", CYCLE[1])):
        spot = found.weight_error[row], found.output_error[row]
        axis.scatter(*spot, marker=marker, s=60, color=colour, zorder=3)
    axis.set(
        title="All 64 roundings",
        xlabel="error of the weights",
        ylabel="error of the output",
        xlim=(0, None),
        ylim=(0, None),
    )


@styled
def annealing_figure() -> Figure:
    """The rectified sigmoid, and what the regulariser charges as β falls (AdaRound, eq. 23, 24)."""
    figure, axes = panels(1, 2)
    v = torch.linspace(-5, 5, 401)
    axes[0].plot(v, rectified_sigmoid(v), color=CYCLE[0])
    axes[0].set(title="Rectified sigmoid", xlabel="learned v", ylabel="h(v): 0 is down, 1 is up")
    h = torch.linspace(0, 1, 401)
    for beta, colour in zip(BETAS, CYCLE[1:], strict=False):
        charge = [float(regulariser(point, beta)) for point in h]
        axes[1].plot(h, charge, color=colour, label=f"β = {beta:.0f}")
    axes[1].set(title="Regulariser", xlabel="h", ylabel="1 − |2h − 1|^β")
    axes[1].legend(loc="lower center")
    return figure
