"""Pictures of the adder layer: its surrogate gradients, its output, the direction of a sign."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from saa_lite.ops import adder_linear
from saa_lite.ops.reference import input_surrogate, weight_surrogate
from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, CYCLE, LABELS, counted, headline, panels, styled

GAUSSIAN_COSINE = math.sqrt(2 / math.pi)
KIND_COLOURS = {"sign": CYCLE[4], "full": CYCLE[2], "clip": CYCLE[1]}
KIND_LABELS = {"sign": "sign: sgn(d)", "full": "full: d", "clip": "clip: HT(d)"}
FRAME: dict[str, Any] = {"edgecolor": CYCLE[3], "linewidth": 4, "clip_on": False, "zorder": 3}
SERIES = {  # metric → its logged quantity, colour, marker, label
    "sign_cosine_slope": ("sign_cosine", CYCLE[1], "o", "sgn g against g, one layer each"),
    "layer_cosine_slope": ("layer_cosine", CYCLE[4], "s", "the layer's sign gradient against g"),
    "part_cosine_slope": ("sign_cosine", CYCLE[0], "^", "random parts of the largest layer's g"),
}


@styled
def gradients_figure(records: Sequence[Record]) -> Figure:
    """Surrogates on the left, cosine against dimension on the right.

    Args:
        records: of the three slopes of SERIES, their logs holding one row per dimension.
    """
    figure, (left, right) = panels(1, 2, height=3.9, width_ratios=(2, 3))
    surrogates(left)
    cosine_against_dimension(right, records)
    first = records[0]
    seeds = len({record.seed for record in records})
    headline(
        figure,
        f"Adder gradients: LeNet-5-BN on {first.dataset}, {first.settings['train_images']:,} "
        f"images, {counted(first.epochs, 'epoch')}, {counted(seeds, 'seed')}",
    )
    return figure


def surrogates(axis: Axes) -> None:
    """What stands for the derivative of −|d|: HT, sgn and the identity."""
    d = torch.linspace(-2.5, 2.5, 501, dtype=torch.float64)
    for kind in ("full", "clip", "sign"):
        style = {"sign": "--", "full": ":", "clip": "-"}[kind]
        y = input_surrogate(d, kind)
        axis.plot(
            d.numpy(),
            y.numpy(),
            style,
            color=KIND_COLOURS[kind],
            linewidth=2,
            label=KIND_LABELS[kind],
        )
    axis.set(xlabel="d = w − x for ∂Y/∂x,  x − w for ∂Y/∂w", ylabel="stands for the derivative")
    axis.set_title("Three surrogates")
    axis.legend(loc="upper left")


def cosine_against_dimension(axis: Axes, records: Sequence[Record]) -> None:
    """Every seed as a point, means as lines; Gaussian value and lower bound as references."""
    for metric, (quantity, colour, marker, label) in SERIES.items():
        logs = [record.log for record in records if record.metric == metric and record.log]
        if not logs:
            continue
        rows = sorted((row["dimension"], row[quantity]) for log in logs for row in log)
        n, values = np.array(rows, dtype=float).T
        axis.plot(n, values, marker, color=colour, markersize=4, alpha=0.35, linewidth=0)
        sizes = np.unique(n)
        means = [values[n == size].mean() for size in sizes]
        axis.plot(sizes, means, "-", marker=marker, markersize=5, color=colour, label=label)
    n = np.geomspace(1, 1e5, 100)
    axis.axhline(GAUSSIAN_COSINE, color="#555555", linestyle="--", linewidth=1)
    axis.plot(n, n**-0.5, color="#555555", linestyle=":", linewidth=1)
    axis.annotate(
        "Gaussian: √(2/π)", (1e5, GAUSSIAN_COSINE + 0.01), ha="right", va="bottom", fontsize=8
    )
    axis.annotate("lower bound:\n1/√n", (1.1, 0.15), fontsize=8)
    axis.set(xscale="log", ylim=(0, 1.03), xlabel="entries n of the gradient", ylabel="cosine")
    axis.set_title("How well a sign points")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 0.05), fontsize=8)


@styled
def surface_figure() -> Figure:
    """Over the plane of x and w: the output of one tap and everything that plays its derivative."""
    w, x = torch.meshgrid(*[torch.linspace(-3, 3, 241, dtype=torch.float64)] * 2, indexing="ij")
    fields = {
        "Y = −|x − w|": -(x - w).abs(),
        "∂Y/∂w sign: sgn(x − w)": weight_surrogate(x - w, "sign"),
        "∂Y/∂w full: x − w": weight_surrogate(x - w, "full"),
        "∂Y/∂x sign: sgn(w − x)": input_surrogate(w - x, "sign"),
        "∂Y/∂x full: w − x": input_surrogate(w - x, "full"),
        "∂Y/∂x clip: HT(w − x)": input_surrogate(w - x, "clip"),
    }
    figure, axes = panels(2, 3, height=2.9, sharex=True, sharey=True)
    for axis, (title, values) in zip(axes, fields.items(), strict=True):
        image = axis.imshow(
            values.numpy(), origin="lower", extent=(-3, 3, -3, 3), cmap="RdBu_r", vmin=-3, vmax=3
        )
        axis.contour(
            x.numpy(),
            w.numpy(),
            values.numpy(),
            levels=np.arange(-2.5, 3),
            colors="k",
            linewidths=0.4,
        )
        axis.set_title(title, fontsize=10)
        axis.grid(visible=False)
    for axis in axes[3:]:
        axis.set_xlabel("input x")
    for axis in (axes[0], axes[3]):
        axis.set_ylabel("weight w")
    figure.colorbar(image, ax=axes, shrink=0.8, label="value")
    return figure


@styled
def steps_figure(target: tuple[float, float] = (1.0, 0.5)) -> Figure:
    """A filter of two taps: where each weight gradient sends it when Y is to grow."""
    grid = torch.stack(
        torch.meshgrid(*[torch.linspace(-3, 3, 13, dtype=torch.float64)] * 2, indexing="xy")
    )  # [2, 13, 13]
    x = torch.tensor(target, dtype=torch.float64)[:, None, None]
    figure, axes = panels(1, 2, height=4.3, sharex=True, sharey=True)
    for axis, kind in zip(axes, ("full", "sign"), strict=True):
        step = weight_surrogate(x - grid, kind)
        distance = (x - grid).abs().sum(0)
        axis.contour(*grid.numpy(), distance.numpy(), levels=8, colors="#cccccc", linewidths=0.8)
        axis.quiver(*grid, *step, color=KIND_COLOURS[kind], angles="xy", pivot="tail", width=0.005)
        axis.plot(*target, "*", color="k", markersize=12, label="input x")
        axis.set(xlabel="weight w₁", aspect="equal", title=f"∂Y/∂w, {KIND_LABELS[kind][:4]}")
        axis.grid(visible=False)
    axes[0].set_ylabel("weight w₂")
    axes[0].legend(loc="lower left", frameon=True)
    return figure


@styled
def outputs_figure(samples: Mapping[str, Tensor]) -> Figure:
    """Histograms of a layer's outputs, one panel per operator of COLOURS."""
    figure, axes = panels(1, len(samples), height=2.8)
    for axis, (kind, values) in zip(axes, samples.items(), strict=True):
        flat = values.detach().flatten()
        axis.hist(flat.numpy(), bins=60, color=COLOURS[kind], alpha=0.85, histtype="stepfilled")
        axis.axvline(0, color="k", linewidth=1)
        axis.axvline(float(flat.mean()), color="#555555", linestyle="--")
        axis.set(xlabel="output", yticks=[])
        axis.set_title(f"{LABELS[kind]}: mean {flat.mean():.1f}, std {flat.std():.1f}", fontsize=10)
    return figure


