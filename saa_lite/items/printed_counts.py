"""Operation counts of networks beside the numbers that a table prints for them.

Used by items and claims alike; needs no torch.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from saa_lite.published import PublishedNumber, load_published
from saa_lite.records import Record

METHODS = {"CNN": "conv", "BNN": "binary", "AddNN": "adder"}
COLUMNS = {"#Mul": "multiply", "#Add": "add", "#XNOR": "xnor"}
SCALE = {"Mop": 1e6, "Gop": 1e9}
CLOSE = 1e-3  # a difference of rounded numbers may miss the exact one by this share


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
