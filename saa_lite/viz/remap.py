"""Panels of weight remapping: one weight followed from ruler to ruler, and a trained layer mapped.

Everything shown is the package's own maps on a fixed normal sample or on given weights. ``w`` is
counted in standard deviations from the mean, so that it stays in the picture when those move.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from scipy import stats
from torch import Tensor, nn

from saa_lite.augment.remap import SCALE, gaussian_to_laplace, laplace_to_gaussian, make_remap
from saa_lite.augment.remap_bins import BinsRemap
from saa_lite.augment.remap_modules import binned_kl_to_laplace
from saa_lite.ops.shift import shift_quantize
from saa_lite.viz.pixels import Figure
from saa_lite.viz.remap_figures import NAMES
from saa_lite.viz.style import COLOURS, WIDTH, styled

MAPS = ("as is", "rescaled", "remapped", "affine-z", "affine-logit", "bins", "shift")
PACKAGE_NAMES = {shown: name for name, shown in NAMES.items()}
GAIN, OFFSET = 1.5, 0.5  # of the affine maps, as training might leave them
SAMPLE = 10_000
FOLLOWED = "#b00020"  # dark red: darker than SOURCE and TARGET, for those who see no red
SOURCE, TARGET = COLOURS["conv"], COLOURS["adder"]
# Of the axes: fixed, so that scales can be felt. The map of the whole sample takes more room.
SOURCE_LIMIT, TARGET_LIMIT, MAP_LIMIT = 0.4, 5.0, 8.0
TICKS = {  # few: a tick takes 2 ms to draw
    SOURCE_LIMIT: (-0.3, 0, 0.3), TARGET_LIMIT: (-4, 0, 4), MAP_LIMIT: (-6, 0, 6),
}  # fmt: skip
SAME_RANK = 0.005
ENDS = 50  # weights at either end that a quantile plot shows one by one
USED = "weight that the layer uses"


class Mapped(NamedTuple):
    """A weight and a sample before and after a map, and the Laplace scale it aims at."""

    w: float
    v: float
    before: Tensor
    after: Tensor
    scale: float


@lru_cache(maxsize=1)
def normal_sample() -> Tensor:
    """SAMPLE fixed standard normal numbers, float64, ascending."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SAMPLE, dtype=torch.float64, generator=generator).sort().values


@torch.no_grad()
def mapped(name: str, weights: Tensor, mean: float, std: float, b: float, bits: int) -> Tensor:
    """``weights`` under the map of MAPS; "bins" with coefficients fitted to the analytic map."""
    name = PACKAGE_NAMES.get(name, name)
    if name == "shift":
        return make_remap(name, bits=bits)(weights, mean, std)
    if name == "bins":
        target = gaussian_to_laplace(weights, mean=mean, std=std, scale=b)
        return BinsRemap().fit(weights, target)(weights)
    remap = make_remap(name) if name == "none" else make_remap(name, scale=b)
    if name.startswith("affine"):
        nn.init.constant_(remap.get_parameter("gain"), GAIN)
        nn.init.constant_(remap.get_parameter("offset"), OFFSET)
    return remap(weights, mean, std)


def follow(mu: float, sigma: float, b: float, bits: float, w: float, map: str) -> Mapped:
    """One weight, ``w`` standard deviations from the mean, and the sample under the map."""
    weights = mu + sigma * torch.cat([torch.tensor([w], dtype=torch.float64), normal_sample()])
    after = mapped(map, weights, mu, sigma, b, int(bits))
    scale = sigma * SCALE if map == "shift" else b
    return Mapped(weights[0].item(), after[0].item(), weights[1:], after[1:], scale)


def remap_numbers(
    mu: float, sigma: float, b: float, bits: float, w: float, map: str
) -> dict[str, float]:
    """The followed weight, and what the map did to the sample.

    "round trip" is the RMS of R⁻¹(mapped) − w in σ: how far the map is from eq. 5 without its
    learned part. "±2^p error" is the RMS change in σ when the shift map rounds to so many bits.
    """
    at = follow(mu, sigma, b, bits, w, map)
    back = laplace_to_gaussian(at.after, mean=mu, std=sigma, scale=at.scale)
    smooth = gaussian_to_laplace(at.before, mean=mu, std=sigma, scale=sigma * SCALE)
    return {
        "w": at.w,
        "F(w)": float(stats.norm.cdf(w)),
        "mapped": at.v,
        "kurtosis before": kurtosis(at.before),
        "kurtosis after": kurtosis(at.after),
        "KL to Laplace": binned_kl_to_laplace(at.after, at.scale),
        "round trip": _rms(back - at.before) / sigma,
        "±2^p error": _rms(shift_quantize(smooth, int(bits)) - smooth) / sigma,
    }


