"""Predicates without chance: they hold for all records that bear on them, or they fail.

Several compare our operation counts of a network with the numbers that a table prints for it; the
items of these tables draw from the same comparison. None of this needs torch.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from saa_lite.items.select import Exact
from saa_lite.published import PublishedNumber, find_published, load_published
from saa_lite.records import Record

METHODS = {"CNN": "conv", "BNN": "binary", "AddNN": "adder"}
COLUMNS = {"#Mul": "multiply", "#Add": "add", "#XNOR": "xnor"}
SCALE = {"Mop": 1e6, "Gop": 1e9}
CLOSE = 1e-3  # a difference of rounded numbers may miss the exact one by this share
SAVING_WITHIN = 2.0  # points; the networks are inferred, and their energies agree within 2 %
RANKING = ("shift", "adder", "conv")  # least energy first
EXAMPLE = "mobilenet_v2_w035"  # the one network of which all three methods are among the points
LAYERS = {"all": "every layer converted", "registered": "depthwise layers multiply"}
AUGMENTED = {"netaug": "NetAug", "aug-shift": "AugShift", "aug-adder": "AugAdd"}
MEMORY = 1.1  # times what the largest sampled configuration takes by itself
STEPS = 100  # at least, of the training whose memory is measured: in fewer it has fewer holes
USES = {
    "training_memory_mb": "as training runs",
    "memory_mb": "the largest steps by themselves",
}


@dataclass(frozen=True)
class Network:
    """One network of a table.

    ``unit`` is the printed one, ``classes`` are the numbers of classes that may be meant.
    """

    model: str
    resolution: int
    unit: str
    classes: tuple[int, ...]


Networks = Mapping[str, Network]
TABLE_1 = {
    "VGG-Small": Network("vgg_small", 32, "Gop", (10, 100)),
    "ResNet-20": Network("resnet20", 32, "Mop", (10, 100)),
    "ResNet-32": Network("resnet32", 32, "Mop", (10, 100)),
}
TABLE_2 = {
    "ResNet-18": Network("resnet18", 224, "Gop", (1000,)),
    "ResNet-50": Network("resnet50", 224, "Gop", (1000,)),
}


@dataclass(frozen=True)
class Compared:
    """A printed number and our count, both in the printed unit."""

    number: PublishedNumber
    value: float

    @property
    def agrees(self) -> bool:
        """The count rounds to the printed digits, or misses the number by at most 0.1 %."""
        printed = self.number.value or 0.0
        return self.rounded == printed or math.isclose(self.value, printed, rel_tol=CLOSE)

    @property
    def rounded(self) -> float:
        """The count with as many decimals as are printed."""
        return round(self.value, len(self.number.printed.partition(".")[2]))

    @property
    def correction(self) -> str:
        """What should be printed, with one more digit."""
        cell = f"{self.number.row.rpartition(' ')[2]} {self.number.column}"
        digits = len(self.number.printed.partition(".")[2]) + 1
        printed = f"{self.number.printed} {self.number.unit}"
        return f"{cell} {self.value:.{digits}f} where {printed} is printed"


def cell_of(number: PublishedNumber, networks: Networks) -> tuple[Network, str, str] | None:
    """Network, method and metric of a printed operation count; ``None`` for other numbers."""
    label, _, method = number.row.rpartition(" ")
    if label not in networks or method not in METHODS or number.column not in COLUMNS:
        return None
    return networks[label], METHODS[method], COLUMNS[number.column]


def compare(
    records: Iterable[Record], networks: Networks, number: PublishedNumber
) -> Compared | None:
    """Our count; ``None`` if the number is no count or nothing was counted.

    Where several numbers of classes may be meant, the first whose count agrees, else the first.
    """
    if (cell := cell_of(number, networks)) is None:
        return None
    network, method, metric = cell
    wanted = (network.model, method, metric)
    found = {
        record.settings["classes"]: Compared(number, record.value)
        for record in records
        if (record.model, record.method, record.metric) == wanted
    }
    meant = [found[classes] for classes in network.classes if classes in found]
    return next((one for one in meant if one.agrees), meant[0] if meant else None)


def compare_network(records: list[Record], item_id: str, label: str) -> list[Compared]:
    """All printed counts of one network that have one of ours."""
    networks = {**TABLE_1, **TABLE_2}
    rows = [n for n in load_published(item_id) if n.row.rpartition(" ")[0] == label]
    found = (compare(records, networks, number) for number in rows)
    return [one for one in found if one is not None]


def shown_beside(networks: Networks, number: PublishedNumber, record: Record) -> bool:
    """Whether the scorecard shows the record beside the printed number.

    What is left to multiply in BNN and AddNN is printed for the larger classifier.
    """
    if (cell := cell_of(number, networks)) is None:
        return False
    network, method, metric = cell
    left_over = metric == "multiply" and method != "conv"
    classes = network.classes[-1 if left_over else 0]
    mine = (record.model, record.method, record.metric, record.settings.get("classes"))
    return mine == (network.model, method, metric, classes)


def at_most(metric: str, bound: float, records: list[Record]) -> Exact | None:
    """No record of ``metric`` exceeds ``bound``."""
    used = [record for record in records if record.metric == metric]
    if not used:
        return None
    worst = max(used, key=lambda record: record.value)
    measured = f"{worst.value:.2g} {worst.unit}".rstrip()
    return Exact(worst.value <= bound, measured, f"the worst of {len(used)}, {worst.model}")


def no_larger(metric: str, than: str, records: list[Record]) -> Exact | None:
    """One metric never exceeds another of the same unit of work."""
    sizes = {
        name: {(r.method, r.seed, r.config_hash): r for r in records if r.metric == name}
        for name in (metric, than)
    }
    both = sizes[metric].keys() & sizes[than].keys()
    if not both:
        return None
    more = max(sizes[metric][key].value - sizes[than][key].value for key in both)
    unit = next(iter(sizes[metric].values())).unit
    return Exact(more <= 0, f"{more:+.0f} {unit}", f"the worst of {len(both)} networks")


def columns(table: int, label: str, records: list[Record]) -> Exact | None:
    """The operation columns of one network of a table are those of the network described."""
    compared = compare_network(records, f"adder-quant/tab{table}", label)
    if not compared:
        return None
    off = [found.correction for found in compared if not found.agrees]
    share = f"{len(compared) - len(off)} of {len(compared)} columns"
    return Exact(not off, share, "; ".join(off))


def saving(accounting: str, records: list[Record]) -> Exact | None:
    """A shift network saves as much energy as is printed, under one accounting."""
    found = _energies(records, accounting, "mobilenet_v3_w035", "all")
    if not {"conv", "shift"} <= set(found):
        return None
    printed = find_published("shiftaddaug/fig5", "energy saved against multiplication", "")
    saved = 100 * (1 - found["shift"] / found["conv"])
    near = abs(saved - (printed.value or 0.0)) <= SAVING_WITHIN
    return Exact(near, f"{saved:.1f} %", "MobileNetV3-w0.35 at 160²")


def ranking(accounting: str, records: list[Record]) -> Exact | None:
    """For every network and both choices of layers: a ranking that one choice turns is none."""
    cases = sorted({(r.model, r.settings["layers"]) for r in records})
    found = {case: _energies(records, accounting, *case) for case in cases}
    whole = {case: energies for case, energies in found.items() if set(energies) == set(RANKING)}
    if not whole:
        return None
    held = [tuple(sorted(e, key=e.__getitem__)) == RANKING for e in whole.values()]
    shown = [
        f"MobileNetV2, {words}: {_ordered(whole[EXAMPLE, layers])}"
        for layers, words in LAYERS.items()
        if (EXAMPLE, layers) in whole
    ]
    return Exact(all(held), f"{sum(held)} of {len(held)} cases", "; ".join(shown))


def lean(need: str, records: list[Record]) -> Exact | None:
    """Peak of whole augmented steps over what the largest configuration ``need``; the worst use.

    Nothing is said without a number for training as it runs (the other is the easier one), of
    every method in one run, over :data:`STEPS` steps.
    """
    runs: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for r in records:
        if r.settings.get("steps", 0) >= STEPS:
            runs.setdefault((r.config_hash, r.device), {})[r.method, r.metric] = r.value
    wanted = {(method, metric) for method in AUGMENTED for metric in (*USES, need)}
    ratios = [
        (found[method, use] / found[method, need], method, use)
        for found in runs.values()
        if found.keys() >= wanted
        for method in AUGMENTED
        for use in USES
    ]
    if not ratios:
        return None
    largest, method, use = max(ratios)
    text = f"the worst is {AUGMENTED[method]}, {USES[use]}; at least {STEPS} steps, one machine"
    return Exact(largest <= MEMORY, f"{largest:.2f} times", text)


EXACT: dict[str, Callable[..., Exact | None]] = {
    "no_larger": no_larger,
    "columns": columns,
    "saving": saving,
    "ranking": ranking,
    "lean": lean,
}


def _energies(records: list[Record], accounting: str, model: str, layers: str) -> dict[str, float]:
    return {
        record.method: record.value
        for record in records
        if (record.metric, record.model) == (f"energy_{accounting}", model)
        and record.settings["layers"] == layers
    }


def _ordered(energies: dict[str, float]) -> str:
    """Least energy first."""
    order = sorted(energies, key=energies.__getitem__)
    return " < ".join(f"{name} {energies[name]:.3f}" for name in order) + " mJ"
