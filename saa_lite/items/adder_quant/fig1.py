"""Inputs and weights of one adder layer before and after quantisation, on one scale, 4 bits.

QSSF with the scale of the weights or of the activations, and redistribution with a single group as
in the figure. ``weights_clamped`` and ``inputs_clamped`` are the shares beyond the range (over
clamp), the entropies say how many of the bits carry something (bits waste). Only redistribution
compensates what it clamps. All methods read the same calibration images.
``accuracy`` is with the statistics of batch norm taken anew, as in the released code;
``accuracy_without_reestimation`` without, where any constant that is lost shows. The network before
quantisation, method ``adder``, has both numbers too; quantising costs the difference.
``logit_error`` is what quantising does to the logits, ‖change‖² / ‖logits‖² in %.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from saa_lite.items.adder_quant.networks import (
    SHIPPED,
    Network,
    Training,
    logit_error,
    trained_network,
)
from saa_lite.items.adder_quant.tab4 import unit_of
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize
from saa_lite.quantize.adder_layers import CodeUse, input_use, weight_use
from saa_lite.quantize.network import reestimate_statistics
from saa_lite.records import Record
from saa_lite.viz.style import CYCLE, counted, headline, legend_below, panels, styled

TITLES = {
    "qssf-weights": "QSSF, scale of the weights",
    "qssf-activations": "QSSF, scale of the activations",
    "redistribution": "Redistribution",
}
KINDS = {"input": "inputs X", "weight": "weights W"}
GREY = "#999999"


@styled
def code_use_figure(records: Sequence[Record], methods: Sequence[str]) -> Figure:
    """A column per method: inputs above, weights below, before and after.

    Args:
        records: of one configuration, with the logs of one seed.
    """
    figure, axes = panels(2, len(methods), height=2.9, sharex="row")
    for row, (kind, label) in enumerate(KINDS.items()):
        for column, method in enumerate(methods):
            axis = axes[row * len(methods) + column]
            _before_and_after(axis, records, kind, method)
            axis.set_xlabel(label)
            if row == 0:
                axis.set_title(f"{TITLES[method]}\n{_accuracies(records, method)}", fontsize=9)
        axes[row * len(methods)].set_ylabel("share")
    legend_below(figure, axes)
    first, seeds = records[0], counted(len({record.seed for record in records}), "seed")
    headline(
        figure,
        f"{first.model}, {first.settings['layer']}, {first.settings['bits']} bits, "
        f"{first.dataset}, {counted(first.epochs, 'epoch')}. Histograms: seed 0. Numbers: {seeds}",
    )
    return figure


def _before_and_after(axis: Axes, records: Sequence[Record], kind: str, method: str) -> None:
    """Shares on a log scale; a bin of the histogram is narrower than a code, so it holds less."""
    before = _curve(records, f"{kind}_range", "adder")
    after = _curve(records, f"{kind}_entropy", method)
    axis.fill_between(before[0], before[1], color=GREY, alpha=0.5, step="mid", label="before")
    used = after[1] > 0
    axis.vlines(after[0][used], 1e-5, after[1][used], color=CYCLE[1], lw=2.5, label="codes after")
    axis.set(yscale="log", ylim=(1e-5, 1.5))
    clamped, entropy = (
        _mean(records, name, method) for name in (f"{kind}s_clamped", f"{kind}_entropy")
    )
    axis.annotate(
        f"{clamped:.2f} % clamped\n{entropy:.2f} bits used",
        (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=8,
    )  # fmt: skip


def _accuracies(records: Sequence[Record], method: str) -> str:
    with_norm, without = (
        _mean(records, f"accuracy{end}", method) for end in ("", "_without_reestimation")
    )
    return f"{with_norm:.1f} % (old batch norm: {without:.1f} %)"


def _mean(records: Sequence[Record], metric: str, method: str) -> float:
    return float(np.mean([r.value for r in records if (r.metric, r.method) == (metric, method)]))


def _curve(records: Sequence[Record], metric: str, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and shares of the first log; both empty where there is none."""
    found = (r.log for r in records if (r.metric, r.method) == (metric, method) and r.log)
    rows = next(found, [])
    return (
        np.array([row["value"] for row in rows], float),
        np.array([row["share"] for row in rows], float),
    )


METHODS = ("qssf-weights", "qssf-activations", "redistribution")  # of the figure
MEASURED = (*METHODS, "non-negative")  # the last is ours
FULL = "adder"  # the network before quantisation
LAST = {FULL: "input_range"} | dict.fromkeys(MEASURED, "weight_entropy")  # recorded last
BINS = 60
LOGGED_SEED = 0  # whose histograms the figure shows
Row = dict[str, float | None]


@dataclass(frozen=True)
class Settings(Training):
    """The networks, the layer that is shown, and how it is quantised.

    ``more_bits``: accuracies are measured there as well.
    """

    layer: str = "stage2.1.conv1"
    bits: int = 4
    groups: int = 1
    alpha: float = 0.9992
    more_bits: tuple[int, ...] = (8,)


