"""The adder layer, its two gradients, and the statement on the sign gradient's direction.

``relative_error`` compares the kernels with the float64 equations on random layers: the output,
both weight gradients and all three input gradients.

``sign_cosine_slope`` tests "the direction only gets worse as dimensionality grows": LeNet-5-BN
with adder layers is trained, then cos(sgn g, g) of each layer's full-precision gradient g is set
against the number n of its entries. Layers of different size also lie at different depth, so two
more slopes are recorded: ``layer_cosine_slope`` for the layer's own sign gradient Σ G·sgn(x − w),
and ``part_cosine_slope`` for random parts (n ≥ 10) of one layer's g, where nothing but n changes.

For a full-precision gradient g of n numbers, cos(sgn g, g) = ‖g‖₁ / (√n ‖g‖₂). It is 1 for n = 1
and never below 1/√n; for independent Gaussian numbers it tends to √(2/π) ≈ 0.798 and stays there
at any large n. Only heavy tails lower it. So whether the direction gets worse with dimension has to
be asked of real gradients, which is what :func:`layer_directions` does.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.items.training import full_batches, load_splits, seeded_model, train_unit
from saa_lite.ops import adder_conv2d, reference
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import TrainConfig
from saa_lite.viz.gradients import gradients_figure

GAUSSIAN_COSINE = math.sqrt(2 / math.pi)

Row = dict[str, float | None]
SLOPES = ("sign_cosine_slope", "layer_cosine_slope", "part_cosine_slope")
QUANTITIES = {  # what is checked: name → its surrogate
    "output": "",
    "weight gradient": "full",
    "weight gradient (sign)": "sign",
    "input gradient": "clip",
    "input gradient (full)": "full",
    "input gradient (sign)": "sign",
}
Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]


def sign_cosine(gradient: Tensor) -> float:
    """cos(sgn g, g) = ‖g‖₁ / (√n ‖g‖₂) of all entries of ``gradient``; NaN where g is all zero."""
    g = gradient.detach().double().flatten()
    return float(g.abs().sum() / (math.sqrt(g.numel()) * g.norm()))


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors of one shape, read as vectors."""
    return float(F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0))


