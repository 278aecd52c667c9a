"""Tables 1 and 2: operations of CNN, BNN and AddNN, and their accuracies.

The operation columns are counted, not measured. The tables' rule: a multiplied tap is one
multiplication and one addition, an adder tap two additions, a binary tap one XNOR and one addition;
first layer and classifier stay multiplicative; norms, activations and sums of shortcuts are left
out. So with M taps, F of them in first layer and classifier, and R = M − F:

========= ===== ======= ======
method    #Mul  #Add    #XNOR
========= ===== ======= ======
CNN       M     M       0
BNN       F     M       R
AddNN     F     M + R   0
========= ===== ======= ======

Each unit also records ``norm_activation``, the elements that pass a batch norm or an activation
behind the first layer: added to M they give 41.17 M for ResNet-20, but 69.71 M for ResNet-32, of
which the same table prints 69.12 M.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from saa_lite.costs import Costs, count
from saa_lite.items.base import Context
from saa_lite.items.output import Table
from saa_lite.items.printed_counts import COLUMNS, METHODS, SCALE, Networks, compare
from saa_lite.items.select import train_images, training_length
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record

SHORT = {"Mop": "M", "Gop": "G"}


@dataclass(frozen=True)
class Settings:
    """``methods`` that are counted; nothing is trained, so every profile counts them all."""

    methods: tuple[str, ...] = tuple(METHODS.values())


class Counted(Protocol):
    """Settings that name the operators to count."""

    @property
    def methods(self) -> tuple[str, ...]: ...


PROFILES = dict.fromkeys(("smoke", "laptop", "full"), Settings())


def run(networks: Networks, settings: Counted, context: Context) -> Iterator[Record]:
    """Count every network, method and number of classes."""
    for network in networks.values():
        for method in settings.methods:
            for classes in network.classes:
                unit = context.unit(
                    method=method,
                    model=network.model,
                    dataset=f"one image, {classes} classes",
                    seed=0,
                    settings={"classes": classes, "resolution": network.resolution},
                )
                if unit.done("norm_activation"):
                    continue
                costs = count(create_model(network.model, classes, method), network.resolution)
                for metric in COLUMNS.values():
                    operations = costs.count(metric) / SCALE[network.unit]
                    yield unit.record(metric, operations, network.unit)
                yield unit.record("norm_activation", norm_activation(costs), "elements")


def norm_activation(costs: Costs) -> int:
    """Elements that a batch norm or an activation takes in, the first of each left out."""
    norms = [x for x in costs.layers if x.count("batch_norm")]
    activations = [x for x in costs.layers if x.count("activation")]
    found = sum(x.count("batch_norm") // 2 for x in norms[1:])
    return found + sum(x.count("activation") for x in activations[1:])


def table(networks: Networks, records: list[Record], published: list[PublishedNumber]) -> Table:
    """One row per network and method: published and counted side by side, accuracies, remark."""
    own = [number for number in published if not number.related]
    accuracies = list(dict.fromkeys(n.column for n in own if n.column not in COLUMNS))
    header = [f"{column} {side}" for column in COLUMNS for side in ("published", "counted")]
    header += [f"{column} {side}" for column in accuracies for side in ("published", "ours")]
    rows = []
    for row in dict.fromkeys(number.row for number in own):
        cells = {number.column: number for number in own if number.row == row}
        line = [cell for column in COLUMNS for cell in _counts(records, networks, cells[column])]
        line += [cell for column in accuracies for cell in _accuracies(records, cells[column])]
        rows.append((row, *line, _remark(records, networks, list(cells.values()))))
    return Table(("network", *header, "remark"), tuple(rows))


def _counts(records: list[Record], networks: Networks, number: PublishedNumber) -> tuple[str, str]:
    unit = SHORT[number.unit]
    printed = f"{number.printed}{unit}" if number.value else "0"
    found = compare(records, networks, number)
    if found is None:
        return printed, "—"
    digits = len(number.printed.partition(".")[2]) + 1
    return printed, f"{found.value:.{digits}f}{unit}" if found.value else "0"


def _remark(records: list[Record], networks: Networks, cells: list[PublishedNumber]) -> str:
    """What should be printed where our counts differ."""
    compared = [found for n in cells if (found := compare(records, networks, n)) is not None]
    off = [found.correction for found in compared if not found.agrees]
    return "; ".join(off) or ("agrees" if compared else "—")


def _accuracies(records: list[Record], number: PublishedNumber) -> tuple[str, str]:
    """The printed accuracy, and the longest of our trainings of that network and set."""
    label, _, method = number.row.rpartition(" ")
    wanted = (label.lower().replace("-", ""), METHODS[method])
    trained = [
        record
        for record in records
        if (record.model, record.method, record.metric) == (*wanted, "accuracy")
        and record.dataset == number.column.lower().replace("-", "")
    ]
    return f"{number.printed} %", longest(trained)


def longest(trained: list[Record]) -> str:
    """Mean accuracy of the longest training among the records."""
    if not trained:
        return "—"
    most = max(map(training_length, trained))
    found = [record for record in trained if training_length(record) == most]
    mean = math.fsum(record.value for record in found) / len(found)
    epochs, images = found[0].epochs, train_images(found[0])
    return f"{mean:.1f} % ({epochs} epochs, {images:,} images, {len(found)} seeds)"
