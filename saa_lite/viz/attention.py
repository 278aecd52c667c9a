"""Attention and rounding: the pictures of the quantised transformer.

**What a transformer's class token attends to, and how much of it the identity term adds back.**

**Panel: one filter of six weights, all 64 ways to round it, and which is best for the output.**

Weights lie between two neighbours of a grid. Nearest rounding makes the error of the *weights*
least. The error of the *output* is eᵀMe, with e the errors of the weights and M the second moments
of the inputs (AdaRound, ICML 2020, eq. 9): where inputs go together, errors should cancel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor, nn

from saa_lite.nn import WeightedValues
from saa_lite.quantize.quantizers import rectified_sigmoid, regulariser
from saa_lite.quantize.uniform import Grid, min_max_grid
from saa_lite.viz.style import COLOURS, CYCLE, panels, styled

Array = NDArray[np.float64]
HEADS = "mean of heads"
SCORES = {"conv": "products", "adder": "distances"}  # what the attention of a kind compares by


@torch.no_grad()
@styled
def keys_figure() -> Figure:
    """A query and three keys in the plane: along its direction, and around its place."""
    figure, axes = panels(1, 2, height=3.2)
    query, keys = np.array([1.0, 0.5]), ((1.0, 0.5), (3.0, 1.5), (-1.0, 0.5))
    for axis, kind in zip(axes, ("conv", "adder"), strict=True):
        x, y = np.meshgrid(np.linspace(-2, 4, 121), np.linspace(-1.5, 2.5, 81))
        product = x * query[0] + y * query[1]
        distance = -(np.abs(x - query[0]) + np.abs(y - query[1]))
        score = product if kind == "conv" else distance
        axis.contourf(x, y, score, levels=12, cmap="Greys", alpha=0.35)
        axis.plot(*query, "*", color=COLOURS[kind], markersize=16, markeredgecolor="white",
                  label="query", zorder=3)  # fmt: skip
        for place, key in enumerate(keys, 1):
            axis.plot(*key, "o", color="#333333", markersize=11, fillstyle="none")
            axis.annotate(f"key {place}", key, (8, -14), textcoords="offset points", fontsize=9)
        best = max(range(3), key=lambda i: _score(kind, query, np.array(keys[i])))
        axis.plot(*keys[best], "o", color=COLOURS[kind], markersize=19, fillstyle="none", mew=2.5)
        axis.set_aspect("equal")
        axis.set(xticks=[], yticks=[], title=SCORES[kind] + f": key {best + 1} wins")
        axis.grid(visible=False)
    return figure


def _score(kind: str, query: Array, key: Array) -> float:
    """How the attention of a kind likes a key."""
    return float(query @ key if kind == "conv" else -np.abs(query - key).sum())


def attention_maps(model: nn.Module, images: Tensor) -> Tensor:
    """Weights after the softmax, [layers, B, heads, N, N]; token 0 is the class token."""
    found: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].detach())

    handles = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, WeightedValues)
    ]
    try:
        model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)


def entropy(weights: Tensor) -> Tensor:
    """−Σ p·log₂ p over the last dimension, in bits; log₂ N where all tokens count alike."""
    return -torch.special.xlogy(weights, weights).sum(-1) / math.log(2)


def effective_rank(matrix: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of [..., N, N]; N at most, 1 at least.

    A map whose rows are all alike has 1: every token then gets the same mixture.
    """
    singular = torch.linalg.svdvals(matrix.double())
    share = singular / singular.sum(-1, keepdim=True)
    return torch.exp(-torch.special.xlogy(share, share).sum(-1))


def one_map(maps: Tensor, image: float, layer: float, head: str) -> Tensor:
    """[N, N]; ``layer`` counts from 1, ``head`` is a number from 1 or ``HEADS``."""
    chosen = maps[int(layer) - 1, int(image)]  # [heads, N, N]
    return chosen.mean(0) if head == HEADS else chosen[int(head) - 1]


def attention_numbers(
    maps: Mapping[str, Tensor], image: float, layer: float, head: str
) -> dict[str, float]:
    """Per network: entropy of the class token's weights, effective rank of the map, and with I."""
    numbers = {}
    for name, all_maps in maps.items():
        found = one_map(all_maps, image, layer, head)
        numbers[f"{SCORES[name]}: bits"] = float(entropy(found[0]))
        numbers[f"{SCORES[name]}: rank"] = float(effective_rank(found))
        if name == "adder":
            identity = torch.eye(len(found))
            numbers[f"{SCORES[name]}: rank with I"] = float(effective_rank(found + identity))
    return numbers


@styled
def attention_figure(
    images: Tensor, maps: Mapping[str, Tensor], image: float, layer: float, head: str
) -> Figure:
    """The image, then per network where its class token looks, and the whole map.

    Args:
        images: [B, 1 or 3, H, W], of any range.
        maps: "conv" and "adder" → what :func:`attention_maps` found on ``images``.
    """
    figure, axes = panels(1, 1 + 2 * len(maps), height=2.4)
    shown = images[int(image)]
    picture = (shown - shown.min()) / (shown.max() - shown.min()).clamp_min(1e-9)
    _show(axes[0], picture.movedim(0, -1).squeeze(-1), "image", cmap="gray_r")
    for position, (name, all_maps) in enumerate(maps.items()):
        found = one_map(all_maps, image, layer, head)
        side = math.isqrt(found.shape[1] - 1)
        looked = found[0, 1:].reshape(side, side)
        _show_weights(axes[1 + 2 * position], looked, f"{SCORES[name]}\nclass token → patches")
        _show_weights(axes[2 + 2 * position], found, "all tokens → all tokens")
    return figure


def _show_weights(axis: Axes, weights: Tensor, title: str) -> None:
    """Every map has a scale of its own, from 0 to its largest weight."""
    largest = float(weights.max())
    shown = _show(axis, weights, title, vmin=0)
    bar = axis.figure.colorbar(
        shown, ax=axis, orientation="horizontal", ticks=[0, largest], format="%.2g", pad=0.03
    )
    bar.set_label("weight", fontsize=8, labelpad=-6)
    bar.ax.tick_params(labelsize=8)


def _show(
    axis: Axes, values: Tensor, title: str, cmap: str = "viridis", vmin: float | None = None
) -> AxesImage:
    shown = axis.imshow(values.cpu().numpy(), cmap=cmap, vmin=vmin)
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    return shown


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
    levels = found.grid.values(codes).tolist()
    if len(codes) <= 32:  # more lines than that are a grey field
        for level in levels:
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
    if len(codes) <= 16:  # more labels than that overlap
        axis.set_yticks(levels, [f"{level:.2f}" for level in levels])
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
