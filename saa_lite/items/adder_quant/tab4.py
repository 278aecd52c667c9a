"""The adder vision transformer after training, quantised by redistribution and by QSSF.

QSSF's scale is open in the source, so there are three readings of it; ``QSSF`` is the one whose
scale covers both weights and activations. Adder layers alone are quantised: scores and the product
with the values stay, as do patch embedding, classifier and norms (our reading; neither supplement
nor released code treats attention). All methods read the same calibration images, and batch norm
takes its statistics anew; see :mod:`saa_lite.items.adder_quant.changes`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from saa_lite.items.adder_quant.changes import (
    REESTIMATED,
    Full,
    compared,
    fresh_copy,
    full_precision,
    metrics_of,
    rows_of,
    setting_of,
    unit_of,
    values_of,
)
from saa_lite.items.adder_quant.networks import Training, trained_network
from saa_lite.items.base import Context, built
from saa_lite.items.output import Table
from saa_lite.items.select import configurations
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize
from saa_lite.records import Record

FULL = "FP"
METHODS = {
    "Ours": "redistribution",
    "QSSF": "qssf-both",
    "QSSF, scale of the weights": "qssf-weights",
    "QSSF, scale of the activations": "qssf-activations",
}
BITS = (8, 6, 4)  # that the table prints


@dataclass(frozen=True)
class Settings(Training):
    """The networks, and how they are quantised."""

    bits: tuple[int, ...] = BITS
    groups: int = 4
    alpha: float = 0.9992


PROFILES = {
    "smoke": Settings(
        "digits",
        "deit_mini",
        60,
        50,
        1,
        1,
        batch_size=20,
        flip=False,
        bits=(4,),
        calibration_batches=2,
    ),
    "laptop": Settings(
        "digits", "deit_mini", 1_297, 500, 20, 5, batch_size=64, crop_padding=2, flip=False
    ),
    "full": Settings("cifar100", "deit_mini", 50_000, 10_000, 400, 5, warmup_epochs=5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train, then quantise the same transformer in every way."""
    wanted = metrics_of(settings.bits)
    for seed in range(settings.seeds):
        full = unit_of(context, settings, FULL, seed)
        units = {name: unit_of(context, settings, name, seed) for name in METHODS}
        left = [name for name, unit in units.items() if not unit.done(*wanted)]
        if not left and full.done("accuracy_reestimated"):
            continue
        network = trained_network(settings, context, "adder", seed)
        images = network.calibration(settings)
        yield from full_precision(full, network, images)
        exact = network.logits(fresh_copy(network, images))
        for name in left:
            unit = unit_of(context, settings, name, seed)  # its clock starts now
            for bits in settings.bits:
                copied = quantize(
                    network.model,
                    images,
                    method=METHODS[name],
                    bits=bits,
                    groups=settings.groups,
                    alpha=settings.alpha,
                )
                yield from compared(unit, network, copied, exact, bits)


def full_of(method: str) -> Full:
    """What every change is from: full precision with fresh statistics."""
    return FULL, REESTIMATED


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """A row per setting of ours and method."""
    columns = [f"W{b}A{b} {what}" for b in BITS for what in ("published", "ours", "logit error")]
    printed = next(number.printed for number in published if number.row == FULL)
    rows = []
    for group in configurations(records):
        full = values_of(group, FULL, "accuracy")
        ours = f", ours {sum(full) / len(full):.2f} %" if full else ""
        named = f"full precision: published {printed} %{ours}"
        rows.append((setting_of(group), named, *["—"] * len(columns)))
        rows += [
            (setting_of(group), *row)
            for row in rows_of(group, published, [*METHODS], BITS, full_of)
        ]
    header = ("setting of ours", "method; published: adder DeiT-T, ImageNet", *columns)
    return Table(header, tuple(rows))


def matches(number: PublishedNumber, record: Record) -> bool:
    """None of ours is at the printed setting: DeiT-T on ImageNet is out of reach."""
    return False


ITEM = built("adder-quant/tab4", profiles=PROFILES, run=run, draw=draw, matches=matches)
