"""Loss curves of ResNet-20, adder against CNN, on CIFAR-10 or CIFAR-100.

The source prints the curves of 400 epochs without numbers. ``full`` is that setting with the
official code's recipe. ``laptop`` is what two CPU cores train in a few hours: a class-balanced
subset for a few epochs, larger learning-rate steps, the whole test set. Both networks have the same
topology, start and order of images per seed; only the operator differs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saa_lite.errors import UsageError
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.items.select import best_group, train_images, training_length
from saa_lite.items.training import configured, load_splits, seeded_model, train_unit
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import TrainConfig
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


METHODS = ("conv", "adder")


@dataclass(frozen=True)
class Settings:
    """Budget of one run; everything but ``seeds`` is part of the configuration hash."""

    epochs: int
    train_images: int
    test_images: int
    seeds: int
    batch_size: int = 128
    nesterov: bool = True


PROFILES = {
    "smoke": Settings(epochs=1, train_images=100, test_images=50, seeds=1, batch_size=20),
    "laptop": Settings(epochs=10, train_images=10_000, test_images=10_000, seeds=3),
    # The official code: batch 256, plain momentum, 399 epochs counted as 400.
    "full": Settings(400, 50_000, 10_000, seeds=5, batch_size=256, nesterov=False),
}


def run_on(dataset: str, settings: Settings, context: Context) -> Iterator[Record]:
    """Train both networks, seed by seed, so that an unfinished campaign is balanced."""
    for seed in range(settings.seeds):
        for method in METHODS:
            config = configured(TrainConfig, settings, seed=seed)
            recipe = {k: v for k, v in config.as_settings().items() if k not in ("seed", "epochs")}
            images = {k: v for k, v in asdict(settings).items() if k.endswith("_images")}
            unit = context.unit(
                method=method,
                model="resnet20",
                dataset=dataset,
                seed=seed,
                epochs=settings.epochs,
                settings={**recipe, **images, "epochs": settings.epochs},
            )
            if not unit.done("accuracy", "test_loss"):
                yield from _train(unit, settings, config)


def _train(unit: Unit, settings: Settings, config: TrainConfig) -> Iterator[Record]:
    train_set, test_set = load_splits(
        unit.context, unit.dataset, settings.train_images, settings.test_images
    )
    model = seeded_model(unit, train_set)
    history = train_unit(unit, model, train_set, test_set, config)
    seconds = sum(epoch["seconds"] for epoch in history)
    last = history[-1]
    yield unit.record("accuracy", 100 * last["test_accuracy"], "%", log=history, seconds=seconds)
    yield unit.record("test_loss", last["test_loss"], "nats", seconds=seconds)


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Curves of the run that the claims use; the source prints no numbers to set beside.

    Where no run has both networks yet, those of the longest.
    """
    logged = [r for r in records if r.metric == "accuracy" and r.log]
    if not logged:
        raise UsageError(
            f"{records[0].item} cannot be drawn: its records hold no accuracy with a log per epoch"
        )
    group = best_group(logged, "accuracy", METHODS)
    longest = group.records[0] if group else max(logged, key=training_length)
    shown = [record for record in logged if record.config_hash == longest.config_hash]
    images = train_images(longest)
    title = (
        f"ResNet-20 on {longest.dataset.upper().replace('CIFAR', 'CIFAR-')}: "
        f"{images:,} training images, {longest.epochs} epochs (the source: 50,000 and 400)"
    )
    classes = int(longest.dataset.removeprefix("cifar"))
    return loss_curves(shown, title, chance=100 / classes)


ITEMS = tuple(
    built(
        f"addernet-impacts/fig-loss-{dataset}",
        profiles=PROFILES,
        run=partial(run_on, dataset),
        draw=draw,
    )
    for dataset in ("cifar10", "cifar100")
)
