"""Shift, Add and AugAdd on two networks and four data sets (supplement, Table 2), and more.

Beside the table's rows stand AugShift and the multiplicative network, which it leaves out, and
adder networks from a calm start (:mod:`saa_lite.models.calm`). The discussion around the table,
where adder layers may stand, is ``shiftaddaug-supp/addconv-nas``.

``laptop`` trains what ``shiftaddaug/claim-cifar100`` has not trained yet. ``full`` has every cell;
Flowers-102 and Food-101 come through torchvision and are trained from scratch, so they are not
comparable with the table, whose accuracies need a pretrained network.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from saa_lite.items import augmented
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context
from saa_lite.items.output import Table
from saa_lite.items.registry import built
from saa_lite.items.select import FAIR, best_group, fair, lags, train_images
from saa_lite.items.shiftaddaug import claim_cifar100
from saa_lite.published import PublishedNumber
from saa_lite.records import Record

PRINTED_METHODS = {"shift": "Shift", "adder": "Add", "aug-adder": "AugAdd"}
OURS = {
    "aug-shift": "AugShift", "conv": "Mult", "adder-calm": "Add, calm start",
    "aug-adder-calm": "AugAdd, calm start", "aug-shift-unsorted": "AugShift, unsorted",
    "aug-adder-unsorted": "AugAdd, unsorted",
    "aug-adder-calm-unsorted": "AugAdd, calm, unsorted",
}  # fmt: skip
ROWS = {**PRINTED_METHODS, **OURS}
NETWORKS = {"mobilenet_v2_w035": "MobileNetV2-w0.35", "mcunet": "MCUNet"}
COLUMNS = {
    "cifar10": "CIFAR10", "cifar100": "CIFAR100", "food101": "Food101", "flowers102": "Flower102",
}  # fmt: skip
IMAGES = {"food101": (75_750, 25_250), "flowers102": (1_020, 6_149)}  # elsewhere the settings'
WIDTHS = {"mcunet": (1.0, 1.6, 2.2)}  # NetAug's list for MCUNet
SHARED = ("shiftaddaug/claim-cifar100",)


@dataclass(frozen=True)
class Settings(Training):
    """The recipe for one cell, and further cells "NETWORK:DATASET" to train with it."""

    more: tuple[str, ...] = ()


def _settings(recipe: Training, more: tuple[str, ...] = ()) -> Settings:
    return Settings(**recipe.__dict__, more=more)


PROFILES = {
    name: _settings(recipe, tuple(f"{n}:{d}" for d in COLUMNS for n in NETWORKS))
    if name == "full"
    else _settings(recipe)
    for name, recipe in claim_cifar100.PROFILES.items()
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """The first cell, then the further ones; a cell that is named twice is trained once."""
    cells = [f"{settings.network}:{settings.dataset}", *settings.more]
    for cell in dict.fromkeys(cells):
        network, _, dataset = cell.partition(":")
        yield from augmented.run(for_cell(settings, network, dataset), context, tuple(ROWS), SHARED)


def for_cell(settings: Settings, network: str, dataset: str) -> Training:
    """The settings with the cell's network, widths, data set and number of images."""
    train, test = IMAGES.get(dataset, (settings.train_images, settings.test_images))
    return replace(
        settings,
        network=network,
        dataset=dataset,
        train_images=train,
        test_images=test,
        width=WIDTHS.get(network, settings.width),
    )


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """Per network and data set one row per method: published, ours, seeds, budget."""
    printed = {(n.row, n.column): n.printed for n in published if not n.related}
    rows: list[tuple[str, ...]] = []
    for network, label in NETWORKS.items():
        for dataset, column in _columns(records):
            here = [r for r in records if (r.model, r.dataset) == (network, dataset)]
            for method, name in ROWS.items():
                number, ours = printed.get((f"{label} {name}", column)), _ours(here, method)
                if number or ours != NOTHING:
                    rows.append((label, column, name, number or "—", *ours))
    return Table(
        ("network", "data set", "method", "published (%)", OURS_COLUMN, "budget"), tuple(rows)
    )


NOTHING = ("—", "—")
OURS_COLUMN = "ours (%), ± standard deviation over seeds"


def _columns(records: Sequence[Record]) -> list[tuple[str, str]]:
    """The table's data sets, and before them others that a small run has used."""
    others = {r.dataset: r.dataset for r in records if r.dataset not in COLUMNS}
    return [*others.items(), *COLUMNS.items()]


def _ours(cell: Sequence[Record], method: str) -> tuple[str, str]:
    """Mean ± standard deviation over seeds in the longest configuration, and what it cost.

    Runs that diverged have no accuracy: they are counted beside the others, not left out.
    """
    group = best_group(fair(cell), FAIR, (method,))
    if group is None:
        return NOTHING
    runs = list(group.by_method[method].values())
    values = [run.value for run in runs]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}"
    same = (method, "diverged_epoch", runs[0].config_hash)
    if lost := sum((r.method, r.metric, r.config_hash) == same for r in cell):
        seeds += f", {lost} more ended in NaN"
    cost = f"{runs[0].epochs} epochs, {train_images(runs[0]):,} images, {seeds}"
    return f"{fmean(values):.2f}{spread}", cost


def matches(number: PublishedNumber, record: Record) -> bool:
    """The same network, method and data set; the scorecard states the budget beside it."""
    return (
        record.method in PRINTED_METHODS
        and record.metric == (FAIR if lags(record.method) else "accuracy")
        and number.row == f"{NETWORKS.get(record.model)} {PRINTED_METHODS[record.method]}"
        and number.column == COLUMNS.get(record.dataset)
    )


ITEM = built("shiftaddaug-supp/tab2", profiles=PROFILES, run=run, draw=draw, matches=matches)