PROFILES = {
    "smoke": Settings(
        "digits", "lenet5_bn", 100, 50, 4, 1, batch_size=10, flip=False, layer="layer2.conv"
    ),
    "laptop": Settings(
        "digits", "resnet20", 1_297, 500, 15, 5, 16, batch_size=64, crop_padding=1, flip=False
    ),
    "full": Settings(
        "cifar100", "resnet20", 50_000, 10_000, 400, 5, batch_size=256, nesterov=False
    ),
    "shipped": Settings(**SHIPPED),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train, then quantise the same network in every way."""
    for seed in range(settings.seeds):
        units = {method: unit_of(context, settings, method, seed) for method in (FULL, *MEASURED)}
        if all(unit.done("accuracy", LAST[unit.method]) for unit in units.values()):
            continue
        network = trained_network(settings, context, "adder", seed)
        images = network.calibration(settings)
        fresh = deepcopy(network.model)
        reestimate_statistics(fresh, images)
        exact = network.logits(fresh)
        full = unit_of(context, settings, FULL, seed)
        yield _tested(full, "accuracy", network, exact)
        yield from _before(full, settings, network, images)
        for method in MEASURED:
            unit = unit_of(context, settings, method, seed)
            yield from _after(unit, settings, network, images, exact)


def _before(
    unit: Unit, settings: Settings, network: Network, images: list[Tensor]
) -> Iterator[Record]:
    read = layer_input(network.model, settings.layer, images[0])
    weight = network.model.get_submodule(settings.layer).get_parameter("weight").detach()
    yield _tested(unit, "accuracy_without_reestimation", network, network.logits())
    for name, numbers in (("weight", weight), ("input", read)):
        log = _histogram(numbers) if unit.seed == LOGGED_SEED else None
        yield unit.record(f"{name}_range", numbers.abs().max().item(), "", log=log)


def _after(
    unit: Unit, settings: Settings, network: Network, images: list[Tensor], exact: Tensor
) -> Iterator[Record]:
    def quantized(bits: int) -> nn.Module:
        return quantize(
            network.model,
            images,
            method=unit.method,
            bits=bits,
            groups=settings.groups,
            alpha=settings.alpha,
            reestimate=False,
        )

    for bits in settings.more_bits:
        fresh = quantized(bits)
        reestimate_statistics(fresh, images)
        yield _tested(unit, f"accuracy_{bits}_bits", network, network.logits(fresh))
    old = quantized(settings.bits)
    fresh = deepcopy(old)
    reestimate_statistics(fresh, images)
    logits = network.logits(fresh)
    yield _tested(unit, "accuracy", network, logits)
    yield unit.record("logit_error", logit_error(logits, exact), "%")
    yield _tested(unit, "accuracy_without_reestimation", network, network.logits(old))
    read = layer_input(network.model, settings.layer, images[0])
    yield from _codes(unit, old.get_submodule(settings.layer), read)


def _tested(unit: Unit, metric: str, network: Network, logits: Tensor) -> Record:
    return unit.record(metric, network.accuracy(logits), "%", hits=network.hits(logits))


def _codes(unit: Unit, layer: nn.Module, read: Tensor) -> Iterator[Record]:
    """Over clamp and bits waste of one layer with a single group.

    Args:
        read: what the layer of the full-precision network reads, which is what the codes were
            made for. The quantised network's layers before it put out something else.
    """
    (inputs,), (weights,) = input_use(layer, read), weight_use(layer)  # type: ignore[arg-type]
    for kind, used in (("input", inputs), ("weight", weights)):
        log = _shares(used) if unit.seed == LOGGED_SEED else None
        yield unit.record(f"{kind}s_clamped", 100 * used.clamped, "%")
        yield unit.record(f"{kind}_entropy", used.entropy, "bits", log=log)


@torch.no_grad()
def layer_input(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """What a layer reads when the network, in evaluation mode, sees the images."""
    seen: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda layer, args: seen.append(args[0].detach())
    )
    try:
        model.eval()(images)
    finally:
        handle.remove()
    return seen[0]


def _histogram(numbers: Tensor) -> list[Row]:
    """Centre and share of equally wide bins."""
    values = numbers.detach().float().cpu().flatten()
    counts, edges = torch.histogram(values, BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    return _rows(centres, counts / len(values))


def _shares(used: CodeUse) -> list[Row]:
    return _rows(used.values.cpu(), used.shares.cpu())


def _rows(values: Tensor, shares: Tensor) -> list[Row]:
    pairs = zip(values.tolist(), shares.tolist(), strict=True)
    return [{"value": value, "share": share} for value, share in pairs]


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Histograms of the package's own network, or of the largest budget; no number is printed."""
    shipped = [record for record in records if record.settings.get("weights")]
    chosen = one_configuration(shipped or records, "weight_entropy", METHODS)
    return code_use_figure(chosen, METHODS)


ITEM = built("adder-quant/fig1", profiles=PROFILES, run=run, draw=draw)
