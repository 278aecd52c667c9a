"""Weights of convolution, shift and adder layers: Gaussian or Laplace, and is it only the start?

One network is trained three times, with nothing but the operator of its layers changed. In every
layer a Gaussian and a Laplace distribution are fitted by maximum likelihood
(:mod:`saa_lite.items.distributions`). A record's value is the mean over layers, each weighted by
its number of weights, which for ``laplace_advantage`` is the log-likelihood ratio of the whole
network per weight. Each measure is also taken before training (``…_initial``), the advantage also
of what training added to the start (``change_advantage``), and all of it is repeated from other
starts (:mod:`saa_lite.items.shiftaddaug.starts`): the control without which a
start that never changed would pass for a finding.

The source names neither network nor recipe for its figure. For shift layers the latent weights are
measured: those in use are a few powers of two, which have no density.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.items.base import Context, Unit
from saa_lite.items.distributions import (
    FAMILIES,
    cdf_distance,
    cdf_gap,
    excess_kurtosis,
    fit,
    laplace_advantage,
    standard_histogram,
    within_filters,
)
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.items.shiftaddaug.starts import STARTS, layer_weights, restart, with_share
from saa_lite.items.training import configured, load_splits, seeded_model, train_unit
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import TrainConfig
from saa_lite.viz.distributions import weights_figure

METHODS = ("conv", "shift", "adder")
ADVANTAGE = "laplace_advantage"


@dataclass(frozen=True)
class Settings:
    """Budget and recipe; ``seeds`` and ``starts`` only say how much of it is run."""

    dataset: str
    model: str
    image_size: int
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    batch_size: int = 64
    crop_padding: int = 2
    flip: bool = False  # a mirrored digit is another sign
    starts: tuple[str, ...] = STARTS


PROFILES = {
    "smoke": Settings("digits", "lenet5_bn", 32, 100, 50, epochs=1, seeds=1, batch_size=20),
    "laptop": Settings("digits", "lenet5_bn", 32, 1_297, 500, epochs=15, seeds=5),
    # Our reading of "trained": the 300 epochs of the paper's multiplication-free networks.
    "full": Settings(
        "cifar100", "resnet20", 32, 50_000, 10_000, epochs=300, seeds=5, batch_size=128,
        crop_padding=4, flip=True,
    ),
}  # fmt: skip

MEASURES: dict[str, tuple[str, Callable[[Tensor], float]]] = {
    ADVANTAGE: ("nats per weight", laplace_advantage),
    "filter_advantage": ("nats per weight", lambda w: laplace_advantage(within_filters(w))),
    "kurtosis": ("", excess_kurtosis),
    "gaussian_distance": ("probability", lambda w: cdf_distance(w, "gaussian")),
    "laplace_distance": ("probability", lambda w: cdf_distance(w, "laplace")),
}
UNITS = {f"{name}{end}": unit for name, (unit, _) in MEASURES.items() for end in ("", "_initial")}
CHANGES = {"change_advantage": "nats per weight", "change_width": "start widths"}
METRICS = (
    "accuracy", *UNITS, *CHANGES, "laplace_gain", "layers_laplace", "pooled_advantage",
    "start_correlation",
)  # fmt: skip


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Train and measure start by start, seed by seed, the three operators side by side."""
    for start in settings.starts:
        for seed in range(settings.seeds):
            for method in METHODS:
                unit = _unit(context, settings, start, seed, method)
                if not unit.done(*METRICS):
                    yield from _measure(unit, settings, start)


def _unit(context: Context, settings: Settings, start: str, seed: int, method: str) -> Unit:
    apart = ("dataset", "model", "seeds", "starts")
    recipe = {k: v for k, v in asdict(settings).items() if k not in apart}
    return context.unit(
        method=method,
        model=settings.model,
        dataset=settings.dataset,
        seed=seed,
        epochs=settings.epochs,
        settings={**recipe, "start": start},
    )