@styled
def maps_figure(
    maps: Mapping[str, Tensor], framed: Mapping[str, tuple[int, int, int, int]] | None = None
) -> Figure:
    """Feature maps [rows, columns] side by side, each with its own scale and numbers inside.

    Args:
        maps: by title.
        framed: first row and column, rows and columns of a part of a map that gets a frame.
    """
    figure, axes = panels(1, len(maps), height=3.2)
    for axis, (title, values) in zip(axes, maps.items(), strict=True):
        axis.imshow(values.numpy(), cmap="viridis")
        middle = float(values.min() + values.max()) / 2
        for (row, column), value in np.ndenumerate(values.numpy()):
            colour = "w" if value < middle else "k"
            axis.text(column, row, str(round(value)), ha="center", va="center", color=colour)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(visible=False)
        if framed and title in framed:
            row, column, height, width = framed[title]
            corner = (column - 0.5, row - 0.5)
            axis.add_patch(Rectangle(corner, width, height, fill=False, **FRAME))
    return figure


def point_numbers(
    x: float, w: float, weight_gradient: str, input_gradient: str
) -> dict[str, float]:
    """Y, ∂Y/∂x and ∂Y/∂w of one tap, from the operator itself in float64."""
    point = [torch.tensor([[value]], dtype=torch.float64, requires_grad=True) for value in (x, w)]
    y = adder_linear(*point, weight_gradient=weight_gradient, input_gradient=input_gradient)
    dx, dw = torch.autograd.grad(y, point, torch.ones_like(y))
    return {"Y": y.item(), "dY/dx": dx.item(), "dY/dw": dw.item()}


@styled
def point_figure(x: float, w: float, weight_gradient: str, input_gradient: str) -> Figure:
    """Y against w and against x, with the slope that each gradient claims at the point."""
    numbers = point_numbers(x, w, weight_gradient, input_gradient)
    figure, axes = panels(1, 2, height=3.2, sharey=True)
    span = np.linspace(-3, 3, 121)
    views = (
        (axes[0], w, x, "weight w", "dY/dw", weight_gradient),
        (axes[1], x, w, "input x", "dY/dx", input_gradient),
    )
    for axis, here, other, label, name, kind in views:
        slope, colour = numbers[name], KIND_COLOURS[kind]
        axis.plot(span, -np.abs(span - other), color="#999999", linewidth=1.5)
        ends = np.array([-1.0, 1.0]) / math.hypot(1, slope)
        axis.plot(here + ends, numbers["Y"] + slope * ends, color=colour, linewidth=3)
        axis.plot(here, numbers["Y"], "o", color="k")
        axis.set(xlabel=label, xlim=(-3, 3), xticks=range(-2, 3), ylim=(-6.2, 1.2))
        axis.set_title(f"{name} = {slope:+.2f}  ({kind})", fontsize=11)
    axes[0].set_ylabel("Y = −|x − w|")
    return figure


@styled
def training_figure(histories: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> Figure:
    """Loss and accuracy per epoch of one short training per operator."""
    figure, axes = panels(1, 2, height=3.0)
    for method, history in histories.items():
        epochs = [row["epoch"] for row in history]
        look = {"color": COLOURS[method], "label": LABELS[method], "marker": "o", "markersize": 4}
        axes[0].plot(epochs, [row["train_loss"] for row in history], **look)
        axes[1].plot(epochs, [100 * row["test_accuracy"] for row in history], **look)
    for axis, label in zip(axes, ("train loss (nats)", "test accuracy (%)"), strict=True):
        axis.set(xlabel="epoch", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend()
    headline(figure, title)
    return figure
