"""Feature clouds in two dimensions, and how well angle and place tell the classes apart."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from saa_lite.ops import adder_linear
from saa_lite.records import Record
from saa_lite.viz.distributions import ADVANTAGE_LABEL, START_COLOUR, references
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

CLOUD = "cosine_minus_l1_accuracy"  # the record whose log holds the points
MARKERS = "osD^v<>pPX"  # a second way beside colour to tell ten classes apart
TEMPLATE = torch.tensor([1.5, 1.0], dtype=torch.float64)  # the weights of one class, in the panel
BY = {"cosine_accuracy": "angle", "l1_accuracy": "L1 distance"}


@styled
def clouds_figure(records: Sequence[Record]) -> Figure:
    """One cloud per method, and nearest-mean accuracy by angle and by L1 distance of every seed.

    Args:
        records: of one configuration; those of CLOUD hold rows of first, second and label.
    """
    figure, axes = panels(1, 3, height=4.0, width_ratios=(3, 3, 2))
    methods = [method for method in LABELS if any(r.method == method for r in records)]
    for axis, method in zip(axes, methods, strict=False):
        logged = [r for r in records if r.method == method and r.metric == CLOUD and r.log]
        if logged:
            cloud(axis, logged[0].log or [])
        axis.set_title(LABELS[method])
    accuracies(axes[2], records, methods)
    legend_below(figure, axes[2:], "outside lower right")
    first = records[0]
    seeds = counted(len({record.seed for record in records}), "seed")
    headline(
        figure,
        f"LeNet++ bottleneck, {first.dataset} ({first.settings['train_images']:,} training images, "
        f"{counted(first.epochs, 'epoch')}). Clouds: test images, seed 0. Right: {seeds}",
    )
    return figure


def cloud(axis: Axes, rows: Sequence[dict[str, float | None]]) -> None:
    """Points by class, the digit written at the median, thin lines through the origin."""
    first, second, label = (
        np.array([row[k] for row in rows], float) for k in ("first", "second", "label")
    )
    axis.axhline(0, color="#cccccc", linewidth=1)
    axis.axvline(0, color="#cccccc", linewidth=1)
    for c in np.unique(label).astype(int):
        mine = label == c
        look = {"color": CYCLE[c % len(CYCLE)], "marker": MARKERS[c % len(MARKERS)]}
        axis.scatter(first[mine], second[mine], s=14, alpha=0.7, linewidths=0, **look)
        middle = np.median(first[mine]), np.median(second[mine])
        box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        axis.text(*middle, str(c), ha="center", va="center", fontsize=10, weight="bold", bbox=box)
    axis.set(xlabel="first feature", ylabel="second feature", aspect="equal", adjustable="datalim")
    axis.grid(visible=False)


def accuracies(axis: Axes, records: Sequence[Record], methods: Sequence[str]) -> None:
    """One line per seed from the accuracy by angle to that by L1 distance, means in bold."""
    for method in methods:
        runs = [
            {r.seed: r.value for r in records if r.method == method and r.metric == metric}
            for metric in BY
        ]
        seeds = sorted(set(runs[0]) & set(runs[1]))
        table = np.array([[run[seed] for seed in seeds] for run in runs])  # [2, seeds]
        look = {"color": COLOURS[method], "marker": "o"}
        axis.plot(table, linewidth=0.8, alpha=0.45, markersize=3, **look)
        axis.plot(table.mean(1), linewidth=2.2, markersize=6, label=LABELS[method], **look)
    axis.set_xticks([0, 1], BY.values())
    axis.set(xlim=(-0.3, 1.3), ylabel="nearest-mean accuracy (%)", title="Nearest mean by")


@styled
def pair_figure(clouds: Mapping[str, tuple[Tensor, Tensor]], title: str) -> Figure:
    """Clouds side by side: method → features [N, 2] and labels [N]."""
    figure, axes = panels(1, len(clouds), height=4.0)
    for axis, (method, (features, labels)) in zip(axes, clouds.items(), strict=True):
        pairs = zip(features.tolist(), labels.tolist(), strict=True)
        cloud(axis, [{"first": x, "second": y, "label": label} for (x, y), label in pairs])
        axis.set_title(LABELS[method])
    headline(figure, title)
    return figure


def response_numbers(length: float, angle: float) -> dict[str, float]:
    """Logits that TEMPLATE gives a feature of polar coordinates ``length``, ``angle`` (degrees)."""
    feature = _feature(length, angle)[None]
    return {
        "linear logit": F.linear(feature, TEMPLATE[None]).item(),
        "adder logit": adder_linear(feature, TEMPLATE[None]).item(),
    }


@styled
def responses_figure(length: float, angle: float) -> Figure:
    """The plane of features coloured by the logit of one class, linear and adder, and a feature."""
    ticks = torch.linspace(-4, 4, 161, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)  # [161, 161, 2]
    w, feature = TEMPLATE.tolist(), _feature(length, angle).tolist()
    maps = {
        "linear: f · w": F.linear(plane, TEMPLATE[None])[..., 0],
        "adder: −|f₁ − w₁| − |f₂ − w₂|": adder_linear(plane, TEMPLATE[None])[..., 0],
    }
    figure, axes = panels(1, 2, height=4.0, sharey=True)
    for axis, (name, values) in zip(axes, maps.items(), strict=True):
        axis.contourf(ticks.numpy(), ticks.numpy(), values.numpy(), levels=14, cmap="cividis")
        axis.plot([0, w[0]], [0, w[1]], color="w", linewidth=1)
        axis.plot(*w, "*", color="w", markersize=13, markeredgecolor="k")
        axis.plot(*feature, "o", color="r", markersize=9, markeredgecolor="w")
        axis.set(xlabel="first feature", aspect="equal", title=name, xlim=(-4, 4), ylim=(-4, 4))
        axis.grid(visible=False)
    axes[0].set_ylabel("second feature")
    return figure


def _feature(length: float, angle: float) -> Tensor:
    turn = math.radians(angle)
    return length * torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64)


Layers = Sequence[Mapping[str, float]]


@styled
def travel_figure(networks: Mapping[str, Layers], title: str) -> Figure:
    """Layer by layer: how far the weights came, and which distribution they are nearer to.

    Args:
        networks: operator of COLOURS → one row per layer, with ``travel`` (root mean square of
            the way, in that of the start), ``start`` and ``trained`` (Laplace advantages).
    """
    figure, (left, right) = panels(1, 2, height=3.4)
    for method, rows in networks.items():
        place = np.arange(1, len(rows) + 1)
        found = {key: [row[key] for row in rows] for key in rows[0]}
        look = {"color": COLOURS[method], "marker": "o", "markersize": 5}
        left.plot(place, found["travel"], label=LABELS[method], linewidth=1, **look)
        right.plot(place, found["start"], "o", color=START_COLOUR, markerfacecolor="w")
        right.plot(place, found["trained"], linestyle="none", **look)
    most = max(map(len, networks.values()))
    layers = range(5, most + 1, 5)
    left.set(xlabel="layer, in order", xticks=layers)
    left.set(ylabel="way ÷ size at the start (RMS)", ylim=(0, None))
    right.set(xlabel="layer, in order", ylabel=ADVANTAGE_LABEL)
    right.set(xlim=(0.5, 1.25 * most), xticks=layers)  # room for the references
    references(right)
    right.set_title("hollow: at the start; filled: trained", fontsize=10)
    legend_below(figure, (left,))
    headline(figure, title)
    return figure


@styled
def channels_figure(photo: Tensor, channels: Mapping[str, Tensor], title: str) -> Figure:
    """A photo, and beside it channels of one layer, one row per operator.

    Args:
        photo: uint8 [3, H, W].
        channels: operator of LABELS → maps [N, H', W'], each shown in its own grey scale.
    """
    count = max(map(len, channels.values()))
    figure, axes = panels(len(channels), count + 1, height=1.05)
    figure.dots = 1
    for row, (method, maps) in enumerate(channels.items()):
        first, *others = axes[row * (count + 1) : (row + 1) * (count + 1)]
        _picture(first, photo.permute(1, 2, 0))
        first.set_ylabel(LABELS[method], rotation=0, ha="right", va="center")
        for axis, one in zip(others, maps, strict=True):
            _picture(axis, one)
    headline(figure, title)
    return figure


def _picture(axis: Axes, pixels: Tensor) -> None:
    """Pixels [H, W, 3] in their colours, or values [H, W] from black (low) to white (high)."""
    axis.imshow(pixels.numpy(), cmap="gray")
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
