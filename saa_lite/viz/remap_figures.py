"""Pictures of weight remapping that need no slider: the problem, the learned forms, the item."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from saa_lite.augment.remap import make_remap
from saa_lite.augment.remap_bins import BinsRemap
from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, CYCLE, LABELS, counted, headline, panels, styled

MAPS = ("rescale", "analytic")
METHODS = ("none", *MAPS, "random")
NAMES = {"none": "as is", "rescale": "rescaled", "analytic": "remapped", "random": "random"}
METHOD_COLOURS = {
    "none": COLOURS["conv"], "rescale": CYCLE[4], "analytic": COLOURS["adder"], "random": CYCLE[7],
}  # fmt: skip
SHAPES = {"normal": ("k--", stats.norm(0, 1)), "Laplace": ("k:", stats.laplace(0, 0.5**0.5))}
LIMIT = 5.0  # of standardised weights


@styled
def problem_figure(weights: Mapping[str, Tensor], title: str) -> Figure:
    """The same layer of a CNN and of an adder network: on one ruler, then each on its own.

    Args:
        weights: "conv" and "adder" to weights of any shape.
    """
    figure, (left, right) = panels(1, 2, height=3.3)
    widest = 4 * max(float(w.std()) for w in weights.values())
    for kind, w in weights.items():
        label = f"{LABELS[kind]}, std {float(w.std()):.2f}"
        look = {"color": COLOURS[kind], "alpha": 0.75, "fill": True}
        counts, edges = np.histogram(w.numpy(), bins=161, range=(-widest, widest))
        left.stairs(counts / w.numel(), edges, label=label, **look)
        z = (w - w.mean()) / w.std()
        counts, edges = np.histogram(z.numpy(), bins=41, range=(-LIMIT, LIMIT))
        density = counts / w.numel() / (edges[1] - edges[0])
        middle = (edges[1:] + edges[:-1]) / 2
        shown = np.where(density > 0, density, np.nan)
        right.plot(middle, shown, "o-", markersize=3, color=COLOURS[kind], label=LABELS[kind])
    left.set(xlabel="weight", ylabel="share of weights per bin", title="On one ruler")
    left.legend(loc="upper right")
    shapes(right)
    right.set(title="Each on its own ruler: the shapes", ylabel="density")
    right.legend(loc="lower center", ncols=2, fontsize=8)
    headline(figure, title)
    return figure


def shapes(axis: Axes) -> None:
    """Normal and Laplace density of variance 1 on a logarithmic scale."""
    z = np.linspace(-LIMIT, LIMIT, 301)
    for name, (line, family) in SHAPES.items():
        axis.plot(z, family.pdf(z), line, linewidth=1.2, label=name)
    axis.set(yscale="log", ylim=(3e-5, 2), xlabel="weight, in standard deviations from its mean")


@styled
def forms_figure(seed: int = 0) -> Figure:
    """Curves that the learned forms can take, for a normal source of variance 1 and b = 1/√2."""
    figure, axes = panels(1, 4, height=3.0)
    z = torch.linspace(-3, 3, 1_201)
    for axis, space in zip(axes, ("z", "logit"), strict=False):
        for number, (gain, offset) in enumerate(((0.5, 0.0), (1.0, 0.0), (1.5, 0.0), (1.0, 1.0))):
            label = f"gain {gain:g}, offset {offset:g}"
            axis.plot(z, _affine(space, gain, offset, z), color=CYCLE[number], label=label)
        axis.set_title(f"affine in {space}", fontsize=10)
    axes[0].legend(loc="upper left", fontsize=7)
    torch.manual_seed(seed)
    target = make_remap("analytic")(z, 0.0, 1.0).detach()
    for remap, label, colour in (
        (BinsRemap(), "as released: random", CYCLE[7]),
        (BinsRemap().fit(z, target), "fitted", CYCLE[1]),
    ):
        axes[2].plot(z, remap(z).detach(), ".", markersize=1.5, color=colour, label=label)
    axes[2].set_title("30 bins", fontsize=10)
    axes[3].plot(z, make_remap("shift", bits=4)(z, 0.0, 1.0), ".", markersize=1.5, label="4 bits")
    axes[3].plot(z, target, color="#999999", linewidth=1, label="before rounding")
    axes[3].set_title("shift, rounded to ±2^p", fontsize=10)
    for axis in axes[2:]:
        axis.legend(loc="lower right", fontsize=7, markerscale=6)
    for axis in axes:
        axis.set(xlabel="z", ylim=(-4.5, 4.5))
    axes[2].set_ylim(-8, 4.5)  # room for the legend
    axes[0].set_ylabel("mapped weight")
    return figure


@torch.no_grad()
def _affine(space: str, gain: float, offset: float, z: Tensor) -> Tensor:
    remap = make_remap(f"affine-{space}")
    remap.get_parameter("gain").fill_(gain)
    remap.get_parameter("offset").fill_(offset)
    return remap(z, 0.0, 1.0)


@styled
def remapping_figure(records: Sequence[Record]) -> Figure:
    """Trained weights, the curve, the same weights remapped, and the borrowers' accuracies.

    Args:
        records: of one configuration of METHODS; those of laplace_advantage hold histograms.
    """
    figure, axes = panels(2, 2, height=2.9)
    for axis, method in ((axes[0], "none"), (axes[2], "analytic")):
        mine = [r for r in records if (r.metric, r.method) == ("laplace_advantage", method)]
        trained_shape(axis, mine, method)
    axes[0].set_title("Convolution weights, as trained")
    axes[2].set_title("The same weights, remapped")
    axes[2].legend(loc="lower center", fontsize=8, ncols=3)
    z = torch.linspace(-4, 4, 401)
    for method in MAPS:
        v = make_remap(method)(z, 0.0, 1.0).detach()
        axes[1].plot(z, v, color=METHOD_COLOURS[method], linewidth=2, label=NAMES[method])
    axes[1].plot(z, 0.05 * z, color=METHOD_COLOURS["none"], linewidth=2, label="as is, std 0.05")
    axes[1].set(xlabel="shared weight, in standard deviations", title="The curve, eq. 5, b = 1/√2")
    axes[1].legend(loc="upper left", fontsize=8)
    accuracies(axes[3], records)
    first = records[0]
    headline(
        figure,
        f"{first.model} on {first.dataset}: {first.settings['train_images']:,} images, "
        f"{counted(first.epochs, 'epoch')}, {counted(len({r.seed for r in records}), 'seed')}. "
        "Largest convolution",
    )
    return figure


def trained_shape(axis: Axes, records: Sequence[Record], method: str) -> None:
    """Every seed's standardised density, between the normal and the Laplace density."""
    for record in records:
        z, density = np.array([(row["z"], row["density"]) for row in record.log or []], float).T
        shown = np.where(density > 0, density, np.nan)
        axis.plot(z, shown, color=METHOD_COLOURS[method], linewidth=1, alpha=0.6)
    shapes(axis)
    advantage = np.mean([record.value for record in records])
    axis.annotate(
        f"Laplace − normal fit\n{advantage:+.3f} nats per weight".replace("-", "−"),
        (0.98, 0.96), xycoords="axes fraction", ha="right", va="top", fontsize=8,
    )  # fmt: skip
    axis.set_ylabel("density")


def accuracies(axis: Axes, records: Sequence[Record]) -> None:
    """Test accuracy of an adder network on lent weights, by their spread: seeds and their mean."""
    for method in METHODS:
        runs = [r for r in records if (r.metric, r.method) == ("best_accuracy", method)]
        look = {"color": METHOD_COLOURS[method], "label": NAMES[method]}
        if method == "none":
            spreads = [r.value for r in records if (r.metric, r.method) == ("std", method)]
            axis.plot(spreads, [r.value for r in runs], "o", markersize=4, **look)
            continue
        scans = [[(row["std"], row["accuracy"]) for row in run.log or []] for run in runs]
        x, y = np.array(scans, float).transpose(2, 1, 0)
        axis.plot(x, y, "o", markersize=4, alpha=0.5, color=METHOD_COLOURS[method])
        axis.plot(x.mean(1), y.mean(1), linewidth=2, **look)
    axis.set_xscale("log", base=4)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(ylim=(0, 102), ylabel="test accuracy (%)")
    axis.set(xlabel="standard deviation of the lent weights")
    axis.set_title("Lent to an adder network, frozen")
    axis.legend(loc="lower right", fontsize=8)
