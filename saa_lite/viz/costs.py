"""Where a network's costs lie: bars per layer, and the split into arithmetic and memory.

Operations counted, and what groups of scales add to them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.costs import ACCOUNTINGS, KINDS, Costs, LayerCost
from saa_lite.costs.row_stationary import overhead, overhead_of_four
from saa_lite.records import Record
from saa_lite.viz.panel import Slider
from saa_lite.viz.style import CYCLE, counted, panels, styled

KIND_COLOURS = dict(zip(KINDS, (CYCLE[0], CYCLE[1], CYCLE[2], CYCLE[4]), strict=True))
PARTS = ("arithmetic", "memory")
FEW = 10  # layers whose names fit beside each other
TITLES = {
    "A": "A: as the simulator charges",
    "B": "B: honest operations, same memory",
    "C": "C: true bit widths",
}


@styled
def layers_figure(costs: Costs, title: str, accounting: str = "B") -> Figure:
    """One bar per layer: operations by kind above, energy split into two parts below."""
    layers = [layer for layer in costs.layers if layer.products]
    figure, (above, below) = panels(2, 1, height=2.6, sharex=True)
    _stacked(above, {kind: [layer.count(kind) / 1e6 for layer in layers] for kind in KINDS})
    above.set_ylabel("operations (M)")
    above.set_title(f"{title}: {costs.taps / 1e6:,.2f} M taps in {counted(len(layers), 'layer')}")
    parts = _energies(layers, accounting)
    for (name, values), colour in zip(parts.items(), (CYCLE[3], "#bbbbbb"), strict=True):
        bottom = parts["arithmetic"] if name == "memory" else 0
        below.bar(range(len(layers)), values, bottom=bottom, color=colour, label=name)
    below.set_ylabel(f"energy, {accounting} (mJ)")
    if len(layers) > FEW:  # names would be too small to read
        below.set_xticks(range(0, len(layers), 5), [str(i + 1) for i in range(0, len(layers), 5)])
        below.set_xlabel(f"layer: 1 is {layers[0].name}, {len(layers)} is {layers[-1].name}")
    else:
        below.set_xticks(range(len(layers)), [x.name or "(network)" for x in layers], fontsize=9)
        for axis in (above, below):
            _totals(axis)
    for axis in (above, below):
        axis.legend(fontsize=8)
        axis.grid(visible=False, axis="x")
    return figure


def _stacked(axis: Axes, series: Mapping[str, Sequence[float]]) -> None:
    bottom = np.zeros(len(next(iter(series.values()))))
    for kind, values in series.items():
        if any(values):
            places = range(len(values))
            axis.bar(places, values, bottom=bottom, color=KIND_COLOURS[kind], label=kind)
            bottom = bottom + np.array(values)


def _totals(axis: Axes) -> None:
    """The sum of each stack above it, as one layer may be too small to be seen beside another."""
    tops: dict[float, float] = {}
    for bar in (bar for bars in axis.containers for bar in bars):
        middle, top = bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height()
        tops[middle] = max(top, tops.get(middle, 0.0))
    for middle, top in tops.items():
        if np.isfinite(top):
            axis.text(middle, top, f"{top:.2g}", ha="center", va="bottom", fontsize=8)
    axis.margins(y=0.12)


def _energies(layers: Sequence[LayerCost], accounting: str) -> dict[str, np.ndarray]:
    """Arithmetic and memory energy per layer; NaN where the accounting has no rule."""
    priced = [layer.energy(accounting) for layer in layers]
    pairs = [(e.compute, e.memory) if e else (np.nan, np.nan) for e in priced]
    return dict(zip(PARTS, np.array(pairs).T, strict=True))


@styled
def accountings_figure(networks: Mapping[str, Costs]) -> Figure:
    """Energy of several networks under A, B and C, split into arithmetic and memory."""
    figure, axes = panels(1, 3, height=3.2, sharey=True)
    for axis, accounting in zip(axes, ACCOUNTINGS, strict=True):
        for place, costs in enumerate(networks.values()):
            energy = costs.energy(accounting)
            if energy is None:
                axis.annotate("no rule", (place, 0), ha="center", va="bottom", fontsize=8)
                continue
            axis.bar(place, energy.compute, color=CYCLE[3], label="arithmetic")
            axis.bar(place, energy.memory, bottom=energy.compute, color="#bbbbbb", label="memory")
            axis.annotate(f"{energy.total:.2f}", (place, energy.total), ha="center", va="bottom",
                          fontsize=8)  # fmt: skip
        axis.set_xticks(range(len(networks)), list(networks), rotation=20, fontsize=8)
        axis.set_title(TITLES[accounting], fontsize=9.5)
        axis.set_xlim(-0.6, len(networks) - 0.4)
        axis.grid(visible=False, axis="x")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles[:2], labels[:2], fontsize=8, ncols=2, loc="outside lower center")
    axes[0].set_ylabel("energy per image (mJ)")
    return figure


CHANNELS = np.geomspace(4, 512, 60)
TICKS = (4, 16, 64, 256)
PERCENT = (0.01, 0.1, 1, 10)
CONTROLS = {
    "channels": Slider(4, 512, 4, 16, "channels c"),
    "size": Slider(1, 64, 1, 32, "map size k"),
    "groups": Slider(1, 16, 1, 4, "groups g"),
}


@styled
def overhead_figure(records: Sequence[Record]) -> Figure:
    """r for several group counts on the left; exact and simplified for four groups on the right.

    Args:
        records: of "network_overhead", the log holding one row per layer of a network.
    """
    figure, (left, right) = panels(1, 2, height=3.6)
    for colour, groups in zip(CYCLE, (2, 4, 8, 16), strict=False):
        left.plot(
            CHANNELS, 100 * overhead(CHANNELS, 32, groups), color=colour, label=f"g = {groups}"
        )
    left.set_title("r on 32 × 32 maps")
    for colour, size in zip(CYCLE, (1, 4, 32), strict=False):
        values = 100 * overhead(CHANNELS, size, 4)
        right.plot(CHANNELS, values, color=colour, label=f"k = {size}")
    right.plot(CHANNELS, 100 * overhead_of_four(CHANNELS), "k:", label="1/(6c + 1)")
    for record in records:
        rows = record.log or []
        points = [(row["channels"], row["overhead"]) for row in rows]
        right.plot(*zip(*points, strict=True), "o", color="k", markerfacecolor="none",
                   label=f"layers of {record.model}")  # fmt: skip
    right.set_title("r for four groups")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log", xlabel="channels c", ylabel="added operations (%)")
        axis.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axis.set_yticks(PERCENT, [f"{tick:g}" for tick in PERCENT])
        axis.minorticks_off()
        axis.legend(fontsize=8)
    return figure


def overhead_numbers(channels: float, size: float, groups: float) -> dict[str, float]:
    """r in %, and the operations behind it in thousands, for one layer."""
    added = (groups - 1) * size**2 * channels
    once = 18 * size**2 * channels**2 + 9 * channels**2 + 4 * size**2 * channels
    return {
        "r in %": 100 * overhead(channels, size, groups),
        "one scale, thousand": once / 1e3,
        "added, thousand": added / 1e3,
    }


@styled
def overhead_point_figure(channels: float, size: float, groups: float) -> Figure:
    """r against each of its three arguments, the other two held where they are."""
    figure, axes = panels(1, 3, height=2.9, sharey=True)
    sizes, counts = np.arange(1, 65), np.arange(1, 17)
    curves = (
        ("channels c", CHANNELS, overhead(CHANNELS, size, groups), channels),
        ("map size k", sizes, overhead(channels, sizes, groups), size),
        ("groups g", counts, overhead(channels, size, counts), groups),
    )
    here = 100 * overhead(channels, size, groups)
    for axis, colour, (label, x, r, now) in zip(axes, CYCLE, curves, strict=False):
        axis.plot(x, 100 * r, color=colour)
        axis.plot(now, here, "o", color="k")
        axis.set(xlabel=label, ylim=(0, max(1.0, 1.5 * here)))
    axes[0].set_ylabel("added operations (%)")
    axes[0].set_title(f"r = {here:.3f} %")
    return figure
