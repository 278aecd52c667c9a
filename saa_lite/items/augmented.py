"""Trainings of a target alone and inside its augmented model, which several items share.

Per seed, every method sees the same images in the same order and makes the same number of target
updates; plain and augmented targets of one operator and start are the same network with the same
weights, except that remapped weights start as a convolution's.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.augment import AugmentedNet, export
from saa_lite.data import ImageSet, normalization
from saa_lite.errors import check_choice
from saa_lite.items.base import Context, Unit, unit_key
from saa_lite.items.select import FAIR, lags
from saa_lite.items.targets import (
    build,
    check_recipes,
    measure_anew,
    train_config,
    trained_teacher,
    training_method,
)
from saa_lite.items.training import Settings, load_splits, recipe_settings
from saa_lite.records import Record, measured_records, pack_hits, run_records
from saa_lite.train import (
    DivergenceError,
    TrainConfig,
    per_image,
    train,
)
from saa_lite.train.config import survives_channels_last
from saa_lite.train.task import TASKS

CHECKED_IMAGES = 100
TRAINED_IMAGES = 10_000
TRAINED = "train_accuracy_reestimated"
DIVERGED = "diverged_epoch"
METHODS = (
    "shift", "aug-shift", "conv", "adder", "aug-adder", "netaug", "adder-calm", "aug-adder-calm",
    "aug-shift-unsorted", "aug-adder-unsorted", "aug-adder-calm-unsorted", "aug-shift-raw",
    "aug-adder-calm-raw",
)  # fmt: skip
"""Those that are compared in accuracy, in the order in which a campaign runs them."""


def units(
    context: Context, settings: Settings, methods: Sequence[str], known: Sequence[str] = ()
) -> Iterator[Unit]:
    """One unit per seed and method, seed by seed, so that an unfinished campaign is balanced.

    Units of methods that ``settings`` leaves out are counted to the run, since what earlier runs
    have recorded of them is drawn beside the others, but not given.

    Args:
        known: what ``settings.methods`` may name; by default, ``methods``.

    Raises:
        UsageError: ``settings.methods`` names another method, or a value is outside its range.
    """
    for method in settings.methods:
        check_choice("methods", method, known or methods)
    check_recipes(settings, settings.methods or methods)
    recipe = recipe_settings(settings)
    for seed in range(settings.seeds):
        for method in methods:
            unit = context.unit(
                method=method,
                model=settings.network,
                dataset=settings.dataset,
                seed=seed,
                epochs=settings.epochs,
                settings=recipe,
            )
            if method in (settings.methods or methods):
                yield unit


def run(
    settings: Settings,
    context: Context,
    methods: Sequence[str] = METHODS,
    shared_with: Sequence[str] = (),
    known: Sequence[str] = (),
    further: "Further | None" = None,
) -> Iterator[Record]:
    """Train what no record holds yet.

    Adder networks diverge now and then. That is a result, recorded as ``diverged_epoch`` (counted
    from 0) in place of the accuracies and named at the end: a campaign goes on with the methods
    that come after it. It is not tried again, the same seed gives the same bits.

    Args:
        shared_with: items whose finished runs of the same units count for this one too.
        known: see :func:`units`.
        further: what is measured of every finished training beside :func:`measure`'s own.

    Raises:
        UsageError: ``settings.methods`` names another method, or a value is outside its range.
        DivergenceError: some training of this run diverged; the others are done. A borrowed
            record of a divergence raises nothing.
    """
    yield from finish_each(
        ((unit, settings) for unit in units(context, settings, methods, known)),
        partial(finish, shared_with=shared_with, further=further),
    )


def finish_each(
    asked: Iterable[tuple[Unit, Settings]],
    finish: Callable[[Unit, Settings], Iterator[Record]],
) -> Iterator[Record]:
    """One unit after the other, past those that diverge, of which a record says so.

    Args:
        finish: trains and measures a unit, unless records hold it; see :func:`finish`.

    Raises:
        DivergenceError: some training of this run diverged; the others are done.
    """
    diverged: list[tuple[str, DivergenceError]] = []
    for unit, settings in asked:
        try:
            yield from finish(unit, settings)
        except DivergenceError as error:
            yield unit.record(DIVERGED, error.epoch, "epoch")
            diverged.append((f"{unit.method}, seed {unit.seed}: {error}", error))
    if diverged:
        texts, errors = zip(*diverged, strict=True)
        raise DivergenceError("; ".join(texts), errors[0].epoch)


def finish(
    unit: Unit,
    settings: Settings,
    shared_with: Sequence[str] = (),
    further: "Further | None" = None,
) -> Iterator[Record]:
    """Train one unit unless records hold it; see :func:`run`."""
    if not unit.done(*wanted(unit.method), instead=DIVERGED):
        yield from borrowed(unit, shared_with) or measure(unit, settings, further)


def wanted(method: str) -> tuple[str, ...]:
    """What every finished training of the method has recorded."""
    return ("accuracy", "test_loss", "train_accuracy", *((FAIR,) if lags(method) else ()))


def borrowed(unit: Unit, items: Sequence[str]) -> list[Record]:
    """Records that another item has made of the very same training, if it ended there."""
    context = unit.context
    for item in items:
        known = [*measured_records(item), *run_records(item, context.profile)]
        found = [record for record in known if unit_key(record) == unit.key]
        metrics = {record.metric for record in found}
        if DIVERGED in metrics or metrics.issuperset(wanted(unit.method)):
            return [replace(record, item=context.item) for record in found]
    return []


def measure(unit: Unit, settings: Settings, further: "Further | None" = None) -> Iterator[Record]:
    """Train one unit and record the target; of an augmented run also what was around it.

    The lead is how many points the augmented pass is ahead of its target in training accuracy:
    the least of all epochs, the mean of the second half, and the mean while widths are drawn,
    without the warm-up.
    """
    run = trained(unit, settings)
    model, history = run.model, run.history
    seconds, last = sum(row["seconds"] for row in history), history[-1]
    accuracy = 100 * last["test_accuracy"]
    behind = lags(unit.method)
    fair = fair_hits(run, settings, anew=behind or settings.batch_norm_images > 0)
    hits = None if behind else pack_hits(fair.tolist())
    yield unit.record("accuracy", accuracy, "%", log=history, seconds=seconds, hits=hits)
    yield unit.record("test_loss", last["test_loss"], "nats", seconds=seconds)
    yield unit.record("train_accuracy", 100 * last["train_accuracy"], "%", seconds=seconds)
    if isinstance(model, AugmentedNet):
        yield unit.record("export_difference", export_difference(model, run.test_set), "")
    if "augmented_accuracy" in last:
        wide = 100 * last["augmented_accuracy"]
        yield unit.record("augmented_accuracy", wide, "%", seconds=seconds)
        leads = [100 * (row["augmented_accuracy"] - row["train_accuracy"]) for row in history]
        yield unit.record("least_lead", min(leads), "points", seconds=seconds)
        yield unit.record("mean_lead", fmean(leads[len(leads) // 2 :]), "points", seconds=seconds)
        drawn = leads[: math.ceil(settings.width_epochs * settings.epochs)]
        settled = drawn[math.ceil(settings.warmup_epochs) :]
        if settled:
            yield unit.record("drawn_lead", fmean(settled), "points", seconds=seconds)
    yield unit.record(TRAINED, trained_accuracy(run), "%")
    if behind:
        right = 100 * fair.double().mean().item()
        yield unit.record(FAIR, right, "%", hits=pack_hits(fair.tolist()))
    if further is not None:
        yield from further(unit, settings, run)


@dataclass(frozen=True)
class Trained:
    """What a unit's training leaves."""

    model: nn.Module
    history: list[dict[str, Any]]
    train_set: ImageSet
    test_set: ImageSet
    config: TrainConfig
    teacher: nn.Module | None = None


