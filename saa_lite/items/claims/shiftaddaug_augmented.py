"""Claims about training a target inside an augmented model, and controls of ours beside them.

Metrics that the items record for them: accuracies of the target on the test set, compared as
:mod:`saa_lite.items.fairness` says, ``least_lead``,
the smallest lead over all epochs of the augmented pass's train accuracy over the target's, and
``export_difference`` of logits between exported network and target. Methods shift, aug-shift, conv
(the multiplicative network), adder, aug-adder and netaug; adder-calm and aug-adder-calm start as
:mod:`saa_lite.models.calm` says, in …-unsorted no channel ever changes sides, and …-raw is not
remapped.
"""

from collections.abc import Callable
from typing import Literal

from saa_lite.items.base import Claim, Exact, Samples
from saa_lite.items.fairness import FAIR, fair
from saa_lite.items.select import exact, paired, single
from saa_lite.published import find_published
from saa_lite.records import Record

GAIN, CURVES, TABLE = "shiftaddaug/claim-cifar100", "shiftaddaug-supp/fig1", "shiftaddaug-supp/tab2"
CIFAR_IMAGES = 50_000
EPOCHS = 250  # the shorter of the two trainings that the authors are said to run
RESOLUTION = 160
NETWORKS = {"mobilenet_v2_w035": "MobileNetV2-w0.35", "mcunet": "MCUNet"}
Judged = Callable[[list[Record]], Samples | Exact | None]


def trained_fully(record: Record) -> bool:
    """At the published setting, as far as it is known."""
    settings = record.settings
    whole = settings.get("train_images") == CIFAR_IMAGES
    return whole and settings.get("image_size") == RESOLUTION and record.epochs >= EPOCHS


def _difference(
    methods: tuple[str, str],
    holds: Literal["above", "below"] = "above",
    dataset: str = "cifar100",
    network: str = "mobilenet_v2_w035",
) -> Judged:
    """Accuracy of the first method minus that of the second, per seed."""

    def samples(records: list[Record]) -> Samples | None:
        found = [r for r in records if (r.dataset, r.model) == (dataset, network)]
        return paired(fair(found), FAIR, methods, holds, at_published=trained_fully)

    return samples


def _published(methods: tuple[str, str], network: str, column: str) -> str:
    """Difference of two cells of Table 2, which has no row for AugShift."""
    names = {"shift": "Shift", "adder": "Add", "aug-adder": "AugAdd"}
    if not names.keys() >= set(methods):
        return "no AugShift in this table"
    first, second = (
        find_published(TABLE, f"{NETWORKS[network]} {names[method]}", column) for method in methods
    )
    difference = (first.value or 0.0) - (second.value or 0.0)
    return f"{first.printed} − {second.printed} = {difference:+.2f} points"


def _gain(name: str, text: str, samples: Judged, published: str) -> Claim:
    return Claim(f"{GAIN}:{name}", text, GAIN, published, "CIFAR-100, network not stated", samples)


def _exported(records: list[Record]) -> Exact | None:
    return exact(records, "export_difference", 0.0)


def _lead(method: str) -> Judged:
    def samples(records: list[Record]) -> Samples | None:
        return single(records, "least_lead", method, "above", at_published=trained_fully)

    return samples


def _row(name: str, text: str, methods: tuple[str, str], network: str, column: str) -> Claim:
    dataset = {"CIFAR10": "cifar10", "CIFAR100": "cifar100"}[column]
    return Claim(
        f"{TABLE}:{name}-{network}-{dataset}",
        f"{text}: {NETWORKS[network]}, {column.replace('CIFAR', 'CIFAR-')}",
        TABLE,
        _published(methods, network, column),
        f"{NETWORKS[network]} at 160², 300 epochs",
        _difference(methods, "above", dataset, network),
    )


def _rows() -> tuple[Claim, ...]:
    statements = (
        ("aug-add", "AugAdd is more accurate than Add", ("aug-adder", "adder")),
        ("shift-add", "Shift is more accurate than Add", ("shift", "adder")),
        ("aug-shift", "Augmentation improves a shift network", ("aug-shift", "shift")),
    )
    return tuple(
        _row(name, text, methods, network, column)
        for column in ("CIFAR100", "CIFAR10")
        for network in NETWORKS
        for name, text, methods in statements
        if (name, network, column) != ("aug-shift", "mobilenet_v2_w035", "CIFAR100")  # GAIN asks
    )


