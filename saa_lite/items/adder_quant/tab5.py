"""A quantised adder network beside a convolutional one quantised by AdaRound, BRECQ and QDrop.

Both networks are trained with the same recipe, images and seed, and all methods read the same
calibration images. What is measured: :mod:`saa_lite.items.adder_quant.changes`.

The adder network keeps stem, classifier and norms in full precision and takes its batch norm
statistics anew, as in the released code; ``AddNN, old batch norm`` does not. The convolutional
methods fold batch norm and have first and last layer in 8 bits, as in theirs. The floor,
``CNN nearest``, is ours: the same grids as the three methods, nothing optimised.

Three controls of ours look for the reason why BRECQ falls back at few iterations: nearest and BRECQ
with the weights quantised and no inputs, and BRECQ that learns its roundings on quantised inputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saa_lite.items.adder_quant.changes import (
    change_metric,
    compared,
    fresh_copy,
    full_precision,
    metrics_of,
    rows_of,
    setting_of,
    unit_of,
)
from saa_lite.items.adder_quant.networks import Network, Training, trained_network
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.select import configurations
from saa_lite.items.table import Table
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize, quantize_convolution
from saa_lite.records import Record

FULL = {"adder": "AddNN FP", "conv": "CNN FP"}
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
METHODS = (*ADDER, *CONVOLUTION)
BITS = (4, 3)  # that the table prints


@dataclass(frozen=True)
class Settings(Training):
    """The networks, and how they are quantised.

    ``iterations`` per layer (AdaRound) or block, 20,000 in the papers; see
    :func:`~saa_lite.quantize.quantize_convolution`.
    """

    bits: tuple[int, ...] = BITS
    groups: int = 4
    alpha: float = 0.9992
    iterations: int = 100
    calibration_batches: int = 4


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
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train both networks, then quantise each in all its ways."""
    for seed in range(settings.seeds):
        for kind, methods in (("conv", tuple(CONVOLUTION)), ("adder", tuple(ADDER))):
            yield from _quantise_all(settings, context, kind, methods, seed)


def _quantise_all(
    settings: Settings, context: Context, kind: str, methods: Sequence[str], seed: int
) -> Iterator[Record]:
    wanted = metrics_of(settings.bits)

    def unit_named(method: str) -> Unit:
        return unit_of(context, settings, method, seed, kind)

    full = unit_named(FULL[kind])
    left = [name for name in methods if not unit_named(name).done(*wanted)]
    if not left and full.done("accuracy_reestimated"):
        return
    network = trained_network(settings, context, kind, seed)
    yield from full_precision(full, network, network.calibration(settings))
    for method in left:
        unit = unit_named(method)  # its clock starts now
        yield from _measure(unit, settings, network)


def _measure(unit: Unit, settings: Settings, network: Network) -> Iterator[Record]:
    images, anew = network.calibration(settings), ADDER.get(unit.method, False)
    exact = network.logits(fresh_copy(network, images) if anew else None)
    for bits in (b for b in settings.bits if not unit.done(*metrics_of([b]))):
        copied = quantized(unit, settings, network.model, images, bits)
        yield from compared(unit, network, copied, exact, bits)


def quantized(
    unit: Unit, settings: Settings, model: nn.Module, images: list[Tensor], bits: int
) -> nn.Module:
    """The copy that the unit's method makes."""
    if unit.method in ADDER:
        return quantize(
            model,
            images,
            bits=bits,
            groups=settings.groups,
            alpha=settings.alpha,
            reestimate=ADDER[unit.method],
        )
    return quantize_convolution(
        model,
        torch.cat(images),
        CONVOLUTION[unit.method],
        weight_bits=bits,
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
        rows += [(budget, *row) for row in rows_of(group, published, METHODS, BITS)]
    header = ("setting of ours", "method; published: ResNet-20, CIFAR-100", *columns)
    return Table(header, tuple(rows))


def matches(number: PublishedNumber, record: Record) -> bool:
    """Beside a printed number: the same method and bits, on the published network and set."""
    if (record.model, record.dataset) != ("resnet20", "cifar100"):
        return False
    columns = {"accuracy": "accuracy", "W4A4": change_metric(4), "W3A3": change_metric(3)}
    return number.row == record.method and columns.get(number.column) == record.metric


ITEM = built("adder-quant/tab5", profiles=PROFILES, run=run, draw=draw, matches=matches)
