"""A quantised adder network beside a convolutional one quantised by AdaRound, BRECQ and QDrop.

Both networks are trained with the same recipe, images and seed, and all methods read the same
calibration images. What is measured: :mod:`saa_lite.items.adder_quant.tab4`.

The adder network keeps stem, classifier and norms in full precision. The convolutional methods fold
batch norm and have first and last layer in 8 bits, as in theirs. The floor, ``CNN nearest``, is
ours: the same grids as the three methods, nothing optimised.

**Batch norm** is a part of the method, and each network is measured with it and without. In the
released code the adder network alone takes its statistics anew after quantising (``AddNN``), and
the convolutional methods do not (``CNN AdaRound``, …). Like is compared with like where both do
(``AddNN`` and ``CNN AdaRound, batch norm anew``; the folded norms go back to their places first,
:func:`~saa_lite.quantize.unfold_batch_norm`), or neither (``AddNN, old batch norm`` and
``CNN AdaRound``). The quantised network is the same in both, and so are the images. What is taken
anew is set against full precision with its statistics taken anew, too.

The profile ``shipped`` measures the networks that come with the package: one of each operator, so
that intervals are over the test images, and none says how another training would have come out.
The source's statements about an adder and a convolutional network would need several of each; five
seeds are what the other profiles have.

Three controls of ours look for the reason why BRECQ falls back at few iterations: nearest and BRECQ
with the weights quantised and no inputs, and BRECQ that learns its roundings on quantised inputs.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from saa_lite.items.adder_quant.networks import SHIPPED, Network, Training, trained_network
from saa_lite.items.adder_quant.tab4 import (
    REESTIMATED,
    Full,
    change_metric,
    compared,
    fresh_copy,
    full_precision,
    metrics_of,
    rows_of,
    setting_of,
    unit_of,
)
from saa_lite.items.base import Context, Unit
from saa_lite.items.output import Table
from saa_lite.items.registry import built
from saa_lite.items.select import configurations
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize, quantize_convolution, unfold_batch_norm
from saa_lite.quantize.adder_layers import QuantizedAdder
from saa_lite.quantize.network import reestimate_statistics
from saa_lite.records import Record

FULL = {"adder": "AddNN FP", "conv": "CNN FP"}
ANEW = ", batch norm anew"
ADDER = {"AddNN": True, "AddNN, old batch norm": False}  # method → batch norm taken anew
CNN = {
    "CNN nearest": "nearest",
    "CNN AdaRound": "adaround",
    "CNN BRECQ": "brecq",
    "CNN QDrop": "qdrop",
}
WEIGHTS_ONLY = {"CNN nearest, weights only": "nearest", "CNN BRECQ, weights only": "brecq"}
CONTROLS = {**WEIGHTS_ONLY, "CNN BRECQ, roundings on quantised inputs": "brecq-inputs"}
CONVOLUTION = {**CNN, **CONTROLS}
CNN_ANEW = tuple(method + ANEW for method in CNN)
METHODS = (*ADDER, *CNN, *CNN_ANEW, *CONTROLS)
BITS = (4, 3)  # that the table prints


@dataclass(frozen=True)
class Settings(Training):
    """The networks, and how they are quantised.

    ``iterations`` per layer (AdaRound) or block, 20,000 in the papers; see
    :func:`~saa_lite.quantize.quantize_convolution`. ``controls``: whether they are run, too.
    """

    bits: tuple[int, ...] = BITS
    groups: int = 4
    alpha: float = 0.9992
    iterations: int = 100
    calibration_batches: int = 4
    controls: bool = True

    OUTSIDE: ClassVar[tuple[str, ...]] = (*Training.OUTSIDE, "controls")


PROFILES = {
    "smoke": Settings(
        "digits", "lenet5_bn", 100, 50, 4, 1, batch_size=10, flip=False, bits=(3,), iterations=2
    ),
    "laptop": Settings(
        "digits", "resnet20", 1_297, 500, 15, 5, 16, batch_size=64, crop_padding=1, flip=False
    ),
    "full": Settings(
        "cifar100",
        "resnet20",
        50_000,
        10_000,
        400,
        5,
        batch_size=256,
        nesterov=False,
        iterations=20_000,
    ),
    "shipped": Settings(**SHIPPED, iterations=2_000, controls=False),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train both networks, then quantise each in all its ways."""
    convolution = CONVOLUTION if settings.controls else CNN
    for seed in range(settings.seeds):
        for kind, methods in (("conv", tuple(convolution)), ("adder", ("AddNN",))):
            yield from _quantise_all(settings, context, kind, methods, seed)


