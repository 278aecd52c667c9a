"""adder-quant/tab1: CIFAR networks; see :mod:`saa_lite.items.adder_quant.operation_tables`.

The table does not say for how many classes it counts. #Mul of BNN and AddNN, 0.45 M, is first layer
plus 100-class classifier, 442,368 + 6,400; the other columns are those of 10 classes. Both are
counted; where neither agrees, the one of 10 classes is shown.

Accuracies are those of the networks that tab3, tab5 and fig1 quantise, one model and data set per
run: ``--set dataset=cifar10 --set model=resnet32``. Per seed the three networks have the same
topology, recipe and order of images; only the operator differs. In the profile ``shipped`` they are
those that come with the package.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from saa_lite.items.adder_quant import operation_tables as tables
from saa_lite.items.adder_quant.networks import SHIPPED, Training, trained_network
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.output import Table
from saa_lite.items.printed_counts import METHODS, TABLE_1, shown_beside
from saa_lite.published import PublishedNumber
from saa_lite.records import Record


@dataclass(frozen=True)
class Settings(Training):
    """The networks whose accuracy is measured; every profile counts the operations of all."""

    methods: tuple[str, ...] = tuple(METHODS.values())


PROFILES = {
    "smoke": Settings("digits", "lenet5_bn", 100, 50, 1, 1, batch_size=20, flip=False),
    "laptop": Settings(
        "digits", "resnet20", 1_297, 500, 15, 5, 16, batch_size=64, crop_padding=1, flip=False
    ),
    "full": Settings(
        "cifar100", "resnet20", 50_000, 10_000, 400, 5, batch_size=256, nesterov=False
    ),
    "shipped": Settings(**SHIPPED),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Count the networks of Table 1, then train one of them with every operator."""
    yield from tables.run(TABLE_1, settings, context)
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


def _accuracy(unit: Unit, settings: Settings) -> Record:
    network = trained_network(settings, unit.context, unit.method, unit.seed)
    logits = network.logits()
    return unit.record("accuracy", network.accuracy(logits), "%", hits=network.hits(logits))


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """The published table, and a last column with the embedded digits."""
    table = tables.table(TABLE_1, records, published)
    rows = []
    for row in table.rows:
        label, _, method = row[0].rpartition(" ")
        wanted = ("digits", label.lower().replace("-", ""), METHODS[method], "accuracy")
        mine = [r for r in records if (r.dataset, r.model, r.method, r.metric) == wanted]
        rows.append((*row, tables.longest(mine)))
    return Table((*table.columns, "digits ours"), tuple(rows))


ITEM = built(
    "adder-quant/tab1",
    profiles=PROFILES,
    run=run,
    draw=draw,
    matches=partial(shown_beside, TABLE_1),
)
