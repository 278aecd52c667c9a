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
    cells,
    change_metric,
    compared,
    fresh_copy,
    full_precision,
    metrics_of,
    setting_of,
    unit_of,
    values_of,
)
from saa_lite.items.adder_quant.networks import Training, trained_network
from saa_lite.items.base import Context, built
from saa_lite.items.select import one_configuration
from saa_lite.items.table import Table
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


@dataclass(frozen=True)
class Settings(Training):
    """The networks, and how they are quantised."""

    bits: tuple[int, ...] = (8, 6, 4)
    groups: int = 4
    alpha: float = 0.9992


PROFILES = {
    "smoke": Settings(
        "digits", "deit_mini", 60, 50, 1, 1, batch_size=20, flip=False, calibration_batches=2
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


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """A row per method: printed and measured changes."""
    chosen = one_configuration(records, change_metric(4), tuple(METHODS))
    bits = sorted(chosen[0].settings["bits"], reverse=True)
    header = ["method"]
    for b in bits:
        header += [f"W{b}A{b} published (adder DeiT-T, ImageNet)", f"W{b}A{b} ours", "logit error"]
    printed = {(n.row, n.column): n.printed for n in published}
    full, budget = values_of(chosen, FULL, "accuracy"), setting_of(chosen)
    row = [f"full precision: published 68.3 %, ours {sum(full) / len(full):.2f} %"]
    rows = [(*row, *["—"] * (3 * len(bits)), budget)]
    for name in METHODS:
        row = [name]
        for b in bits:
            number = printed.get((name, f"W{b}A{b}"))
            row += [f"{number} points" if number else "—", *cells(chosen, name, b)]
        rows.append((*row, budget))
    return Table((*header, "setting of ours"), tuple(rows))


def matches(number: PublishedNumber, record: Record) -> bool:
    """None of ours is at the printed setting: DeiT-T on ImageNet is out of reach."""
    return False


ITEM = built("adder-quant/tab4", profiles=PROFILES, run=run, draw=draw, matches=matches)