@styled
def remap_figure(mu: float, sigma: float, b: float, bits: float, w: float, map: str) -> Figure:
    """Above: both distribution functions; below: both histograms; right: the map. w in red.

    The weight's way is numbered: 1 up to its rank and across, 2 down to the weight in use.
    """
    at = follow(mu, sigma, b, bits, w, map)
    figure = Figure(figsize=(WIDTH, 4.7))
    grid = figure.add_gridspec(
        2, 3, width_ratios=(1, 1, 1.1), left=0.085, right=0.98, bottom=0.11, top=0.93,
        wspace=0.28, hspace=0.16,
    )  # fmt: skip
    limit = SOURCE_LIMIT if map == "shift" else TARGET_LIMIT
    normal, laplace = stats.norm(mu, sigma), stats.laplace(scale=at.scale)
    u, landed = normal.cdf(at.w), laplace.cdf(at.v)
    rows = (
        (0, SOURCE_LIMIT, normal, SOURCE, ([at.w, at.w, SOURCE_LIMIT], [0, u, u])),
        (1, limit, laplace, TARGET, ([-limit, at.v, at.v], [u, u, 0])),
    )
    for column, edge, family, colour, path in rows:
        axis = figure.add_subplot(grid[0, column])
        x = np.linspace(-edge, edge, 401)
        axis.plot(x, family.cdf(x), color=colour)
        axis.plot(*path, "--o", color=FOLLOWED, markersize=5, markevery=[1])
        axis.set(ylim=(0, 1.03), xlim=(-edge, edge), xticks=[], yticks=(0, 0.5, 1))
        kept = "same rank" if abs(landed - u) < SAME_RANK else f"rank {landed:.2f}"
        title = f"1 normal ruler: rank {u:.2f}" if column == 0 else f"2 Laplace ruler: {kept}"
        axis.set_title(title, fontsize=10)
        arrow(axis, str(column + 1), (at.w, u / 2) if column == 0 else (at.v, u / 2))
    for column, weights, label in ((0, at.before, "shared weight w"), (1, at.after, USED)):
        _, edge, family, colour, _ = rows[column]
        axis = figure.add_subplot(grid[1, column])
        histogram(axis, weights, edge, colour, family)
        axis.axvline(at.w if column == 0 else at.v, color=FOLLOWED, linestyle="--")
        axis.set_xlabel(label)
    figure.axes[0].set_ylabel("share of weights below")
    figure.axes[2].set_ylabel("number of weights")
    curve(figure.add_subplot(grid[:, 2]), at, map, SOURCE_LIMIT if map == "shift" else MAP_LIMIT)
    return figure


def arrow(axis: Axes, number: str, place: tuple[float, float]) -> None:
    """The number of a step and which way the eye goes: step 1 up, step 2 down."""
    head = "↑" if number == "1" else "↓"
    low, high = axis.get_xlim()
    x, y = place[0] + 0.03 * (high - low), max(place[1], 0.08)
    axis.text(x, y, f"{number}{head}", color=FOLLOWED, fontsize=11, va="center", clip_on=True)


def histogram(axis: Axes, weights: Tensor, limit: float, colour: str, family: Any) -> None:
    """Shares of ``weights`` in 81 bins from −limit to limit, and those that ``family`` predicts."""
    counts, edges = np.histogram(weights.numpy(), bins=81, range=(-limit, limit))
    expected = np.diff(family.cdf(edges))
    top = max(counts.max() / weights.numel(), expected.max())
    axis.stairs(counts / weights.numel() / top, edges, fill=True, color=colour, alpha=0.8)
    axis.stairs(expected / top, edges, color="k", linewidth=0.8)
    axis.set(xlim=(-limit, limit), xticks=TICKS[limit], yticks=[], ylim=(0, 1.05))


def curve(axis: Axes, at: Mapped, name: str, limit: float) -> None:
    """Mapped against shared weight; eq. 5 without its learned part in grey."""
    mean, std = float(at.before.mean()), float(at.before.std())
    grid = torch.linspace(-SOURCE_LIMIT, SOURCE_LIMIT, 401, dtype=torch.float64)
    eq5 = gaussian_to_laplace(grid, mean=mean, std=std, scale=at.scale)
    axis.plot(grid.numpy(), eq5.numpy(), color="#999999", linewidth=1, label="remapped, to compare")
    line = "." if name in ("bins", "shift") else "-"
    x, y = at.before.numpy()[::8], at.after.numpy()[::8]
    axis.plot(x, y, line, color=TARGET, markersize=2.5, label=name)
    axis.plot(at.w, at.v, "o", color=FOLLOWED)
    axis.set(xlim=(-SOURCE_LIMIT, SOURCE_LIMIT), ylim=(-limit, limit), xlabel="shared weight w")
    axis.set_ylabel(USED, labelpad=0)
    axis.set(xticks=TICKS[SOURCE_LIMIT], yticks=TICKS[limit])
    axis.set_title("The map", fontsize=10)
    axis.legend(loc="lower right", fontsize=8, markerscale=4)