def adder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of ``model`` whose weight has adder gradients, in forward order."""
    return [layer for layer in model.modules() if hasattr(layer, "weight_gradient")]


def weight_gradients(model: nn.Module, images: Tensor, labels: Tensor, kind: str) -> list[Tensor]:
    """Adder weight gradients of one batch, ``kind`` "full" (x − w) or "sign" (sgn(x − w)).

    Only the weight gradient changes; what arrives from above and the input gradient stay the same,
    so the two kinds differ in nothing else. ``model`` keeps its gradients and options.
    """
    layers = adder_layers(model)
    before = [layer.weight_gradient for layer in layers]
    for layer in layers:
        layer.weight_gradient = kind  # type: ignore[assignment]
    try:
        loss = F.cross_entropy(model(images), labels)
        return list(torch.autograd.grad(loss, [layer.weight for layer in layers]))  # type: ignore[arg-type]
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.weight_gradient = old


def layer_directions(model: nn.Module, batches: Iterable[tuple[int, Tensor, Tensor]]) -> list[Row]:
    """Per adder layer, dimension and mean cosine over the batches.

    ``sign_cosine`` compares sgn g with g (sign descent, the source's argument); ``layer_cosine``
    compares the layer's own sign gradient Σ G·sgn(x − w) with g = Σ G·(x − w).
    """
    found = []
    for _, images, labels in batches:
        full, sign = (weight_gradients(model, images, labels, k) for k in ("full", "sign"))
        found.append(
            [(g.numel(), sign_cosine(g), cosine(s, g)) for g, s in zip(full, sign, strict=True)]
        )
    names = ("dimension", "sign_cosine", "layer_cosine")
    return [
        {"layer": index, **dict(zip(names, map(float, row), strict=True))}
        for index, row in enumerate(np.mean(found, axis=0), start=1)
    ]


def part_directions(gradients: Sequence[Tensor], seed: int, draws: int = 50) -> list[Row]:
    """cos(sgn p, p) of random parts p of one gradient: its dimension changes, its layer does not.

    Rows of dimension 1, 10, 100, … below the size of the largest of ``gradients``.
    """
    largest = max(gradients, key=Tensor.numel).flatten()
    generator = torch.Generator().manual_seed(seed)
    rows: list[Row] = []
    for exponent in range(math.ceil(math.log10(largest.numel()))):
        n = 10**exponent
        parts = torch.randint(largest.numel(), (draws, n), generator=generator)
        values = [sign_cosine(part) for part in largest.cpu()[parts]]
        rows.append({"dimension": float(n), "sign_cosine": float(np.nanmean(values))})
    return rows


def slope_per_decade(rows: Sequence[Row], quantity: str) -> float:
    """Least-squares change of ``quantity`` per tenfold dimension."""
    tens = [math.log10(row["dimension"] or 1) for row in rows]
    values = [float(row[quantity] or 0) for row in rows]
    return float(np.polyfit(tens, values, 1)[0])


@dataclass(frozen=True)
class Settings:
    """``layers`` random layers are checked; the rest is the budget of the trained networks."""

    layers: int
    dataset: str
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    gradient_batches: int
    demo_images: int  # of the small networks that the notebook trains while one watches
    demo_epochs: int
    batch_size: int = 64


PROFILES = {
    "smoke": Settings(3, "digits", 100, 50, 1, 1, 2, demo_images=200, demo_epochs=1, batch_size=20),
    "laptop": Settings(30, "digits", 1_297, 500, 5, 5, 20, demo_images=1_297, demo_epochs=5),
    "full": Settings(200, "mnist", 60_000, 10_000, 20, 5, 200, demo_images=1_297, demo_epochs=5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """The equations first, then one network per seed."""
    for quantity in QUANTITIES:
        unit = context.unit(
            method="adder",
            model="one layer",
            dataset="normal numbers",
            seed=0,
            settings={"quantity": quantity, "layers": settings.layers},
        )
        if not unit.done("relative_error"):
            worst = max(relative_error(quantity, seed) for seed in range(settings.layers))
            yield unit.record("relative_error", worst, "max|a−b| / max|b|")
    for seed in range(settings.seeds):
        yield from _directions(settings, context, seed)


def relative_error(quantity: str, seed: int) -> float:
    """max|a − b| / max|b|, a from the kernel and b from the equation, in float64.

    ``seed`` decides sizes, stride, padding, dilation and groups of the layer and its numbers.
    """
    input, weight, grad, geometry = random_layer(seed)
    kind = QUANTITIES[quantity]
    if quantity == "output":
        got = adder_conv2d(input, weight, *geometry)
        expected = reference.adder_conv2d(input, weight, *geometry)
    elif quantity.startswith("weight"):
        output = adder_conv2d(input, weight.requires_grad_(), *geometry, weight_gradient=kind)
        (got,) = torch.autograd.grad(output, weight, grad)
        expected = reference.adder_weight_gradient(grad, input, weight.detach(), *geometry, kind)
    else:
        output = adder_conv2d(input.requires_grad_(), weight, *geometry, input_gradient=kind)
        (got,) = torch.autograd.grad(output, input, grad)
        expected = reference.adder_input_gradient(grad, input.detach(), weight, *geometry, kind)
    return float((got - expected).abs().max() / expected.abs().max())


def random_layer(seed: int) -> tuple[Tensor, Tensor, Tensor, Geometry]:
    """Input, weight, arriving gradient (float64, normal) and stride, padding, dilation, groups."""
    generator = torch.Generator().manual_seed(seed)

    def some(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    groups = some(1, 3)
    stride, padding, dilation = ((some(low, high),) * 2 for low, high in ((1, 2), (0, 2), (1, 2)))
    geometry: Geometry = (stride, padding, dilation, groups)
    input = normal(some(1, 2), groups * some(1, 4), some(7, 12), some(7, 12))
    weight = normal(groups * some(1, 3), input.shape[1] // groups, some(1, 3), some(1, 3))
    grad = normal(*reference.adder_conv2d(input, weight, *geometry).shape)
    return input, weight, grad, geometry


def _directions(settings: Settings, context: Context, seed: int) -> Iterator[Record]:
    config = TrainConfig(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        crop_padding=2,
        flip=False,  # a mirrored digit is another sign
        seed=seed,
    )
    recipe = {k: v for k, v in config.as_settings().items() if k != "seed"}
    budget = ("train_images", "test_images", "gradient_batches")
    unit = context.unit(
        method="adder",
        model="lenet5_bn",
        dataset=settings.dataset,
        seed=seed,
        epochs=settings.epochs,
        settings={**recipe, **{name: getattr(settings, name) for name in budget}},
    )
    if not unit.done(*SLOPES):
        yield from _measure(unit, settings, config)


def _measure(unit: Unit, settings: Settings, config: TrainConfig) -> Iterator[Record]:
    train_set, test_set = load_splits(
        unit.context, settings.dataset, settings.train_images, settings.test_images
    )
    model = seeded_model(unit, train_set)
    train_unit(unit, model, train_set, test_set, config)
    model.train()  # the gradients of a training step, batch statistics included
    batches = full_batches(unit, train_set, settings.batch_size)
    some = list(islice(batches.epoch(settings.epochs), settings.gradient_batches))
    layers = layer_directions(model, some)
    parts = part_directions(weight_gradients(model, *some[0][1:], "full"), unit.seed)
    per = "per tenfold dimension"
    yield unit.record(SLOPES[0], slope_per_decade(layers, "sign_cosine"), per, log=layers)
    yield unit.record(SLOPES[1], slope_per_decade(layers, "layer_cosine"), per, log=layers)
    yield unit.record(SLOPES[2], slope_per_decade(parts[1:], "sign_cosine"), per, log=parts)


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """The surrogates, and the cosines of the largest budget; the source prints no numbers."""
    return gradients_figure(one_configuration(records, SLOPES[0], ("adder",)))


ITEM = built("addernet-impacts/eq-gradients", profiles=PROFILES, run=run, draw=draw)
