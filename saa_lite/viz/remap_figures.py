"""Pictures of weight remapping that need no slider: the problem, the learned forms, the item."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy import stats
from torch import Tensor

from saa_lite.augment.remap import make_remap
from saa_lite.augment.remap_bins import BinsRemap
from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, CYCLE, counted, headline, panels, styled

MAPS = ("rescale", "analytic")
METHODS = ("none", *MAPS, "random")
NAMES = {"none": "as is", "rescale": "rescaled", "analytic": "remapped", "random": "random"}
METHOD_COLOURS = {
    "none": COLOURS["conv"], "rescale": CYCLE[4], "analytic": COLOURS["adder"], "random": CYCLE[7],
}  # fmt: skip
SHAPES = {"normal": ("k--", stats.norm(0, 1)), "Laplace": ("k:", stats.laplace(0, 0.5**0.5))}
KINDS = {"conv": "convolution", "adder": "adder layer"}
PAIRS = {
    ("analytic", "rescale"): "Does the shape help?",
    ("rescale", "random"): "Do trained weights help?",
}
LIMIT = 5.0  # of standardised weights


@styled
def problem_figure(weights: Mapping[str, Tensor], title: str) -> Figure:
    """The same layer as convolution and as adder layer: on one ruler, then each on its own.

    Args:
        weights: "conv" and "adder" to weights of any shape.
    """
    figure, (left, right) = panels(1, 2, height=3.3)
    widest = 4 * max(float(w.std()) for w in weights.values())
    for kind, w in weights.items():
        label = f"{KINDS[kind]}, std {float(w.std()):.2f}"
        look = {"color": COLOURS[kind], "alpha": 0.75, "fill": True}
        counts, edges = np.histogram(w.numpy(), bins=161, range=(-widest, widest))
        left.stairs(counts / w.numel(), edges, label=label, **look)
        z = (w - w.mean()) / w.std()
        counts, edges = np.histogram(z.numpy(), bins=41, range=(-LIMIT, LIMIT))
        density = counts / w.numel() / (edges[1] - edges[0])
        middle = (edges[1:] + edges[:-1]) / 2
        shown = np.where(density > 0, density, np.nan)
        right.plot(middle, shown, "o-", markersize=3, color=COLOURS[kind], label=KINDS[kind])
    bins = f"share of weights per bin\n(bins are {2 * widest / 161:.2f} wide)"
    left.set(xlabel="weight", ylabel=bins, title="On one ruler")
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
    figure, axes = panels(1, 4, height=3.8, sharey=True)
    z = torch.linspace(-3, 3, 1_201)
    for axis, space in zip(axes, ("z", "logit"), strict=False):
        for number, (gain, offset) in enumerate(((0.5, 0.0), (1.0, 0.0), (1.5, 0.0), (1.0, 1.0))):
            label = f"gain {gain:g}, offset {offset:g}"
            axis.plot(z, _affine(space, gain, offset, z), color=CYCLE[number], label=label)
        axis.set_title(f"affine-{space}", fontsize=10)
    torch.manual_seed(seed)
    target = make_remap("analytic")(z, 0.0, 1.0).detach()
    for remap, label, colour in (
        (BinsRemap(), "as released: random", CYCLE[7]),
        (BinsRemap().fit(z, target), "fitted to remapped", CYCLE[1]),
    ):
        axes[2].plot(z, remap(z).detach(), ".", markersize=1.5, color=colour, label=label)
    axes[2].set_title("bins", fontsize=10)
    axes[3].plot(z, target, color="#999999", linewidth=1, label="remapped, to compare")
    rounded = make_remap("shift", bits=4)(z, 0.0, 1.0)
    axes[3].plot(z, rounded, ".", markersize=1.5, color=COLOURS["shift"], label="rounded to 4 bits")
    axes[3].annotate("clipped at 1", (3.1, 0.35), ha="right", fontsize=7)
    axes[3].set_title("shift", fontsize=10)
    for axis in axes:
        axis.set(xlabel="z", ylim=(-4.5, 4.5))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8, markerscale=6)
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
    """Trained weights, the curve, the same weights remapped, the borrowers' accuracies, in pairs.

    Args:
        records: of one configuration of METHODS; those of laplace_advantage hold histograms, those
            of best_accuracy the accuracy at each spread.
    """
    figure, axes = panels(3, 2, height=2.9)
    for axis, method in ((axes[0], "none"), (axes[2], "analytic")):
        mine = [r for r in records if (r.metric, r.method) == ("laplace_advantage", method)]
        trained_shape(axis, mine, method)
    axes[0].set_title("Convolution weights, as is")
    axes[2].set_title("The same weights, remapped")
    axes[2].legend(loc="lower center", fontsize=8, ncols=3)
    z = torch.linspace(-4, 4, 401)
    for method in MAPS:
        v = make_remap(method)(z, 0.0, 1.0).detach()
        axes[1].plot(z, v, color=METHOD_COLOURS[method], linewidth=2, label=NAMES[method])
    as_is = f"{NAMES['none']}, std 0.05"
    axes[1].plot(z, 0.05 * z, color=METHOD_COLOURS["none"], linewidth=2, label=as_is)
    axes[1].set(xlabel="shared weight, in standard deviations", title="The curves at b = 1/√2")
    axes[1].set_ylabel("lent weight")
    axes[1].legend(loc="upper left", fontsize=8)
    accuracies(axes[3], records)
    for axis, ((better, worse), question) in zip(axes[4:], PAIRS.items(), strict=True):
        paired_differences(axis, records, better, worse)
        axis.set_title(question)
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
        look = {"color": METHOD_COLOURS[method], "label": NAMES[method]}
        if method == "none":
            spreads = [r.value for r in records if (r.metric, r.method) == ("std", method)]
            runs = [r for r in records if (r.metric, r.method) == ("best_accuracy", method)]
            axis.plot(spreads, [r.value for r in runs], "o", markersize=4, **look)
            continue
        scan = accuracy_by_std(records, method)
        table = np.array([list(row.values()) for row in scan.values()])
        axis.plot(list(scan), table, "o", markersize=4, alpha=0.5, color=METHOD_COLOURS[method])
        axis.plot(list(scan), table.mean(1), linewidth=2, **look)
    spread_axis(axis, (0.05, 0.1, 0.2, 0.5, 1, 2, 4))
    axis.set(ylim=(0, 102), ylabel="test accuracy (%)")
    axis.set_title("Lent to an adder network, frozen")
    axis.legend(loc="center left", fontsize=8)


def paired_differences(axis: Axes, records: Sequence[Record], better: str, worse: str) -> None:
    """Accuracy of one way to lend minus another's at each spread: seeds and their mean."""
    over, under = (accuracy_by_std(records, method) for method in (better, worse))
    table = np.array([[over[s][seed] - under[s][seed] for seed in over[s]] for s in over])
    axis.axhline(0, color="k", linewidth=0.8)
    axis.plot(list(over), table, "o", markersize=5, alpha=0.6, color=METHOD_COLOURS[better])
    axis.plot(list(over), table.mean(1), "k_", markersize=18, markeredgewidth=2, label="mean")
    spread_axis(axis, tuple(over))
    axis.margins(x=0.15)
    axis.set_ylabel(f"{NAMES[better]} − {NAMES[worse]}\n(points, one dot per seed)")
    axis.legend(fontsize=8)


def accuracy_by_std(records: Sequence[Record], method: str) -> dict[float, dict[int, float]]:
    """Test accuracy in % by the spread of the lent weights, then by seed, seeds ascending."""
    runs = [r for r in records if (r.metric, r.method) == ("best_accuracy", method) and r.log]
    found: dict[float, dict[int, float]] = {}
    for run in sorted(runs, key=lambda record: record.seed):
        for row in run.log or []:
            std, accuracy = row["std"], row["accuracy"]
            assert std is not None
            assert accuracy is not None
            found.setdefault(std, {})[run.seed] = accuracy
    return found


def spread_axis(axis: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic axis of standard deviations, ticked where there is something to read."""
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("standard deviation of the lent weights")