def arms_of(method: str) -> tuple[str, ...]:
    """What one quantised network is measured as: with batch norm as trained, then anew."""
    if method in ADDER:
        return ("AddNN, old batch norm", "AddNN")
    return (method, method + ANEW) if method in CNN else (method,)


def full_of(method: str) -> Full:
    """The method and the metric of the full precision that a change is from."""
    full = FULL["adder" if method in ADDER else "conv"]
    return full, REESTIMATED if ADDER.get(method, method in CNN_ANEW) else "accuracy"


def _quantise_all(
    settings: Settings, context: Context, kind: str, methods: Sequence[str], seed: int
) -> Iterator[Record]:
    def unit_named(method: str) -> Unit:
        return unit_of(context, settings, method, seed, kind)

    def left_of(method: str) -> list[int]:
        units = [unit_named(arm) for arm in arms_of(method)]
        bits = settings.bits
        return [b for b in bits if not all(unit.done(*metrics_of([b])) for unit in units)]

    full = unit_named(FULL[kind])
    left = {method: bits for method in methods if (bits := left_of(method))}
    known = full.done("accuracy", REESTIMATED)
    if not left and known:
        return
    network = trained_network(settings, context, kind, seed)
    images = network.calibration(settings)
    if not known:
        yield from full_precision(full, network, images)
    exact = (network.logits(), network.logits(fresh_copy(network, images)))
    for method, bits in left.items():
        for b in bits:
            units = [unit_named(arm) for arm in arms_of(method)]  # their clocks start now
            made = quantized(units[0], settings, network.model, images, b)
            variants = zip(_variants(made, network, images), exact, strict=True)
            for unit, (copied, logits) in zip(units, variants, strict=False):  # controls have one
                yield from compared(unit, network, copied, logits, b)


def _variants(quantised: nn.Module, network: Network, images: list[Tensor]) -> Iterator[nn.Module]:
    """The same with batch norm as trained, and anew."""
    yield quantised
    if any(isinstance(layer, QuantizedAdder) for layer in quantised.modules()):
        fresh = deepcopy(quantised)
    else:
        fresh = unfold_batch_norm(quantised, network.model, images[0][:2])
    reestimate_statistics(fresh, images)
    yield fresh


def quantized(
    unit: Unit, settings: Settings, model: nn.Module, images: list[Tensor], bits: int
) -> nn.Module:
    """The copy that the unit's method makes, with batch norm as trained."""
    if unit.method in ADDER:
        return quantize(
            model,
            images,
            bits=bits,
            groups=settings.groups,
            alpha=settings.alpha,
            reestimate=False,
        )
    return quantize_convolution(
        model,
        torch.cat(images),
        CONVOLUTION[unit.method],
        bits=bits,
        activation_bits=None if unit.method in WEIGHTS_ONLY else bits,
        iterations=settings.iterations,
        seed=unit.seed,
        progress=unit.context.progress,
    )


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """A row per setting of ours and method."""
    columns = [f"W{b}A{b} {what}" for b in BITS for what in ("published", "ours", "logit error")]
    rows = []
    for group in configurations(records):
        first = group[0].settings
        images = first["batch_size"] * first["calibration_batches"]
        budget = f"{setting_of(group)}; {images} images, {first['iterations']:,} iterations"
        rows += [(budget, *row) for row in rows_of(group, published, METHODS, BITS, full_of)]
    header = ("setting of ours", "method; published: ResNet-20, CIFAR-100", *columns)
    return Table(header, tuple(rows))


def matches(number: PublishedNumber, record: Record) -> bool:
    """Beside a printed number: the same method and bits, on the published network and set."""
    if (record.model, record.dataset) != ("resnet20", "cifar100"):
        return False
    columns = {"accuracy": "accuracy", "W4A4": change_metric(4), "W3A3": change_metric(3)}
    return number.row == record.method and columns.get(number.column) == record.metric


ITEM = built("adder-quant/tab5", profiles=PROFILES, run=run, draw=draw, matches=matches)