UNSORTED = {
    "gain": (
        "if no channel ever changes sides, augmentation improves a shift network",
        ("aug-shift-unsorted", "shift"),
    ),
    "gain-add": (
        "if no channel ever changes sides, augmentation improves an adder network",
        ("aug-adder-unsorted", "adder"),
    ),
    "gain-add-calm": (
        "if no channel ever changes sides, augmentation improves an adder network from the calm "
        "start",
        ("aug-adder-calm-unsorted", "adder-calm"),
    ),
    "better-add-calm": (
        "from the calm start AugAdd learns more where sorting moves no channel to the other side",
        ("aug-adder-calm-unsorted", "aug-adder-calm"),
    ),
}
RAW = {
    "gain": ("augmentation improves a shift network", ("aug-shift-raw", "shift")),
    "gain-add-calm": (
        "augmentation improves an adder network from the calm start",
        ("aug-adder-calm-raw", "adder-calm"),
    ),
    "better": (
        "an augmented shift network is more accurate than a remapped one",
        ("aug-shift-raw", "aug-shift"),
    ),
    "better-add-calm": (
        "an augmented adder network from the calm start is more accurate than a remapped one",
        ("aug-adder-calm-raw", "aug-adder-calm"),
    ),
}


def _points(first: str, second: str) -> str:
    """Difference of two points of Figure 5."""
    better, worse = (find_published("shiftaddaug/fig5", row, "accuracy") for row in (first, second))
    difference = (better.value or 0.0) - (worse.value or 0.0)
    return f"{better.printed} − {worse.printed} = {difference:+.2f} points"


def _of_another_network(row: str, text: str) -> str:
    """A number that fits the points of MobileNetV3-w0.35, by our reading."""
    printed = find_published(GAIN, row, "accuracy").printed
    return f"+{printed} points ({text}; by our reading of MobileNetV3-w0.35)"


PRINTED_GAIN = _of_another_network("gain over direct training", "abstract")
PRINTED_SURPLUS = _of_another_network(
    "gain over the multiplicative network", "abstract of the reviewed version"
)

AUGMENTED = (
    _gain(
        "gain",
        "Augmentation improves a shift network over direct training",
        _difference(("aug-shift", "shift")),
        f"{PRINTED_GAIN}; this network: {_points('ShiftAddAug point 2', 'DeepShift point 2')}",
    ),
    _gain(
        "surpasses",
        "The augmented shift network even surpasses the multiplicative one",
        _difference(("aug-shift", "conv")),
        f"{PRINTED_SURPLUS}; this network: {_points('ShiftAddAug point 2', 'Mult point 3')}",
    ),
    _gain(
        "gain-add",
        "Augmentation improves an adder network over direct training",
        _difference(("aug-adder", "adder")),
        _published(("aug-adder", "adder"), "mobilenet_v2_w035", "CIFAR100"),
    ),
    _gain(
        "control-calm",
        "Control, ours: an adder network learns more from a start at which its layers hardly bend",
        _difference(("adder-calm", "adder")),
        "not in the source",
    ),
    _gain(
        "gain-add-calm",
        "Control, ours: from that start augmentation improves an adder network, too",
        _difference(("aug-adder-calm", "adder-calm")),
        "not in the source",
    ),
    *(
        _gain(
            f"unsorted-{name}", f"Control, ours: {text}", _difference(methods), "not in the source"
        )
        for name, (text, methods) in UNSORTED.items()
    ),
    *(
        _gain(
            f"raw-{name}",
            f"Control, ours: where nothing is remapped, {text}",
            _difference(methods),
            "not in the source",
        )
        for name, (text, methods) in RAW.items()
    ),
    _gain(
        "control-netaug",
        "Control, ours: the multiplicative network gains from augmentation, too",
        _difference(("netaug", "conv")),
        "no such number printed for CIFAR-100",
    ),
    _gain(
        "export",
        "What is exported computes what the target inside the augmented model computes",
        _exported,
        "no number printed",
    ),
    Claim(
        f"{CURVES}:lead-shift",
        "In training the augmented model stays ahead of its target in every epoch (AugShift)",
        CURVES,
        "curves only",
        "network and data set not stated",
        _lead("aug-shift"),
    ),
    Claim(
        f"{CURVES}:lead-add",
        "In training the augmented model stays ahead of its target in every epoch (AugAdd)",
        CURVES,
        "curves only",
        "network and data set not stated",
        _lead("aug-adder"),
    ),
    *_rows(),
)
