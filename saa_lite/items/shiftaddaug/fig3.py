"""Remapping shared weights: does eq. 5 make Laplacian weights, and can an adder network use them?

The figure shows the idea, without numbers. Three of ours go with it. ``ks_distance``: the curve
on exactly normal numbers against Laplace(0, b). ``laplace_advantage``, ``kurtosis`` and ``std``
of the largest convolution of a *trained* network, which is only nearly normal, before and after.
``accuracy``: all convolution weights of that network are lent to an adder network, stay frozen
there, and what follows them is trained briefly. It is given for the scale at which the package
starts, b = 1/√2, where lent weights have standard deviation 1; ``best_accuracy`` is the best over
several scales, which its log holds.

Methods: "none" lends the weights as they are, "analytic" is eq. 5 without its learned part,
"rescale" has the same variance as "analytic" and the shape of "none": it tells the effect of the
shape from that of the scale. "random" lends normal numbers of that variance, which nobody trained:
it tells what the lent weights know from what the network learns around them. Freezing is our
reading of a test that isolates the map; the source trains both networks on the shared weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from saa_lite.augment.remap import SCALE, make_remap
from saa_lite.data import ImageSet
from saa_lite.items.base import Context, Unit
from saa_lite.items.distributions import excess_kurtosis, laplace_advantage, standard_histogram
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.items.training import (
    digits_config,
    full_batches,
    load_splits,
    paired_units,
    seeded_model,
    train_unit,
)
from saa_lite.models import create_model
from saa_lite.nn import AdderConv2d
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import evaluate, reestimate_batch_norm, train
from saa_lite.viz.remap_figures import MAPS, METHODS, remapping_figure

ADVANTAGE = "laplace_advantage"
NUMBERS = 100_000  # of the Kolmogorov-Smirnov test


@dataclass(frozen=True)
class Settings:
    """``epochs`` train the lending convolution network, ``adder_epochs`` the borrowing one.

    ``stds``: spreads that the maps give to normal weights, √2·b; 1 must be among them.
    """

    dataset: str
    model: str
    train_images: int
    test_images: int
    epochs: int
    adder_epochs: int
    seeds: int
    stds: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    batch_size: int = 64
    crop_padding: int = 2


PROFILES = {
    "smoke": Settings("digits", "lenet5_bn", 100, 50, 1, 1, 1, stds=(0.5, 1.0), batch_size=20),
    "laptop": Settings("digits", "lenet5_bn", 1_297, 500, 20, 4, seeds=5),
    "full": Settings(
        "cifar100", "resnet20", 50_000, 10_000, 200, 20, seeds=5, batch_size=128, crop_padding=4
    ),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Normal numbers first, then per seed one lending network and one borrower per method."""
    for seed in range(settings.seeds):
        for method in MAPS:
            unit = context.unit(
                method=method, model="no network", dataset="normal numbers", seed=seed,
                settings={"numbers": NUMBERS, "scale": SCALE},
            )  # fmt: skip
            if not unit.done("ks_distance"):
                yield unit.record("ks_distance", ks_distance(method, seed), "probability")
    for unit in paired_units(context, settings, settings.model, METHODS, together="lender"):
        if not unit.done(ADVANTAGE, "best_accuracy"):
            yield from _measure(unit, settings)


