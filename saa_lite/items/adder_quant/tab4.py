"""The adder vision transformer after training, quantised by redistribution and by QSSF.

QSSF's scale is open in the source, so there are three readings of it; ``QSSF`` is the one whose
scale covers both weights and activations. Adder layers alone are quantised: scores and the product
with the values stay, as do patch embedding, classifier and norms (our reading; neither supplement
nor released code treats attention). All methods read the same calibration images, and batch norm
takes its statistics anew.

**What Tables 4 and 5 print** is how much accuracy quantising costs, in points. Per number of bits
b, of weights and of activations:

================== ===============================================================================
change_b_bits      test accuracy of the quantised network minus that of the same network in full
                   precision; a loss is negative, as printed
logit_error_b_bits distance of the two networks' logits, see
                   :func:`~saa_lite.items.adder_quant.networks.logit_error`
================== ===============================================================================

Where batch norm takes its statistics anew after quantising, the full-precision network's are taken
anew from the same images, too: our reading, so that a change is quantisation's alone.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor, nn

from saa_lite.items.adder_quant.networks import Network, Training, logit_error, trained_network
from saa_lite.items.base import Context, Unit
from saa_lite.items.interval import per_image, signed, signed_mean
from saa_lite.items.output import Table
from saa_lite.items.registry import built
from saa_lite.items.select import configurations
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize
from saa_lite.records import Record
from saa_lite.train import reestimate_batch_norm
from saa_lite.viz.style import counted

REESTIMATED = "accuracy_reestimated"
Full = tuple[str, str]
"""Method and metric of the full precision that a change is from."""
FULL = "FP"
METHODS = {
    "Ours": "redistribution",
    "QSSF": "qssf-both",
    "QSSF, scale of the weights": "qssf-weights",
    "QSSF, scale of the activations": "qssf-activations",
}
BITS = (8, 6, 4)  # that the table prints


def change_metric(bits: int) -> str:
    """Name of the change at so many bits."""
    return f"change_{bits}_bits"


def error_metric(bits: int) -> str:
    """Name of the logits' distance at so many bits."""
    return f"logit_error_{bits}_bits"


def metrics_of(bits: Sequence[int]) -> list[str]:
    """All numbers of one quantised row."""
    return [name(b) for b in bits for name in (change_metric, error_metric)]


def unit_of(
    context: Context, settings: Training, method: str, seed: int, kind: str = "adder"
) -> Unit:
    """The unit of one row and seed; all of a seed quantise one trained network of the ``kind``."""
    return context.unit(
        method=method,
        model=settings.model,
        dataset=settings.dataset,
        seed=seed,
        epochs=settings.epochs_of(kind),
        settings=settings.shared(),
        together=kind,
    )


def fresh_copy(network: Network, images: Sequence[Tensor]) -> nn.Module:
    """The full-precision network with statistics of batch norm from ``images``."""
    fresh = deepcopy(network.model)
    reestimate_batch_norm(fresh, images)
    return fresh


def full_precision(unit: Unit, network: Network, images: Sequence[Tensor]) -> Iterator[Record]:
    """As trained, and with statistics of batch norm from the calibration images."""
    for metric, model in (("accuracy", None), (REESTIMATED, fresh_copy(network, images))):
        logits = network.logits(model)
        yield unit.record(metric, network.accuracy(logits), "%", hits=network.hits(logits))


def compared(
    unit: Unit, network: Network, quantised: nn.Module, exact: Tensor, bits: int
) -> Iterator[Record]:
    """Both numbers; ``exact`` holds the logits in full precision.

    The record of the change says which images the quantised network gets right.
    """
    found = network.logits(quantised)
    change = network.accuracy(found) - network.accuracy(exact)
    yield unit.record(change_metric(bits), change, "points", hits=network.hits(found))
    yield unit.record(error_metric(bits), logit_error(found, exact), "%")


def rows_of(
    records: Sequence[Record],
    published: Sequence[PublishedNumber],
    methods: Sequence[str],
    bits: Sequence[int],
    full: Callable[[str], Full],
) -> Iterator[list[str]]:
    """A row per method: per number of bits printed change, ours with interval, logit error.

    Where a method was run with fewer seeds than others, its cell says with how many. Of a single
    network the interval is over the test images. A method of ours alone that was not run has none.

    Args:
        full: method → what its change is from.
    """
    seeds = len({record.seed for record in records})
    printed = {(number.row, number.column): number.printed for number in published}
    there = {record.method for record in records} | {row for row, _ in printed}
    for method in (name for name in methods if name in there):
        row = [method]
        for b in bits:
            number = printed.get((method, f"W{b}A{b}"))
            changes = values_of(records, method, change_metric(b))
            errors = values_of(records, method, error_metric(b))
            row.append(f"{number} points" if number else "—")
            few = f" ({counted(len(changes), 'seed')})" if len(changes) < seeds else ""
            name, accuracy = full(method)
            terms = [(1.0, change_metric(b), method), (-1.0, accuracy, name)]
            images = per_image(records, terms) if len(changes) == 1 else None
            if images:
                row.append(f"{signed(images.values[0], images.interval)} points{few}")
            else:
                row.append(f"{signed_mean(changes)} points{few}" if changes else "—")
            row.append(f"{sum(errors) / len(errors):.2f} %" if errors else "—")
        yield row


def values_of(records: Sequence[Record], method: str, metric: str) -> tuple[float, ...]:
    """One number per seed."""
    return tuple(r.value for r in records if (r.method, r.metric) == (method, metric))


def setting_of(records: Sequence[Record]) -> str:
    """What was trained, on what, for how long."""
    first, seeds = records[0], counted(len({record.seed for record in records}), "seed")
    if weights := first.settings.get("weights"):
        epochs = " and ".join(map(str, sorted({record.epochs for record in records})))
        return (
            f"{first.model}, the package's own ({weights}), {epochs} epochs; one network of each "
            f"operator, intervals over {first.settings['test_images']:,} test images"
        )
    return f"{first.model}, {first.dataset}, {counted(first.epochs, 'epoch')}, {seeds}"


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
