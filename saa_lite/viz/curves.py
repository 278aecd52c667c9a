"""Learning curves: one thin line per seed, one thick line for their mean."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, counted, headline, panels, styled

QUANTITIES = (
    ("train_loss", "train loss (nats)", 1.0),
    ("test_loss", "test loss (nats)", 1.0),
    ("train_accuracy", "train accuracy (%)", 100.0),
    ("test_accuracy", "test accuracy (%)", 100.0),
)


@styled
def loss_curves(records: Sequence[Record], title: str, chance: float) -> Figure:
    """Loss and accuracy per epoch, train and test, of every method among the records.

    Args:
        records: with per-epoch logs; each method's seeds are drawn and averaged.
        title: what was trained on what, with the budget.
        chance: accuracy of guessing, in %, marked in the accuracy panels.
    """
    figure, axes = panels(2, 2, height=2.9, sharex=True)
    methods = [m for m in LABELS if any(r.method == m for r in records)]
    for axis, (name, label, factor) in zip(axes, QUANTITIES, strict=True):
        for method in methods:
            draw_method(axis, method, (r for r in records if r.method == method), name, factor)
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if "accuracy" in name:
            axis.set_xlabel("epoch")
            axis.axhline(chance, color="#555555", linewidth=1, linestyle=":")
            axis.annotate(
                "chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                fontsize=8, color="#555555",
            )  # fmt: skip
    axes[0].legend(loc="best")
    headline(figure, title)
    return figure


def draw_method(
    axis: Axes, method: str, records: Iterable[Record], quantity: str, factor: float
) -> None:
    """One method's curve of one logged quantity; epochs without a number leave a gap."""
    curves = [
        [np.nan if row.get(quantity) is None else float(row[quantity] or 0) for row in r.log]
        for r in records
        if r.log
    ]
    if not curves:
        return
    epochs = max(len(curve) for curve in curves)
    table = np.full((len(curves), epochs), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = np.asarray(curve) * factor
    x = np.arange(1, epochs + 1)
    axis.plot(x, table.T, color=COLOURS[method], linewidth=0.8, alpha=0.45)
    label = f"{LABELS[method]} ({counted(len(curves), 'seed')})"
    axis.plot(x, table.mean(0), color=COLOURS[method], linewidth=2.2, label=label)
