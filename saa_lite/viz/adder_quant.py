"""Panels of adder quantisation: the lossless clamp by hand, and one layer of a trained network.

The second quantises the whole network anew at every move, so its accuracy is a real one; the
pictures are of one layer.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from saa_lite.published import PublishedNumber
from saa_lite.quantize import group_filters, lossless_clamp, quantize, to_integer
from saa_lite.quantize.adder_layers import CodeUse, QuantizedAdder, input_use, weight_use
from saa_lite.records import Record
from saa_lite.viz.style import (
    COLOURS,
    CYCLE,
    PUBLISHED,
    counted,
    headline,
    legend_below,
    panels,
    styled,
)

METHODS = ("qssf-weights", "qssf-activations", "redistribution", "non-negative")
GREY = "#999999"
LIMIT = 4.0  # of the clamp's axes
BINS = 80


def clamp_numbers(w: float, S: float, x: float) -> dict[str, float]:
    """|x − w| for one input, and the same by way of the clamped weight."""
    clipped, excess = _clamped(w, S)
    return {
        "|x − w|": abs(x - w),
        "clip(w)": clipped,
        "excess": excess,
        "|x − clip(w)| + excess": abs(x - clipped) + excess,
        "difference": abs(x - clipped) + excess - abs(x - w),
    }


def _clamped(w: float, S: float) -> tuple[float, float]:
    bound = torch.tensor([S], dtype=torch.float64)
    clipped, excess = lossless_clamp(torch.tensor([[w]], dtype=torch.float64), -bound, bound)
    return clipped.item(), excess.item()


@styled
def clamp_figure(w: float, S: float, x: float) -> Figure:
    """Both distances over all inputs: one curve within ±S, two beyond."""
    figure, (axis,) = panels(1, 1, height=3.4)
    inputs = np.linspace(-LIMIT, LIMIT, 401)
    clipped, excess = _clamped(w, S)
    axis.axvspan(-S, S, color=GREY, alpha=0.2, label="|x| ≤ S")
    axis.plot(inputs, abs(inputs - w), color=CYCLE[0], lw=5, alpha=0.4, label="|x − w|")
    axis.plot(inputs, abs(inputs - clipped) + excess, "--", color="k", label="clamped + excess")
    axis.plot(inputs, abs(inputs - clipped), color=CYCLE[1], label="|x − clip(w)| alone")
    axis.plot([x, x], [abs(x - w), abs(x - clipped) + excess], "o-", color=CYCLE[3])
    for value, name, colour in ((w, "w", CYCLE[0]), (clipped, "clip(w)", CYCLE[1])):
        axis.plot(value, 0, "v", color=colour, markersize=9, clip_on=False)
        axis.annotate(name, (value, 0), (0, 8), textcoords="offset points", ha="center", fontsize=9)
    axis.set(xlabel="input x", ylabel="distance", xlim=(-LIMIT, LIMIT), ylim=(0, 2 * LIMIT))
    axis.legend(loc="upper center", ncols=4, fontsize=9)
    return figure


class State(NamedTuple):
    """One setting: the quantised layer, the network's accuracy in %, code use per group."""

    layer: QuantizedAdder
    accuracy: float
    inputs: tuple[CodeUse, ...]
    weights: tuple[CodeUse, ...]