Further = Callable[[Unit, Settings, Trained], Iterator[Record]]


def trained(unit: Unit, settings: Settings) -> Trained:
    """The unit's model, trained or taken from its checkpoint."""
    train_set, test_set = image_sets(unit, settings)
    model = build(unit.method, settings, train_set, unit.seed)
    config = train_config(settings, unit.method, unit.seed)
    teacher = trained_teacher(unit, settings, train_set, test_set)
    history = train(
        model,
        train_set,
        test_set,
        config,
        method=training_method(unit.method, settings, teacher),
        task=TASKS[settings.task],
        device=unit.context.device,
        checkpoint=unit.checkpoint,
        progress=unit.context.progress,
    )
    return Trained(model, history, train_set, test_set, config, teacher)


def image_sets(unit: Unit, settings: Settings) -> tuple[ImageSet, ImageSet]:
    """What the unit trains and tests on.

    With validation images the training images are drawn anew for each seed from what is left, so
    that an interval over seeds is one over training sets, too, wherever not all of them are used.
    """
    if not settings.validation_images:
        return load_splits(
            unit.context, unit.dataset, settings.train_images, settings.test_images,
            settings.image_size or None,
        )  # fmt: skip
    whole, test_set = load_splits(
        unit.context, unit.dataset, None, settings.test_images or None, settings.image_size
    )
    shuffled = whole.subset(len(whole))
    pool = shuffled.part(0, len(whole) - settings.validation_images)
    if not settings.test_images:
        test_set = replace(shuffled.part(len(pool), len(whole)), split="validation")
    return pool.subset(settings.train_images, unit.seed), test_set


