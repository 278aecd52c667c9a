"""The network of a recipe, what surrounds it, how both are trained, and the teacher before them."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from saa_lite.augment import AugmentConfig, AugmentedTraining, augment
from saa_lite.augment.method import whole_batches
from saa_lite.data import ImageSet
from saa_lite.data.seeds import mix
from saa_lite.errors import UsageError
from saa_lite.items.base import Unit
from saa_lite.items.recipes import RECIPES, Recipe, mutation_for
from saa_lite.items.training import Settings, configured
from saa_lite.models import (
    calm_start,
    create_model,
    create_segmenter,
    describe,
    rectify_bottlenecks,
)
from saa_lite.nn import ShiftConv2d, convert, normalise_weights
from saa_lite.nn.adaptive_lr import check_eta
from saa_lite.nn.adder import AdderLayer
from saa_lite.train import (
    Annealing,
    Distillation,
    DistilledTraining,
    Method,
    TrainConfig,
    reestimate_batch_norm,
    train,
)
from saa_lite.train.config import make_batches
from saa_lite.train.task import TASKS

TEACHER_STREAM = 3  # keeps the seeds of a unit's teacher apart from its own
TAUGHT_AS = "conv"


def build(method: str, settings: Settings, train_set: ImageSet, seed: int) -> nn.Module:
    """The method's network, its weights drawn from ``seed``: the target's own first."""
    recipe = RECIPES[method]
    torch.manual_seed(seed)
    target = fresh(recipe.operator, settings, train_set)
    if recipe.converts:
        target = all_converted(target, recipe)
    exchange_first(target, recipe.first_adders)
    if recipe.rectified:
        rectify_bottlenecks(target)
    if recipe.start:
        start = recipe.start
        calm_start(
            target, start.spread, zero_init_residual=start.zero_init_residual, scale_eta=False
        )
    for layer in adder_layers(target):
        layer.eta, layer.adaptive_lr = settings.eta, recipe.adaptive_lr
        layer.weight.requires_grad_(recipe.adders == "trained")
    if recipe.normalised:
        normalise_weights(target)
    if recipe.adders == "signs":
        target = with_signs(target)
    around = augmentation(recipe, settings)
    return target if around is None else augment(target, around)


def fresh(operator: str, settings: Settings, train_set: ImageSet) -> nn.Module:
    """The network of the settings' task as the registry builds it."""
    classes = len(TASKS[settings.task].names(train_set))
    options: dict[str, Any] = {
        "small_input": settings.small_input,
        "in_channels": train_set.in_channels,
        "width": settings.net_width if describe(settings.network).width else None,
    }
    if settings.task == "segmentation":
        return create_segmenter(settings.network, classes, operator, **options)
    return create_model(settings.network, classes, operator, **options)


def adder_layers(target: nn.Module) -> list[AdderLayer]:
    """Adder convolutions and linear maps, in order of definition."""
    return [layer for layer in target.modules() if isinstance(layer, AdderLayer)]


@torch.no_grad()
def with_signs(target: nn.Module) -> nn.Module:
    """A copy whose adder layers are convolutions with the signs of their weights, frozen."""
    names = [name for name, part in target.named_modules() if isinstance(part, AdderLayer)]
    projected = convert(target, "conv", weights="keep")
    for name in names:
        projected.get_submodule(name).get_parameter("weight").sign_()
    return projected


def augmentation(recipe: Recipe, settings: Settings) -> AugmentConfig | None:
    """What is wrapped around the recipe's target, if anything is."""
    if recipe.augmentation is None:
        return None
    options = dict(recipe.augmentation)
    if recipe.start and "remap" in recipe.augmentation:
        options["remap_spread"] = recipe.start.spread
    if recipe.mutates:
        options["mutation"] = mutation_for(settings.epochs)
    return configured(AugmentConfig, settings, **options)


