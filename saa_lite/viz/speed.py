"""Latencies of paired runs and their ratio."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, counted, headline, panels, styled

METHODS = ("conv", "adder")


@styled
def latency_figure(records: Sequence[Record]) -> Figure:
    """One panel per batch size: a point per seed and method, pairs joined, the ratio in the title.

    Args:
        records: of "latency_ms" with ``batch`` in their settings, methods "conv" and "adder".
    """
    batches = sorted({record.settings["batch"] for record in records})
    tables = {batch: _pairs(records, batch) for batch in batches}
    tables = {batch: table for batch, table in tables.items() if table.size}
    figure, axes = panels(1, len(tables), height=2.6)
    for axis, (batch, table) in zip(axes, tables.items(), strict=True):
        axis.plot(table, [0, 1], color="#bbbbbb", linewidth=0.8)
        for row, method in enumerate(METHODS):
            axis.plot(table[row], [row] * len(table[row]), "o", color=COLOURS[method], alpha=0.8)
        axis.set_yticks([0, 1], [LABELS[method] for method in METHODS])
        axis.set(ylim=(1.5, -0.5), xlim=(0, 1.08 * table.max()), xlabel="one forward pass (ms)")
        ratio = np.median(table[1] / table[0])
        axis.set_title(f"{counted(batch, 'image')}: adder ÷ CNN = {ratio:.1f}")
    first, pairs = records[0], max(table.shape[1] for table in tables.values())
    headline(
        figure,
        f"ResNet-20, {first.settings['image_size']}² images, {first.device}, "
        f"{counted(pairs, 'pair')} of networks",
    )
    return figure


def _pairs(records: Sequence[Record], batch: int) -> NDArray[np.float64]:
    """Latencies [2, pairs], CNN and adder, of the seeds that both methods have run."""
    runs = [
        {r.seed: r.value for r in records if (r.settings["batch"], r.method) == (batch, method)}
        for method in METHODS
    ]
    seeds = sorted(set(runs[0]) & set(runs[1]))
    return np.array([[run[seed] for seed in seeds] for run in runs])
