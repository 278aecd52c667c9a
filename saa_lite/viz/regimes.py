"""Dose and response: what augmentation changes, against how far the network overfits without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes

from saa_lite.records import Record
from saa_lite.viz.pixels import Figure
from saa_lite.viz.style import COLOURS, CYCLE, WIDTH, headline, legend_below, panels, styled

LABELS = {"netaug": "NetAug − CNN (positive control)", "aug-shift": "AugShift − Shift"}
MARKERS = {"netaug": "s", "aug-shift": "o"}
DODGE = 0.35  # points of gap between markers that would lie on each other


@dataclass(frozen=True)
class Response:
    """One contrast in one regime.

    Attributes:
        regime: its letter.
        gaps: training minus test accuracy of the network alone, in points, per seed.
        values: per seed, augmented minus alone, in points of test accuracy.
        interval: 95 %, or None as long as seeds are missing.
        asked: how many seeds there are to be.
        gates_met: whether the conditions hold under which it says something of the method.
    """

    regime: str
    gaps: tuple[float, ...]
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    asked: int = 0
    gates_met: bool = True

    @property
    def gap(self) -> float:
        """Mean over seeds."""
        return fmean(self.gaps)

    @property
    def named(self) -> str:
        """The regime, how many of its seeds are there as long as some are missing, what fails."""
        seeds = len(self.values)
        part = f", {seeds} of {self.asked} seeds" if seeds < self.asked else ""
        return self.regime + part + ("" if self.gates_met else ", a gate is not met")


@styled
def response_figure(
    responses: Mapping[str, Sequence[Response]],
    title: str,
    expected: float | None = None,
    notes: Mapping[str, str] | None = None,
) -> Figure:
    """Left networks underfit, right they overfit; above 0 augmentation helped.

    Hollow where a gate is not met: a number, but no test of the method.

    Args:
        responses: by augmented arm.
        expected: the gain that the source prints, drawn as a dashed line.
        notes: what the legend says of an augmented arm beside its name.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axis = figure.add_subplot()
    axis.axhline(0, color="#333333", linewidth=1)
    if expected is not None:
        axis.axhline(expected, color=COLOURS["published"], linestyle="--", linewidth=1)
        axis.annotate(f"published gain, {expected:+.2f}", (1, expected), ha="right", va="bottom",
                      xycoords=("axes fraction", "data"), fontsize=9)  # fmt: skip
    for i, (arm, found) in enumerate(responses.items()):
        colour, shift = COLOURS[arm], (i - (len(responses) - 1) / 2) * DODGE
        for response in found:
            x = response.gap + shift
            mean = sum(response.values) / len(response.values)
            seeds = [x] * len(response.values)
            axis.scatter(seeds, response.values, s=12, color=colour, alpha=0.4)
            if response.interval is not None:
                axis.plot([x, x], response.interval, color=colour, linewidth=2)
            axis.plot(x, mean, MARKERS.get(arm, "D"), color=colour, markersize=7,
                      markerfacecolor=colour if response.gates_met else "white")  # fmt: skip
            place = (8, 12 if shift < 0 else -14)  # points; arms are close together in one regime
            axis.annotate(f"regime {response.named}", (x, mean), place, va="center",
                          textcoords="offset points", fontsize=9, color=colour)  # fmt: skip
        name = LABELS.get(arm, arm) + (notes or {}).get(arm, "")
        axis.plot([], [], MARKERS.get(arm, "D"), color=colour, markersize=7, label=name)
    axis.set_xlabel("generalisation gap of the network alone: training − test accuracy, points")
    axis.set_ylabel("augmented − alone,\npoints of test accuracy")
    if responses:
        gaps = [response.gap for found in responses.values() for response in found]
        axis.set_xlim(min(0, *gaps) - 3, max(gaps) + 8)  # one regime alone is not spread out
        axis.legend(loc="best")
    else:
        axis.set(xlim=(0, 60), ylim=(-3, 3))  # what the regimes are expected to span
        axis.annotate("no seed of a regime has both arms of a pair yet", (0.5, 0.5), ha="center",
                      xycoords="axes fraction", color=COLOURS["published"])  # fmt: skip
    headline(figure, title)
    return figure


@styled
def accounts_figure() -> Figure:
    """What two accounts of the gain predict, and what no effect looks like: a sketch, no data."""
    figure, (axis,) = panels(1, 1, height=3.0)
    axis.axhline(0, color="#333333", linewidth=1)
    accounts = {
        "NetAug's: more supervision, which helps where a network underfits": (1, -1, CYCLE[0]),
        "a regulariser's: it helps where a network learns by heart": (-1, 1, CYCLE[3]),
        "neither: nothing happens anywhere": (0.03, 0.03, "#777777"),
    }
    for text, (left, right, colour) in accounts.items():
        axis.plot((0, 1), (left, right), color=colour, linewidth=3, label=text)
    for place, letter in enumerate("UMO"):
        axis.annotate(letter, (place / 2, -1.35), ha="center", fontsize=12)
    axis.set_xlim(-0.1, 1.1)
    axis.set_ylim(-1.5, 1.3)
    axis.set_xticks((0, 1), ("underfits: no gap", "learns by heart: wide gap"))
    axis.set_yticks((-1, 0, 1), ("harms", "0", "helps"))
    axis.set_xlabel("generalisation gap of the network alone")
    axis.set_ylabel("augmented − alone")
    legend_below(figure, [axis], columns=1)
    return figure


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
        records: accuracies that may be compared (:func:`saa_lite.items.select.fair`), of one
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
