"""Latencies of paired runs and their ratio."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, counted, panels, styled

METHODS = ("conv", "adder")


@styled
def latency_figure(records: Sequence[Record]) -> Figure:
    """One panel per batch size: a point per seed and method, pairs joined, the ratio in the title.

    Args:
        records: of "latency_ms" with ``batch`` in their settings, methods "conv" and "adder".
    """
    batches = sorted({record.settings["batch"] for record in records})
    figure, axes = panels(1, len(batches), height=2.6)
    for axis, batch in zip(axes, batches, strict=True):
        mine = [record for record in records if record.settings["batch"] == batch]
        runs = [{r.seed: r.value for r in mine if r.method == method} for method in METHODS]
        seeds = sorted(set(runs[0]) & set(runs[1]))
        table = np.array([[run[seed] for seed in seeds] for run in runs])  # [2, seeds]
        axis.plot(table, [0, 1], color="#bbbbbb", linewidth=0.8)
        for row, method in enumerate(METHODS):
            axis.plot(table[row], [row] * len(seeds), "o", color=COLOURS[method], alpha=0.8)
        axis.set_yticks([0, 1], [LABELS[method] for method in METHODS])
        axis.set(ylim=(1.5, -0.5), xlim=(0, 1.08 * table.max()), xlabel="one forward pass (ms)")
        ratio = np.median(table[1] / table[0])
        axis.set_title(f"{counted(batch, 'image')}: adder ÷ CNN = {ratio:.1f}")
    first = records[0]
    figure.suptitle(
        f"ResNet-20, {first.settings['image_size']}² images, {first.device}, "
        f"{counted(len(seeds), 'pair')} of networks",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    return figure