class LayerView:
    """A trained adder network, looked at through one of its layers.

    Args:
        model: the network; stays as it is.
        name: of an adder layer in it.
        calibration: batches of images.
        images, labels: what accuracy is measured on.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        calibration: Sequence[Tensor],
        images: Tensor,
        labels: Tensor,
    ) -> None:
        self.model, self.name, self.calibration = model.eval(), name, list(calibration)
        self.images, self.labels = images, labels
        self.read = self._read()
        self.state = lru_cache(maxsize=512)(self._state)

    @torch.no_grad()
    def _read(self) -> Tensor:
        """What the layer is given on the first calibration batch."""
        seen: list[Tensor] = []
        layer = self.model.get_submodule(self.name)
        handle = layer.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
        self.model(self.calibration[0])
        handle.remove()
        return seen[0].clone()

    @torch.no_grad()
    def _state(self, method: str, bits: float, groups: float, alpha: float) -> State:
        quantized = quantize(
            self.model,
            self.calibration,
            method=method,
            bits=int(bits),
            groups=int(groups),
            alpha=alpha,
        )
        right = to_integer(quantized)(self.images).argmax(1) == self.labels
        layer = quantized.get_submodule(self.name)
        assert isinstance(layer, QuantizedAdder)
        return State(
            layer,
            100 * right.double().mean().item(),
            tuple(input_use(layer, self.read)),
            tuple(weight_use(layer)),
        )

    def numbers(self, method: str, bits: float, groups: float, alpha: float) -> dict[str, float]:
        """Accuracy of the network; of the layer, shares clamped and bits that carry something.

        Of inputs every group has its own codes; the mean over groups is given.
        """
        state = self.state(method, bits, groups, alpha)
        weight_of_group = torch.bincount(state.layer.group_of).double()
        share = (weight_of_group / weight_of_group.sum()).tolist()

        def mean(values: list[float]) -> float:
            return sum(a * b for a, b in zip(share, values, strict=True))

        return {
            "accuracy %": state.accuracy,
            "X clamped %": mean([100 * use.clamped for use in state.inputs]),
            "W clamped %": mean([100 * use.clamped for use in state.weights]),
            "X bits used": mean([use.entropy for use in state.inputs]),
            "W bits used": mean([use.entropy for use in state.weights]),
            "codes used X": mean([float((use.shares > 0).sum()) for use in state.inputs]),
            "codes used W": mean([float((use.shares > 0).sum()) for use in state.weights]),
            "roundings of X": float(len(state.inputs)),  # what groups cost, even where idle
        }

    @styled
    def figure(self, method: str, bits: float, groups: float, alpha: float) -> Figure:
        """Inputs, weights and the ranges of the filters, each group in its colour."""
        state = self.state(method, bits, groups, alpha)
        figure, (inputs, weights, ranges) = panels(1, 3, height=3.3)
        weight = state.layer.weight.detach()
        _before_and_after(inputs, self.read, state.inputs, "inputs X")
        _before_and_after(weights, weight, state.weights, "weights W")
        _ranges(ranges, weight, state.layer, self.read.abs().max().item())
        inputs.set_ylabel("share")
        legend_below(figure, (inputs, ranges), columns=5)
        return figure


def _before_and_after(axis: Axes, before: Tensor, after: Sequence[CodeUse], label: str) -> None:
    """Density of the numbers in grey, behind it the codes of each group."""
    shares, edges = np.histogram(before.numpy(), bins=BINS)
    axis.stairs(shares / before.numel(), edges, color=GREY, fill=True, alpha=0.5, label="before")
    for group, use in enumerate(after):
        used = use.shares > 0
        axis.vlines(use.values[used], 1e-5, use.shares[used], color=CYCLE[group % 10], lw=2)
    axis.plot([], [], color="k", lw=2, label="codes (a colour per group)")
    axis.set(xlabel=label, yscale="log", ylim=(1e-5, 1.5), title=label)


def _ranges(axis: Axes, weight: Tensor, layer: QuantizedAdder, greatest: float) -> None:
    """max|w| per filter, ascending; the range S of its group; the largest input."""
    _grouped(axis, weight, layer.group_of, layer.bound.tolist())
    axis.axhline(greatest, color="k", ls=":", label="largest input")
    axis.plot([], [], "o", color="k", markersize=4, label="largest |w| of a filter")
    axis.plot([], [], color="k", lw=2.5, label="range S of its group")
    axis.set(title="ranges", ylim=(0, None))


def _grouped(axis: Axes, weight: Tensor, group_of: Tensor, bounds: Sequence[float]) -> None:
    sizes = weight.abs().flatten(1).amax(1)
    order = sizes.argsort()
    places = np.arange(len(order))
    for group, bound in enumerate(bounds):
        mine = (group_of[order] == group).numpy()
        colour = CYCLE[group % 10]
        axis.plot(places[mine], sizes[order].numpy()[mine], "o", color=colour, markersize=4)
        if mine.any():
            ends = places[mine][[0, -1]] + np.array([-0.5, 0.5])
            axis.plot(ends, [bound, bound], color=colour, lw=2.5)
    axis.set_xlabel("filters, sorted")


@styled
def groups_figure(weights: Mapping[str, Tensor], groups: int) -> Figure:
    """max|w| of every filter, sorted, and the greatest of its group, for several layers.

    Args:
        weights: name → weights [T, ...].
    """
    figure, axes = panels(1, len(weights), height=2.9, sharey=True)
    for axis, (name, weight) in zip(axes, weights.items(), strict=True):
        sizes = weight.abs().flatten(1).amax(1)
        labels = group_filters(sizes, groups)
        bounds = [sizes[labels == group].max().item() for group in range(int(labels.max()) + 1)]
        _grouped(axis, weight, labels, bounds)
        axis.set_title(f"{name}, {len(weight)} filters", fontsize=10)
    axes[0].set(ylabel="max |w| of a filter", ylim=(0, None))
    return figure


FULL = "adder"  # the network before quantisation
ERROR = "logit_error"


@styled
def sweep_figure(
    records: Sequence[Record], published: Sequence[PublishedNumber], protocols: Mapping[str, str]
) -> Figure:
    """Left: as printed. Middle: what each protocol costs here. Right: the error of the logits.

    Args:
        records: of one configuration, methods "adder" and "alpha …".
        protocols: metric → name.
    """
    figure, (left, middle, right) = panels(1, 3, height=3.3)
    rows = [number for number in published if not number.related]
    alphas = [float(number.row.removeprefix("alpha ")) for number in rows]
    places = range(len(alphas))
    left.plot(places, [n.value or math.nan for n in rows], color=COLOURS["published"], **PUBLISHED)
    left.set(title="Published, CIFAR-100", ylabel="accuracy (%)")
    for colour, (metric, name) in zip(CYCLE, protocols.items(), strict=False):
        _seeds(middle, records, metric, [n.row for n in rows], colour, name)
    middle.axhline(0, color="k", lw=0.8)
    middle.set(title="Here: change by quantising", ylabel="points")
    middle.set_yscale("symlog", linthresh=1)  # tenths with fresh statistics, tens without
    middle.yaxis.set_major_formatter("{x:g}")
    middle.set_ylim(bottom=-100)
    middle.legend(fontsize=8)
    _seeds(right, records, ERROR, [n.row for n in rows], CYCLE[3], "")
    right.set(title="Here: error of the logits", ylabel="%")
    for axis in (left, middle, right):
        axis.set_xticks(places, [f"{alpha:.4f}" for alpha in alphas])
        axis.set_xlabel("α")
    first = records[0]
    seeds = counted(len({record.seed for record in records}), "seed")
    headline(figure, f"{first.model}, {first.dataset}, {first.epochs} epochs, 4 bits, {seeds}")
    return figure


def _seeds(
    axis: Axes,
    records: Sequence[Record],
    metric: str,
    methods: Sequence[str],
    colour: str,
    label: str,
) -> None:
    """A thin line per seed and the mean in bold; minus full precision where that is measured."""
    value = {(r.method, r.seed): r.value for r in records if r.metric == metric}
    base = {seed: value[name, seed] for name, seed in value if name == FULL}
    lines = [
        [value[method, seed] - base[seed] for method in methods]
        for seed in sorted(base)
        if all((method, seed) in value for method in methods)
    ]
    for line in lines:
        axis.plot(range(len(methods)), line, color=colour, lw=0.8, alpha=0.4)
    if lines:
        mean = [sum(column) / len(lines) for column in zip(*lines, strict=True)]
        axis.plot(range(len(methods)), mean, "o-", color=colour, label=label)