def check_recipes(settings: Settings, methods: Sequence[str]) -> None:
    """Refuse values outside their range now, and not after the first methods are trained.

    Raises:
        UsageError: the value that a method's configuration refuses.
    """
    check_eta(settings.eta)
    for method in methods:
        train_config(settings, method, seed=0)
        augmentation(RECIPES[method], settings)
        if RECIPES[method].teacher and not describe(settings.network).width:
            raise UsageError(
                f"{method} needs a wider teacher, but the width of {settings.network} is fixed"
            )
        training_method(method, settings, nn.Identity())  # values are checked, nothing is trained


def all_converted(target: nn.Module, recipe: Recipe) -> nn.Module:
    """A copy with the operator in places that the registry keeps multiplicative, too."""
    keeps: dict[str, Any] = {f"keep_{name}": False for name in recipe.converts}
    with warnings.catch_warnings():
        # It warns of an adder classifier without a norm: that is what is tried here.
        warnings.simplefilter("ignore", UserWarning)
        return convert(target, recipe.operator, weights="init", **keeps)


def exchange_first(target: nn.Module, count: int) -> None:
    """Make the first ``count`` shift layers adder layers, in place."""
    shifts = [name for name, part in target.named_modules() if isinstance(part, ShiftConv2d)]
    for name in shifts[:count]:
        target.set_submodule(name, convert(target.get_submodule(name), "adder"))


def training_method(method: str, settings: Settings, teacher: nn.Module | None = None) -> Method:
    """Plain training, or the two passes of augmented training; either from squared distances.

    Args:
        teacher: a trained network, for recipes that have one; others do without.

    Raises:
        UsageError: it is missing.
    """
    recipe = RECIPES[method]
    if recipe.teacher and teacher is None:
        raise UsageError(f"{method} learns from a trained network; got teacher=None")
    distillation = None
    if recipe.distillation:
        taught_by = teacher if recipe.teacher else None
        distillation = Distillation(**recipe.distillation, teacher=taught_by)
    inner = Method()
    if recipe.augmentation is not None:
        options = {"distillation": distillation, **recipe.training}
        inner = configured(AugmentedTraining, settings, **options)
    elif distillation:
        inner = DistilledTraining(distillation)
    return Annealing(inner, recipe.annealed) if recipe.annealed else inner


def train_config(settings: Settings, method: str, seed: int) -> TrainConfig:
    """The recipe that all methods share, but for a rate of their own where one was chosen."""
    rate = dict(settings.rates).get(method, settings.lr)
    return configured(TrainConfig, settings, lr=rate, seed=seed)


def trained_teacher(
    unit: Unit, settings: Settings, train_set: ImageSet, test_set: ImageSet
) -> nn.Module | None:
    """The unit's teacher, trained or taken from its checkpoint; None where it needs none.

    It has seen the same images as its student, starts from another seed, and is trained as the
    multiplicative target alone would be, or for a share of that. Its statistics of batch norm are
    measured anew.
    """
    recipe = RECIPES[unit.method]
    if not recipe.teacher:
        return None
    seed = mix(unit.seed, TEACHER_STREAM)
    epochs = max(1, round(recipe.teacher_share * settings.epochs))
    own = replace(
        settings,
        net_width=recipe.teacher * settings.net_width,
        epochs=epochs,
        warmup_epochs=min(settings.warmup_epochs, epochs - 1),
    )
    teacher = build(TAUGHT_AS, own, train_set, seed)
    config = train_config(own, TAUGHT_AS, seed)
    train(
        teacher,
        train_set,
        test_set,
        config,
        device=unit.context.device,
        checkpoint=unit.checkpoint / "teacher",
        progress=unit.context.progress,
    )
    measure_anew(teacher, train_set, config, settings.batch_norm_images)
    return teacher


def measure_anew(
    model: nn.Module,
    train_set: ImageSet,
    config: TrainConfig,
    images: int,
    *,
    channels_last: bool = False,
) -> None:
    """Statistics of batch norm of the finished weights, from whole batches of the last epoch.

    Args:
        images: so many at least, cropped and mirrored as that epoch's were.
        channels_last: of these batches.
    """
    device = next(model.parameters()).device
    batches = make_batches(train_set, config, device, channels_last)
    reestimate_batch_norm(model, whole_batches(batches, config.epochs - 1, images))
