"""A panel over recorded runs: how wide the augmentation is, and how much its loss counts."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, panels, styled

Cells = Mapping[tuple[float, float], str]  # (multiple, α) → method


def gains(records: Sequence[Record], method: str, base: str) -> list[float]:
    """Accuracy of ``method`` minus that of ``base``, per seed that both have run, in points."""
    runs = [{r.seed: r.value for r in records if r.method == name} for name in (method, base)]
    return [runs[0][seed] - runs[1][seed] for seed in sorted(runs[0].keys() & runs[1].keys())]


def cell_of(cells: Cells, multiple: str, alpha: str) -> tuple[float, float]:
    """The grid's position that two buttons name."""
    position = (float(multiple), float(alpha))
    if position not in cells:
        raise KeyError(f"no runs at multiple {multiple} and α {alpha}")
    return position


def grid_numbers(
    records: Sequence[Record], cells: Cells, base: str, multiple: str, alpha: str
) -> Mapping[str, float]:
    """Mean gain over direct training, its worst and best seed, and both accuracies; {} if none.

    The accuracies are of the seeds that both have, so that their difference is the gain.
    """
    method = cells[cell_of(cells, multiple, alpha)]
    if not (found := gains(records, method, base)):
        return {}
    runs = {name: {r.seed: r.value for r in records if r.method == name} for name in (method, base)}
    both = runs[method].keys() & runs[base].keys()
    shown = {name: [values[seed] for seed in both] for name, values in runs.items()}
    return {
        "gain in points": fmean(found),
        "worst seed": min(found),
        "best seed": max(found),
        "accuracy augmented": fmean(shown[method]),
        "accuracy alone": fmean(shown[base]),
    }


@styled
def grid_figure(
    records: Sequence[Record], cells: Cells, base: str, multiple: str, alpha: str
) -> Figure:
    """Gains of all cells, the chosen one framed; on the right its curves against the base's.

    Args:
        records: metric "accuracy" with a log per epoch, of one configuration.
        cells: method of each multiple and α.
        base: method without augmentation.
        multiple, alpha: the chosen cell, as its buttons say.
    """
    chosen = cell_of(cells, multiple, alpha)
    figure, (left, right) = panels(1, 2, height=3.3, width_ratios=[1, 1.25])
    draw_gains(left, records, cells, base, chosen)
    for name, colour in ((base, COLOURS["shift"]), (cells[chosen], COLOURS["aug-shift"])):
        label = "alone" if name == base else "augmented"
        for record in (r for r in records if r.method == name and r.log):
            values = [100 * float(row["test_accuracy"] or 0) for row in record.log or []]
            shown = label if record.seed == 0 else f"_{label}"
            right.plot(range(1, len(values) + 1), values, color=colour, alpha=0.7, label=shown)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("epoch")
    right.set_title("test accuracy (%), one line per seed", fontsize=10)
    right.legend(loc="lower right")
    return figure


def draw_gains(
    axis: Axes,
    records: Sequence[Record],
    cells: Cells,
    base: str,
    chosen: tuple[float, float],
) -> None:
    """A table in colours: rows are multiples, columns are α."""
    multiples, alphas = (sorted({cell[k] for cell in cells}) for k in (0, 1))
    found = {cell: gains(records, method, base) for cell, method in cells.items()}
    table = np.array(
        [[fmean(found[m, a]) if found.get((m, a)) else np.nan for a in alphas] for m in multiples]
    )
    limit = float(np.nanmax(np.abs(table))) if np.isfinite(table).any() else 1.0
    axis.imshow(table, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        text = "not run" if np.isnan(value) else f"{value:+.1f}"
        frame = "black" if (multiples[i], alphas[j]) == chosen else "none"
        box = {"fc": "white", "ec": frame, "pad": 4}
        axis.annotate(text, (j, i), ha="center", va="center", fontsize=10, bbox=box)
    axis.grid(False)
    axis.set_xticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    axis.set_yticks(range(len(multiples)), [f"{m:g}×" for m in multiples])
    axis.set_xlabel("α")
    axis.set_ylabel("width and expansion, up to")
    axis.set_title("gain over training alone (points)", fontsize=10)
