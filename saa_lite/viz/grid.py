"""A panel over recorded runs: how wide the augmentation is, and how much its loss counts."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, panels, styled

Cells = Mapping[tuple[float, float], str]  # (multiple, α) → method


def pairs(records: Sequence[Record], method: str, base: str) -> list[tuple[float, float]]:
    """Accuracies of ``base`` and of ``method`` in %, per seed that both have run."""
    alone, inside = ({r.seed: r.value for r in records if r.method == m} for m in (base, method))
    return [(alone[seed], inside[seed]) for seed in sorted(alone.keys() & inside.keys())]


def gains(records: Sequence[Record], method: str, base: str) -> list[float]:
    """Accuracy of ``method`` minus that of ``base``, per seed that both have run, in points."""
    return [inside - alone for alone, inside in pairs(records, method, base)]


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
    alone, inside = zip(*pairs(records, method, base), strict=True)
    return {
        "gain in points": fmean(found),
        "worst seed": min(found),
        "best seed": max(found),
        "accuracy augmented": fmean(inside),
        "accuracy alone": fmean(alone),
    }


@styled
def grid_figure(
    records: Sequence[Record], cells: Cells, base: str, multiple: str, alpha: str
) -> Figure:
    """Gains of all cells, the chosen one framed; on the right the accuracies it comes from.

    Args:
        records: accuracies that may be compared (:func:`saa_lite.items.fairness.fair`), of one
            configuration.
        cells: method of each multiple and α.
        base: method without augmentation.
        multiple, alpha: the chosen cell, as its buttons say.
    """
    chosen = cell_of(cells, multiple, alpha)
    figure, (left, right) = panels(1, 2, height=3.3, width_ratios=[1.25, 1])
    draw_gains(left, records, cells, base, chosen)
    draw_pairs(right, pairs(records, cells[chosen], base))
    shown = [
        value
        for method in cells.values()
        for pair in pairs(records, method, base)
        for value in pair
    ]
    if shown:  # the same scale for every cell
        right.set_ylim(min(shown) - 2, max(shown) + 2)
    return figure


def draw_pairs(axis: Axes, found: Sequence[tuple[float, float]]) -> None:
    """Both accuracies of every seed, joined by a line."""
    for pair in found:
        axis.plot((0, 1), pair, color="#888888", linewidth=1.2, zorder=1)
    for place, (name, colour) in enumerate({"alone": "shift", "augmented": "aug-shift"}.items()):
        values = [pair[place] for pair in found]
        axis.plot([place] * len(values), values, "o", color=COLOURS[colour], label=name)
    axis.set_xticks((0, 1), ("alone", "augmented"))
    axis.set_xlim(-0.4, 1.4)
    axis.set_title("test accuracy (%), one line per seed", fontsize=10)


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