def _measure(unit: Unit, settings: Settings, start: str) -> Iterator[Record]:
    before, after, history = trained(unit, settings, start)
    rows = layer_table(before, after)
    seconds = sum(row["seconds"] for row in history)
    yield unit.record("accuracy", 100 * history[-1]["test_accuracy"], "%", seconds=seconds)
    for name, label in (UNITS | CHANGES).items():
        log = rows if name == ADVANTAGE else None
        yield unit.record(name, over_layers(rows, name), label, log=log)
    gain = over_layers(rows, ADVANTAGE) - over_layers(rows, f"{ADVANTAGE}_initial")
    yield unit.record("laplace_gain", gain, "nats per weight")
    nearer = sum(row[ADVANTAGE] > 0 for row in rows)
    yield unit.record("layers_laplace", 100 * nearer / len(rows), "% of layers")
    pooled = torch.cat([w.flatten() for w in after])
    yield unit.record("pooled_advantage", laplace_advantage(pooled), "nats per weight")
    kept = over_layers(rows, "start_correlation")
    largest = max(range(len(after)), key=lambda i: after[i].numel())
    curves = curve_table(before[largest], after[largest]) if start == "own" else None
    yield unit.record("start_correlation", kept, "correlation", log=curves)


def trained(
    unit: Unit, settings: Settings, start: str
) -> tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]:
    """Weights of the compared layers before and after training, and the training's history."""
    train_set, test_set = load_splits(
        unit.context,
        settings.dataset,
        settings.train_images,
        settings.test_images,
        settings.image_size,
    )
    config = configured(TrainConfig, settings, seed=unit.seed)
    model = seeded_model(unit, train_set)
    restart(model, unit.model, start, unit.seed)
    before = layer_weights(model, unit.model)
    history = train_unit(unit, model, train_set, test_set, config)
    return before, layer_weights(model, unit.model), history


def layer_table(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[dict[str, float]]:
    """One row per layer: number of weights, every measure before and after, what is left.

    ``change_advantage`` is the Laplace advantage of what training added to the start, and
    ``change_width`` its standard deviation beside the start's.
    """
    rows = []
    for initial, final in zip(before, after, strict=True):
        row = {"weights": float(final.numel())}
        for name, (_, measure) in MEASURES.items():
            row[name], row[f"{name}_initial"] = measure(final), measure(initial)
        pair = torch.stack([initial.flatten(), final.flatten()]).double()
        row["start_correlation"] = float(torch.corrcoef(pair)[0, 1])
        change = with_share(initial, final, 0.0)
        row["change_advantage"] = laplace_advantage(change)
        row["change_width"] = float(change.std() / initial.std())
        rows.append(row)
    return rows


def over_layers(rows: Sequence[Mapping[str, float]], name: str) -> float:
    """Mean of a column of :func:`layer_table`, each layer weighted by its number of weights."""
    total = sum(row["weights"] for row in rows)
    return sum(row["weights"] * row[name] for row in rows) / total


def curve_table(before: Tensor, after: Tensor) -> list[dict[str, float]]:
    """Densities and misfits of one layer over z, the trained weight in its standard deviations.

    ``initial`` and ``trained`` are densities, each standardised by itself; ``laplace`` is that of
    the Laplace fit to the trained weights, ``gaussian_gap`` and ``laplace_gap`` are their share
    below z minus the fit's. Four digits are kept.
    """
    z, density = standard_histogram(after)
    _, initial = standard_histogram(before)
    gaussian = fit(after, "gaussian")
    at = gaussian.centre + gaussian.width * z
    columns = {"z": z, "initial": initial, "trained": density}
    columns["laplace"] = gaussian.width * fit(after, "laplace").log_density(at).exp()
    columns.update({f"{family}_gap": cdf_gap(after, family, at) for family in FAMILIES})
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{k: float(f"{v:.4g}") for k, v in zip(columns, row, strict=True)} for row in rows]


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """The largest budget, its own start and the others; the source prints no number."""
    return weights_figure(largest_budget(records))


def largest_budget(records: Sequence[Record]) -> list[Record]:
    """Records of the budget that says most, which differ in method, seed, metric and start alone.

    Raises:
        UsageError: no seed has all methods from the layers' own start.
    """
    own = [record for record in records if record.settings["start"] == "own"]
    if not own:
        raise UsageError("shiftaddaug/fig2 cannot be drawn: no record is of the layers' own start")
    like = _budget(one_configuration(own, ADVANTAGE, METHODS)[0])
    return [record for record in records if _budget(record) == like]


def _budget(record: Record) -> tuple[str, str, dict[str, Any]]:
    recipe = {name: value for name, value in record.settings.items() if name != "start"}
    return record.dataset, record.model, recipe


ITEM = built("shiftaddaug/fig2", profiles=PROFILES, run=run, draw=draw)
