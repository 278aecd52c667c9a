"""Numbers of a layer before quantisation, and the codes that stand for them after it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
