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

**Table 1**, CIFAR networks, does not say for how many classes it counts. #Mul of BNN and AddNN,
0.45 M, is first layer plus 100-class classifier, 442,368 + 6,400; the other columns are those of 10
classes. Both are counted; where neither agrees, the one of 10 classes is shown. Accuracies are
those of the networks that tab3, tab5 and fig1 quantise, one model and data set per run:
``--set dataset=cifar10 --set model=resnet32``. Per seed the three networks have the same topology,
recipe and order of images; only the operator differs. In the profile ``shipped`` they are those
that come with the package.

**Table 2**, ImageNet networks: ResNet-50 is the first version, stride in the 1 × 1 layers, 3.858 G
taps; the later one, which the released AdderNet code uses, has 4.089 G and would print 4.1 G.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from saa_lite.costs import Costs, count
from saa_lite.items.adder_quant.networks import SHIPPED, Training, trained_network
from saa_lite.items.base import Context, Unit
from saa_lite.items.exact import (
    COLUMNS,
    METHODS,
    SCALE,
    TABLE_1,
    TABLE_2,
    Networks,
    compare,
    shown_beside,
)
from saa_lite.items.output import Table
from saa_lite.items.registry import built
from saa_lite.items.select import train_images, training_length
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record

SHORT = {"Mop": "M", "Gop": "G"}


@dataclass(frozen=True)
class Settings:
    """``methods`` that are counted; nothing is trained, so every profile counts them all."""

    methods: tuple[str, ...] = tuple(METHODS.values())


@dataclass(frozen=True)
class Trained(Training):
    """The networks whose accuracy is measured; every profile counts the operations of all."""

    methods: tuple[str, ...] = tuple(METHODS.values())


def run(networks: Networks, settings: Settings | Trained, context: Context) -> Iterator[Record]:
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


PROFILES = {
    "smoke": Trained("digits", "lenet5_bn", 100, 50, 1, 1, batch_size=20, flip=False),
    "laptop": Trained(
        "digits", "resnet20", 1_297, 500, 15, 5, 16, batch_size=64, crop_padding=1, flip=False
    ),
    "full": Trained("cifar100", "resnet20", 50_000, 10_000, 400, 5, batch_size=256, nesterov=False),
    "shipped": Trained(**SHIPPED),
}


def count_and_train(settings: Trained, context: Context) -> Iterator[Record]:
    """Count the networks of Table 1, then train one of them with every operator."""
    yield from run(TABLE_1, settings, context)
    for seed in range(settings.seeds):
        for method in settings.methods:
            if settings.weights and not settings.comes_trained(method):
                continue
            unit = context.unit(
                method=method,
                model=settings.model,
                dataset=settings.dataset,
                seed=seed,
                epochs=settings.epochs_of(method),
                settings=settings.recipe(),
            )
            if not unit.done("accuracy"):
                yield _accuracy(unit, settings)


def _accuracy(unit: Unit, settings: Trained) -> Record:
    network = trained_network(settings, unit.context, unit.method, unit.seed)
    logits = network.logits()
    return unit.record("accuracy", network.accuracy(logits), "%", hits=network.hits(logits))


def with_digits(records: list[Record], published: list[PublishedNumber]) -> Table:
    """The published table, and a last column with the embedded digits."""
    found = table(TABLE_1, records, published)
    rows = []
    for row in found.rows:
        label, _, method = row[0].rpartition(" ")
        wanted = ("digits", label.lower().replace("-", ""), METHODS[method], "accuracy")
        mine = [r for r in records if (r.dataset, r.model, r.method, r.metric) == wanted]
        rows.append((*row, longest(mine)))
    return Table((*found.columns, "digits ours"), tuple(rows))


ITEMS = (
    built(
        "adder-quant/tab1",
        profiles=PROFILES,
        run=count_and_train,
        draw=with_digits,
        matches=partial(shown_beside, TABLE_1),
    ),
    built(
        "adder-quant/tab2",
        profiles=dict.fromkeys(("smoke", "laptop", "full"), Settings()),
        run=partial(run, TABLE_2),
        draw=partial(table, TABLE_2),
        matches=partial(shown_beside, TABLE_2),
    ),
)
