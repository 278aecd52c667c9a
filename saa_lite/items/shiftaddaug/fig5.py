"""Accuracy against energy on CIFAR-100: the published points, and our energies for their networks.

Accuracies are the published ones; nothing is trained here. Energies are ours, per image at 160²,
100 classes, first layer and classifier left out as in the figure, under three accountings
(:mod:`saa_lite.costs.energy`). ``layers`` says which layers lose multiplication: "all", as the
figure's numbers for shift networks need it, or "registered", our networks, whose depthwise layers
stay multiplicative as the supplement has it.

Which network a point belongs to is inferred: its accuracy stands in the supplement's Table 2, or
its energy is that of the network under the simulator's rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from saa_lite.costs import ACCOUNTINGS, Costs, count
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.energy import METHODS, NETWORKS, accuracy_energy_figure

CLASSES = 100
OPERATORS = {"conv": "multiply", "adder": "adder", "shift": "shift"}


@dataclass(frozen=True)
class Settings:
    """Counted, not trained: the profiles differ in the networks alone."""

    networks: tuple[str, ...]
    resolution: int = 160


PROFILES = {
    "smoke": Settings(("mobilenet_v2_w035",)),
    "laptop": Settings(tuple(NETWORKS)),
    "full": Settings(tuple(NETWORKS)),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Every network, method and choice of layers under every accounting."""
    for network in settings.networks:
        for layers in ("all", "registered"):
            for method in METHODS:
                unit = context.unit(
                    method=method,
                    model=network,
                    dataset=f"one image, {CLASSES} classes",
                    seed=0,
                    settings={"layers": layers, "resolution": settings.resolution},
                )
                if not unit.done(*(f"energy_{name}" for name in ACCOUNTINGS)):
                    yield from _measure(unit, layers, settings.resolution)


def _measure(unit: Unit, layers: str, resolution: int) -> Iterator[Record]:
    """Totals in mJ; the log holds arithmetic, and the totals if loops were split otherwise."""
    costs = inner_costs(unit.model, unit.method, layers, resolution)
    for accounting in ACCOUNTINGS:
        priced = costs.energy(accounting)
        assert priced is not None, "every accounting prices convolutions, adders and shifts"
        parts = {
            "compute": priced.compute,
            "least": priced.compute + priced.least,
            "fastest": priced.compute + priced.fastest,
        }
        yield unit.record(f"energy_{accounting}", priced.total, "mJ", log=[parts])


def inner_costs(network: str, method: str, layers: str, resolution: int) -> Costs:
    """Costs of a network's layers between the first and the classifier.

    Args:
        layers: "all" (whatever multiplies becomes ``method``) or "registered".
    """
    kind = "conv" if layers == "all" else method
    costs = count(create_model(network, CLASSES, kind), resolution)
    products = [layer.name for layer in costs.layers if layer.products]
    inner = costs.without((products[0], products[-1]))
    return inner.as_operator(OPERATORS[method]) if layers == "all" else inner


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """The published points, and the same networks under A, B and C."""
    return accuracy_energy_figure(records, published)


def matches(number: PublishedNumber, record: Record) -> bool:
    """The simulator's energy, all layers converted, of the network that a point is taken to be."""
    if number.column != "energy" or record.metric != "energy_A":
        return False
    point = (record.model, record.method)
    return NETWORK_OF.get(number.row) == point and record.settings["layers"] == "all"


NETWORK_OF = {
    row: (network, method)
    for network, methods in NETWORKS.items()
    for method, row in methods.items()
}

ITEM = built("shiftaddaug/fig5", profiles=PROFILES, run=run, draw=draw, matches=matches)