def trained_accuracy(run: Trained) -> float:
    """Accuracy in % on (at most 10,000) training images, neither cropped nor mirrored.

    Beside :data:`FAIR` it tells whether a network underfits; the loop's own ``train_accuracy`` is
    of augmented images and an average over an epoch in which the weights moved.
    """
    shown = run.train_set.part(0, TRAINED_IMAGES)
    return 100 * right_answers(run, shown).double().mean().item()


def fair_hits(run: Trained, settings: Settings, *, anew: bool = True) -> Tensor:
    """Right or wrong on each test image, statistics of batch norm ``anew`` from training images.

    NetAug does so for augmented targets before every test, since two passes share the running
    ones. A network trained alone is tested with its running ones, which lag behind in a short
    training: that alone would make augmentation look better.
    """
    if anew:
        reestimate(run, settings.batch_norm_images)
    return right_answers(run, run.test_set)


def reestimate(run: Trained, images: int) -> None:
    """Measure the statistics of batch norm on so many training images, in the training's format."""
    measure_anew(run.model, run.train_set, run.config, images, channels_last=kept_format(run))


def right_answers(run: Trained, image_set: ImageSet) -> Tensor:
    """Right or wrong, bool [N], in the normalisation that the network was trained with."""
    device = next(run.model.parameters()).device
    mean, std = normalization(run.train_set)
    _, hits = per_image(
        run.model, image_set, device=device, mean=mean, std=std,
        channels_last=kept_format(run),
    )  # fmt: skip
    return hits


def kept_format(run: Trained) -> bool:
    """Whether the training gave its images in channels_last."""
    device = next(run.model.parameters()).device
    return run.config.channels_last and survives_channels_last(run.model, device)


@torch.no_grad()
def export_difference(
    model: AugmentedNet, test_set: ImageSet, images: int = CHECKED_IMAGES
) -> float:
    """Largest difference of a logit between exported network and target; 0 is the claim."""
    device = next(model.parameters()).device
    shown = test_set.images[:images].to(device).float() / 255
    alone = export(model).eval()
    return float((alone(shown) - model.eval()(shown)).abs().max())