def ks_distance(method: str, seed: int) -> float:
    """Largest gap between Laplace(0, SCALE) and NUMBERS remapped normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(NUMBERS, dtype=torch.float64, generator=generator)
    v = make_remap(method)(normal, mean=0.0, std=1.0).detach().sort().values
    tail = (-v.abs() / SCALE).exp() / 2
    expected = torch.where(v < 0, tail, 1 - tail)
    steps = torch.arange(NUMBERS + 1, dtype=torch.float64) / NUMBERS
    return float(torch.maximum(steps[1:] - expected, expected - steps[:-1]).max())


def _measure(unit: Unit, settings: Settings) -> Iterator[Record]:
    sets = load_splits(
        unit.context, settings.dataset, settings.train_images, settings.test_images, size=32
    )
    lender = lending_network(unit, sets, settings)
    weights = max(lend(lender, _borrower(unit, sets[0]), unit.method), key=Tensor.numel)
    z, density = standard_histogram(weights)
    rows = [{"z": x, "density": y} for x, y in zip(z.tolist(), density.tolist(), strict=True)]
    yield unit.record(ADVANTAGE, laplace_advantage(weights), "nats per weight", log=rows)
    yield unit.record("kurtosis", excess_kurtosis(weights), "")
    yield unit.record("std", float(weights.std(correction=0)), "")
    reached = {}
    as_it_is = unit.method == "none"
    for std in (1.0,) if as_it_is else settings.stds:
        borrower = _borrower(unit, sets[0])
        lend(lender, borrower, unit.method, std)
        reached[std] = 100 * borrowed_accuracy(unit, borrower, sets, settings)
    scan = [{"std": std, "accuracy": accuracy} for std, accuracy in reached.items()]
    yield unit.record("accuracy", reached[1.0], "%")
    yield unit.record("best_accuracy", max(reached.values()), "%", log=None if as_it_is else scan)


def _borrower(unit: Unit, train_set: ImageSet) -> nn.Module:
    torch.manual_seed(unit.seed)
    return create_model(
        unit.model, train_set.num_classes, "adder", in_channels=train_set.in_channels
    )


def lending_network(unit: Unit, sets: tuple[ImageSet, ImageSet], settings: Settings) -> nn.Module:
    """The seed's trained convolution network; trained once, then read from its checkpoint."""
    conv = replace(unit, method="conv")
    model = seeded_model(conv, sets[0])
    config = digits_config(conv, settings)
    train_unit(conv, model, *sets, config)
    return model


def lend(lender: nn.Module, borrower: nn.Module, method: str, std: float = 1.0) -> list[Tensor]:
    """Give ``borrower``'s adder convolutions the remapped weights of ``lender`` and freeze them.

    Args:
        lender: a network of convolutions.
        borrower: the same network with adder layers; changed in place.
        method: of METHODS; "none" lends the weights as they are, whatever ``std`` is, "random"
            numbers from torch's global generator instead of them.
        std: √2·b, the standard deviation that normal weights end with.

    Returns:
        The frozen weights, on the CPU.
    """
    read = _reading(method, std)
    given = []
    for name, layer in borrower.named_modules():
        if isinstance(layer, AdderConv2d):
            weight = read(lender.get_parameter(f"{name}.weight").detach().cpu())
            layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
            given.append(layer.weight.data)
    return given


def _reading(method: str, std: float) -> Callable[[Tensor], Tensor]:
    if method == "random":
        return lambda weight: std * torch.randn_like(weight)
    return make_remap(method, **({} if method == "none" else {"scale": std * SCALE}))


def borrowed_accuracy(
    unit: Unit, borrower: nn.Module, sets: tuple[ImageSet, ImageSet], settings: Settings
) -> float:
    """Test accuracy in 0..1 after training what is not frozen, batch statistics taken afresh."""
    config = digits_config(unit, settings, epochs=settings.adder_epochs)
    device = unit.context.device
    train(borrower, *sets, config, device=device, progress=unit.context.progress)
    batches = full_batches(unit, sets[0], settings.batch_size)
    reestimate_batch_norm(borrower, batches.epoch(0))
    mean, std = batches.mean, batches.std
    return evaluate(borrower, sets[1], device=device, mean=mean, std=std)["accuracy"]


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Both distributions, the curve between them, and what the borrowers achieve."""
    return remapping_figure(one_configuration(records, ADVANTAGE, METHODS))


ITEM = built("shiftaddaug/fig3", profiles=PROFILES, run=run, draw=draw)
