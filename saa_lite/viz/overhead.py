"""What group scales cost: the overhead r over channels, map size and groups, and its panel."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from saa_lite.costs.group_overhead import overhead, overhead_of_four
from saa_lite.records import Record
from saa_lite.viz.panel import Slider
from saa_lite.viz.style import CYCLE, panels, styled

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
