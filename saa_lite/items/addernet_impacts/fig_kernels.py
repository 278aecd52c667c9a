"""First-layer filters and third-layer weights of LeNet-5-BN, adder beside CNN.

The pictures show the six 5 × 5 filters of the first layer. The numbers are about the third layer,
whose 48,000 weights AdderNet calls Laplacian in the adder network and Gaussian in the CNN:
``laplace_advantage`` compares the two fits. Adder filters *start* as N(0, 1) and CNN filters as a
uniform distribution, so each measure is also taken before training (``…_initial``): without that
control a start that never changed would pass for a finding.

``neighbour_correlation`` puts a number to the look of the filters: 0 for noise, towards 1 for
smooth strokes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from saa_lite.items.base import Context, Unit, built
from saa_lite.items.distributions import excess_kurtosis, laplace_advantage, standard_histogram
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
from saa_lite.viz.kernels import kernels_figure

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
    config = digits_config(unit, settings.batch_size, settings.crop_padding)
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