def kurtosis(weights: Tensor) -> float:
    """Excess kurtosis: 0 for normal, 3 for Laplacian weights."""
    return float(stats.kurtosis(weights.flatten().numpy()))


def layer_numbers(
    weights: Mapping[str, Tensor], layer: str, map: str, b: float
) -> dict[str, float]:
    """Spread, kurtosis and divergence from Laplace(0, b) of a layer's weights, before and after."""
    before, after, scale = _layer(weights, layer, map, b)
    return {
        "std before": float(before.std(correction=0)),
        "std after": float(after.std(correction=0)),
        "kurtosis before": kurtosis(before),
        "kurtosis after": kurtosis(after),
        "KL to Laplace": binned_kl_to_laplace(after, scale),
    }


@styled
def layer_figure(weights: Mapping[str, Tensor], layer: str, map: str, b: float) -> Figure:
    """The layer's weights, the same mapped (logarithmic densities), and a quantile plot."""
    before, after, scale = _layer(weights, layer, map, b)
    figure = Figure(figsize=(WIDTH, 3.4))
    left, middle, right = figure.subplots(
        1, 3, gridspec_kw={"left": 0.08, "right": 0.99, "bottom": 0.16, "top": 0.88, "wspace": 0.34}
    )
    spread = float(before.std(correction=0))
    place, width = float(before.mean()), 6 * spread
    density(left, before, place, width, SOURCE)
    x = np.linspace(place - width, place + width, 201)
    left.plot(x, stats.norm.pdf(x, place, spread), "k--", linewidth=1, label="normal")
    left.set(title=f"the layer: {layer}", xlabel="shared weight w", ylabel="density")
    limit = 10 * scale
    density(middle, after, 0.0, limit, TARGET)
    v = np.linspace(-limit, limit, 201)
    middle.plot(v, stats.laplace.pdf(v, scale=scale), "k:", linewidth=1.4, label="Laplace")
    middle.set(title=f"after the map: {map}", xlabel=USED, ylabel="density")
    for axis, top in ((left, 2 / spread), (middle, 2 / scale)):
        axis.set(yscale="log", ylim=(top / 2e4, top))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(loc="upper right", fontsize=8)
    quantiles(right, after, scale, limit)
    for axis in (left, middle, right):
        axis.locator_params(axis="x", nbins=4)
    right.locator_params(axis="y", nbins=4)
    return figure


def density(axis: Axes, weights: Tensor, centre: float, width: float, colour: str) -> None:
    """Histogram as a density over ``centre`` ± ``width``; weights beyond count in the total."""
    counts, edges = np.histogram(weights.numpy(), bins=61, range=(centre - width, centre + width))
    share = counts / weights.numel() / (edges[1] - edges[0])
    axis.stairs(share, edges, fill=True, color=colour, alpha=0.8, baseline=1e-9)


def quantiles(axis: Axes, weights: Tensor, scale: float, limit: float) -> None:
    """Sorted weights against Laplace(0, scale) quantiles: on the diagonal where they agree."""
    values = np.sort(weights.numpy())
    count = len(values)
    ends = np.arange(min(ENDS, count))  # every one of the smallest and largest: the tails
    chosen = np.unique([*ends, *np.linspace(0, count - 1, 300).astype(int), *(count - 1 - ends)])
    expected = stats.laplace.ppf((chosen + 0.5) / count, scale=scale)
    high = min(max(limit, 1.1 * float(np.abs(values).max())), 2 * limit)
    axis.plot([-limit, limit], [-limit, limit], color="#999999", linewidth=1)
    axis.plot(expected, values[chosen], ".", color=TARGET, ms=4)
    axis.set(xlim=(-limit, limit), ylim=(-high, high), title="Q–Q against Laplace")
    axis.set(xlabel="Laplace weight, same rank", ylabel=USED)


def _layer(
    weights: Mapping[str, Tensor], layer: str, name: str, b: float
) -> tuple[Tensor, Tensor, float]:
    w = weights[layer].detach().double().flatten()
    mean, std = float(w.mean()), float(w.std(correction=0))
    after = mapped(name, w, mean, std, b, bits=5)
    return w, after, std * SCALE if name == "shift" else b


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
