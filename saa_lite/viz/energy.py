"""Accuracy against energy: the published points, ours under each accounting, and a panel.

The panel prices operations, widths and memory anew; its counts come from the networks themselves,
its accuracies from the published figure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.costs import ACCOUNTINGS, Costs, count
from saa_lite.costs.energy import FULL_BITS, operand_traffic, price, price_list
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber, find_published
from saa_lite.records import Record
from saa_lite.viz.costs import TITLES
from saa_lite.viz.panel import Slider
from saa_lite.viz.sketch import arrow, box, canvas
from saa_lite.viz.style import COLOURS, LABELS, panels, styled

ITEM = "shiftaddaug/fig5"
TICKS = (0.5, 1, 2, 5, 10)  # mJ
METHODS = ("conv", "adder", "shift")
# Rows of the published figure by network and method, as far as they can be told (see fig5.py).
NETWORKS: dict[str, dict[str, str]] = {
    "mobilenet_v3_w035": {"conv": "Mult point 1", "shift": "DeepShift point 1"},
    "mobilenet_v2_w035": {
        "conv": "Mult point 3", "adder": "AdderNet point 2", "shift": "DeepShift point 2",
    },
    "proxylessnas_w035": {"conv": "Mult point 2"},
    "mcunet": {"conv": "Mult point 4", "shift": "DeepShift point 3"},
}  # fmt: skip
MARKERS = {"mobilenet_v3_w035": "o", "mobilenet_v2_w035": "s", "proxylessnas_w035": "^",
           "mcunet": "D"}  # fmt: skip
SERIES: dict[str, dict[str, Any]] = {
    "Mult": {"color": COLOURS["conv"], "marker": "o"},
    "DeepShift": {"color": COLOURS["shift"], "marker": "o"},
    "AdderNet": {"color": COLOURS["adder"], "marker": "o"},
    "APoT": {"color": "#999999", "marker": "v"},
    "ShiftAddNAS": {"color": "#999999", "marker": "P"},
    "ShiftAddAug": {"color": "#555555", "marker": "*"},
}
CONTROLS = {
    "multiply": Slider(0.1, 5.0, 0.1, 3.7, "multiply (pJ)"),
    "add": Slider(0.02, 2.0, 0.02, 0.9, "add (pJ)"),
    "shift": Slider(0.01, 1.0, 0.01, 0.13, "shift (pJ)"),
    "activation_bits": Slider(4, 32, 1, 32, "activation bits"),
    "weight_bits": Slider(1, 32, 1, 5, "shift weight bits"),
    "memory": Slider(0.0, 2.0, 0.05, 1.0, "memory cost (×)"),
}


@styled
def way_figure() -> Figure:
    """The way of a number to the arithmetic and back, with the price of each stop, in pJ."""
    figure, axis = canvas(14, 5, 3.4)
    pj = {(p.kind, p.number): p.pj for p in price_list() if p.bits in (16, FULL_BITS)}
    stops = (("DRAM", "DRAM", 0.9), ("buffer", "global buffer", 4.0), ("NoC", "network", 7.2),
             ("registers", "registers", 10.0))  # fmt: skip
    for kind, name, x in stops:
        colour = COLOURS["published"]
        box(axis, (x, 3.9), f"{name}\n{pj[kind, 'any']:g}", colour, 9)
        arrow(axis, (x + 0.95, 3.9), (x + (2.0 if kind != "registers" else 1.6), 3.9))
    prices = f"product {price('multiply', 'float', 32):g}\nsum {price('add', 'float', 32):g}\n"
    box(axis, (12.7, 3.9), f"{prices}shift {price('shift', 'integer', 32):g}", COLOURS["shift"], 9)
    rows = (
        ("A", "multiplied and shift layers pay all of it, shifts for 10 bits a number", 0.0),
        ("", "adder layers pay from here on, and sums on the network", 9.0),
        ("B", "every layer pays all of it for 32 bits, and every operation", 0.0),
        ("C", "every layer pays all of it for the bits that its numbers have", 0.0),
    )
    for place, (name, text, start) in enumerate(rows):
        y = 2.3 - 0.6 * place
        axis.plot([start, 13.6], [y, y], color=COLOURS["adder" if start else "conv"], linewidth=15,
                  solid_capstyle="butt", alpha=0.35)  # fmt: skip
        axis.text(-0.25, y, name, fontweight="bold", ha="right", va="center")
        axis.text(start + 0.1 if not start else start - 0.1, y, text, fontsize=9, va="center",
                  ha="right" if start else "left")  # fmt: skip
    axis.set_xlim(-0.6, 14)
    axis.text(0.0, 4.85, "pJ an access of 16 bits", fontsize=9)
    axis.text(13.6, 4.85, "pJ an operation, 32 bits", fontsize=9, ha="right")
    return figure


@styled
def accuracy_energy_figure(
    records: Sequence[Record], published: Sequence[PublishedNumber]
) -> Figure:
    """The published points, and the identified ones at our energies under A, B and C.

    Args:
        records: of "energy_A", "energy_B" and "energy_C".
        published: accuracy and energy of each point.
    """
    figure, axes = panels(2, 2, height=3.4, sharex=True, sharey=True)
    _published_points(axes[0], published)
    accuracies = {n.row: n.value or 0.0 for n in published if n.column == "accuracy"}
    shown = [record for record in records if record.settings["layers"] == "all"]
    for axis, accounting in zip(axes[1:], ACCOUNTINGS, strict=True):
        for record in shown:
            row = NETWORKS.get(record.model, {}).get(record.method)
            if row in accuracies and record.metric == f"energy_{accounting}":
                _mark(axis, record.value, accuracies[row], record.method, record.model)
        axis.set_title(TITLES[accounting], fontsize=11)
    for axis in axes:
        axis.set(xscale="log", xticks=TICKS, xticklabels=[f"{tick:g}" for tick in TICKS])
        axis.minorticks_off()
    for axis in axes[2:]:
        axis.set_xlabel("energy per image (mJ)")
    for axis in axes[::2]:
        axis.set_ylabel("published CIFAR-100 accuracy (%)")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=8)  # fmt: skip
    return figure


def _published_points(axis: Axes, published: Sequence[PublishedNumber]) -> None:
    values = {(n.row, n.column): n.value or 0.0 for n in published}
    rows = [row for row, column in values if column == "energy" and " point " in row]
    for series, look in SERIES.items():
        mine = [row for row in rows if row.partition(" point ")[0] == series]
        x, y = ([values[row, column] for row in mine] for column in ("energy", "accuracy"))
        axis.plot(x, y, linewidth=0, markerfacecolor="none", label=series, **look)
    axis.set_title("As published, all points", fontsize=11)
    axis.legend(fontsize=7, loc="upper right")


def _mark(axis: Axes, energy: float, accuracy: float, method: str, network: str) -> None:
    label = f"{LABELS[method]}, {network}"
    axis.plot(energy, accuracy, MARKERS[network], linewidth=0, color=COLOURS[method], label=label)


@dataclass(frozen=True)
class Point:
    """A network with a published accuracy, and what its energy is made of.

    ``traffic`` is the memory energy in pJ per bit of width, by operand.
    """

    network: str
    method: str
    accuracy: float
    operations: Mapping[str, int]
    traffic: Mapping[str, float]


@cache
def points() -> tuple[Point, ...]:
    """All identified points, counted once; first layer and classifier left out."""
    found = []
    for network, rows in NETWORKS.items():
        costs = count(create_model(network, 100), 160)
        ends = [layer.name for layer in costs.layers if layer.products]
        inner = costs.without((ends[0], ends[-1]))
        for method, row in rows.items():
            accuracy = find_published(ITEM, row, "accuracy").value or 0.0
            found.append(_point(inner, network, method, accuracy))
    return tuple(found)


def _point(costs: Costs, network: str, method: str, accuracy: float) -> Point:
    operator = "multiply" if method == "conv" else method
    kinds: Counter[str] = Counter()
    for operation, n in costs.as_operator(operator).operations.items():
        kinds[operation.kind] += n
    traffic: Counter[str] = Counter()
    for layer in costs.layers:
        for product in layer.products:
            traffic.update(operand_traffic(product))
    return Point(network, method, accuracy, kinds, traffic)


def energy_of(point: Point, *, multiply: float, add: float, shift: float, activation_bits: float,
              weight_bits: float, memory: float) -> float:  # fmt: skip
    """mJ of one point at these prices; only shift weights are narrow."""
    prices = {"multiply": multiply, "add": add, "shift": shift}
    compute = sum(n * prices[kind] for kind, n in point.operations.items())
    bits = {
        "input": activation_bits,
        "weight": weight_bits if point.method == "shift" else 32,
        "output": activation_bits,
    }
    moved = sum(cost * bits[operand] for operand, cost in point.traffic.items())
    return (compute + memory * moved) / 1e9


def energy_numbers(**state: float) -> dict[str, float]:
    """Energies of MobileNetV2's three methods in mJ, and what the shift network saves in %."""
    energies = {
        point.method: energy_of(point, **state)
        for point in points()
        if point.network == "mobilenet_v2_w035"
    }
    named = {f"{LABELS[method]} mJ": value for method, value in energies.items()}
    return {**named, "shift saves %": 100 * (1 - energies["shift"] / energies["conv"])}


@styled
def energy_figure(**state: float) -> Figure:
    """Accuracy against energy at the prices of the sliders; lines join one network's methods."""
    figure, (axis,) = panels(1, 1, height=3.4)
    energies = {(p.network, p.method): energy_of(p, **state) for p in points()}
    for network in NETWORKS:
        mine = [p for p in points() if p.network == network]
        x, y = [energies[network, p.method] for p in mine], [p.accuracy for p in mine]
        axis.plot(x, y, color="#bbbbbb", linewidth=1)
        for point, energy in zip(mine, x, strict=True):
            _mark(axis, energy, point.accuracy, point.method, network)
    axis.set(xlabel="energy per image (mJ)", ylabel="published accuracy (%)", ylim=(67, 72))
    axis.set_xlim(0, 1.1 * max(energies.values()))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
