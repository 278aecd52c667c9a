"""First-layer filters and third-layer weights of LeNet-5-BN, adder beside CNN.

The pictures show the six 5 × 5 filters of the first layer. The numbers are about the third layer,
whose 48,000 weights AdderNet calls Laplacian in the adder network and Gaussian in the CNN:
``laplace_advantage`` compares the two fits. Adder filters *start* as N(0, 1) and CNN filters as a
uniform distribution, so each measure is also taken before training (``…_initial``): without that
control a start that never changed would pass for a finding.

``neighbour_correlation`` puts a number to the look of the filters: 0 for noise, towards 1 for
smooth strokes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from saa_lite.items.base import Context, Unit
from saa_lite.items.distributions import excess_kurtosis, laplace_advantage, standard_histogram
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.items.training import (
    digits_config,
    load_splits,
    paired_units,
    seeded_model,
    train_unit,
)
from saa_lite.published import PublishedNumber
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


METHODS = ("conv", "adder")
ADVANTAGE = "laplace_advantage"
MEASURES = {ADVANTAGE: ("nats per weight", laplace_advantage), "kurtosis": ("", excess_kurtosis)}
LOGGED_SEED = 0  # whose filters the figure shows


@dataclass(frozen=True)
class Settings:
    """Budget and recipe; everything but ``seeds`` is part of the configuration hash."""

    dataset: str
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    batch_size: int = 64
    crop_padding: int = 2


PROFILES = {
    "smoke": Settings("digits", 100, 50, epochs=1, seeds=1, batch_size=20),
    "laptop": Settings("digits", 1_297, 500, epochs=20, seeds=5),
    "full": Settings("mnist", 60_000, 10_000, epochs=20, seeds=5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Train and measure both networks, seed by seed."""
    for unit in paired_units(context, settings, "lenet5_bn", METHODS):
        if not unit.done("accuracy", "neighbour_correlation", ADVANTAGE):
            yield from _measure(unit, settings)


def _measure(unit: Unit, settings: Settings) -> Iterator[Record]:
    model, before, accuracy = trained(unit, settings)
    after = weights(model)
    yield unit.record("accuracy", 100 * accuracy, "%")
    for name, (label, measure) in MEASURES.items():
        histogram = _histogram(before[1], after[1]) if name == ADVANTAGE else None
        yield unit.record(name, measure(after[1]), label, log=histogram)
        yield unit.record(f"{name}_initial", measure(before[1]), label)
    taps = _taps(before[0], after[0]) if unit.seed == LOGGED_SEED else None
    name = "neighbour_correlation"
    yield unit.record(f"{name}_initial", neighbour_correlation(before[0]), "correlation")
    yield unit.record(name, neighbour_correlation(after[0]), "correlation", log=taps)


def trained(unit: Unit, settings: Settings) -> tuple[nn.Module, tuple[Tensor, Tensor], float]:
    """A trained LeNet-5-BN, its first- and third-layer weights at the start, its test accuracy."""
    train_set, test_set = load_splits(
        unit.context, settings.dataset, settings.train_images, settings.test_images, size=32
    )
    config = digits_config(unit, settings)
    model = seeded_model(unit, train_set)
    before = weights(model)
    history = train_unit(unit, model, train_set, test_set, config)
    return model, before, history[-1]["test_accuracy"]


def weights(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Copies of the first-layer filters [6, 5, 5] and of the third layer's weights, on the CPU."""
    first, third = (model.get_parameter(f"layer{i}.conv.weight") for i in (1, 3))
    return first.detach().cpu().clone()[:, 0], third.detach().cpu().clone()


def neighbour_correlation(filters: Tensor) -> float:
    """Mean product of neighbouring taps over the mean square, each filter centred first.

    Args:
        filters: [filters, rows, columns].
    """
    f = filters.double()
    f = f - f.mean((1, 2), keepdim=True)
    beside, below = f[:, :, 1:] * f[:, :, :-1], f[:, 1:] * f[:, :-1]
    return float(torch.cat([beside.flatten(), below.flatten()]).mean() / f.square().mean())


def _histogram(before: Tensor, after: Tensor) -> list[dict[str, float | None]]:
    centres, trained_density = standard_histogram(after)
    _, initial = standard_histogram(before)
    names = ("z", "initial", "trained")
    rows = zip(centres.tolist(), initial.tolist(), trained_density.tolist(), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _taps(before: Tensor, after: Tensor) -> list[dict[str, float | None]]:
    """One row per tap, filters in order, rows of a filter in order."""
    pairs = zip(before.flatten().tolist(), after.flatten().tolist(), strict=True)
    return [{"initial": initial, "trained": trained_tap} for initial, trained_tap in pairs]


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Filters and distributions of the largest budget; the source prints no number."""
    return kernels_figure(one_configuration(records, ADVANTAGE, METHODS))


ITEM = built("addernet-impacts/fig-kernels", profiles=PROFILES, run=run, draw=draw)
