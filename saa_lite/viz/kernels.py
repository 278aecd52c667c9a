"""First-layer filters as pictures, third-layer weights as distributions."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, counted, headline, legend_below, panels, styled

TAPS, DENSITY = "neighbour_correlation", "laplace_advantage"  # whose logs hold what is drawn
SIDE = 5


@styled
def kernels_figure(records: Sequence[Record]) -> Figure:
    """Upper row: first-layer filters, start and trained. Lower row: third-layer weights.

    Args:
        records: of one configuration, methods "conv" and "adder".
    """
    figure, axes = panels(2, 2, height=3.05, height_ratios=(1, 1.35))
    for column, method in enumerate(("conv", "adder")):
        mine = [record for record in records if record.method == method]
        taps = next((r.log for r in mine if r.metric == TAPS and r.log), None)
        if taps:
            filters(axes[column], {k: np.array([row[k] for row in taps], float) for k in taps[0]})
        axes[column].set_title(f"{LABELS[method]}: first-layer filters")
        distributions(axes[2 + column], mine, method)
        axes[2 + column].set_title(f"{LABELS[method]}: third-layer weights")
    axes[2].set_ylabel("density")
    legend_below(figure, axes[2:])
    first, seeds = records[0], counted(len({record.seed for record in records}), "seed")
    headline(
        figure,
        f"LeNet-5-BN on {first.dataset}: {first.settings['train_images']:,} images, "
        f"{counted(first.epochs, 'epoch')}. Filters: seed 0. Distributions: {seeds}",
    )
    return figure


def filters(axis: Axes, taps: dict[str, NDArray[np.float64]]) -> None:
    """Initial filters above trained ones, each in its own grey scale: black low, white high."""
    rows = [_mosaic(taps[name].reshape(-1, SIDE, SIDE)) for name in ("initial", "trained")]
    gap = np.full((1, rows[0].shape[1]), np.nan)
    picture = np.concatenate([rows[0], gap, rows[1]])
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([SIDE // 2, SIDE + 1 + SIDE // 2], ["start", "trained"])
    axis.tick_params(length=0)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _mosaic(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, rows, columns] side by side with a gap of one, each scaled to [0, 1]."""
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    scaled = (images - low) / np.where(high > low, high - low, 1)
    return np.concatenate([np.pad(i, ((0, 0), (0, 1)), constant_values=np.nan) for i in scaled], 1)


def distributions(axis: Axes, records: Sequence[Record], method: str) -> None:
    """Standardised densities on a log scale, with the Gaussian and Laplace of the same variance."""
    logs = [record.log for record in records if record.metric == DENSITY and record.log]
    z = np.linspace(-5, 5, 400)
    axis.plot(z, np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), "k--", lw=1.2, label="Gaussian")
    axis.plot(z, np.exp(-math.sqrt(2) * abs(z)) / math.sqrt(2), "k:", lw=1.5, label="Laplace")
    looks = {
        "initial": ("#999999", "measured at the start"),
        "trained": (COLOURS[method], f"{LABELS[method]}, trained"),
    }
    for name, (colour, label) in looks.items():
        curves = np.array([[row[name] for row in log] for log in logs], float)
        centres = np.array([row["z"] for row in logs[0]], float)
        shown = np.where(curves.mean(0) > 0, curves.mean(0), np.nan)
        axis.plot(centres, shown, "-", lw=2, label=label, color=colour)
    start, trained = (
        np.mean([record.value for record in records if record.metric == DENSITY + end])
        for end in ("_initial", "")
    )
    axis.annotate(
        f"Laplace − Gaussian fit\nstart {start:+.3f}\ntrained {trained:+.3f}\nnats per weight",
        (0.98, 0.96), xycoords="axes fraction", ha="right", va="top", fontsize=8,
    )  # fmt: skip
    axis.set(yscale="log", ylim=(1e-5, 2), xlabel="weight, in standard deviations from its mean")
