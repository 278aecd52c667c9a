"""Energy of a network under the accountings A, B and C, and the prices behind it.

Prices per operation and per memory access are in ``prices.csv``, with their sources. From them the
energy of a forward pass follows in three ways, in mJ:

========= =========================================================================================
A         What the simulator released with ShiftAddNAS charges, which ShiftAddAug's figure uses.
          Tap: 3.7 pJ multiplied, 0.9 added, 0.13 shifted, and no accumulation for any of them.
          Traffic: 32 bits a number; a shift layer's whole traffic counts as (16 + 5)//2 = 10 bits;
          an adder layer pays registers and partial sums alone, as if everything were on chip.
B         Honest operations, the same memory for every method: each tap pays all its operations at
          32-bit prices; traffic is that of the multiplied layer.
C         As B, but every operation and every access at the width its numbers really have.
========= =========================================================================================

Products alone are priced, one image or whatever batch was counted. A has no rule for binary
layers and for the other rarities: its energy is then ``None``, never 0.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from saa_lite.costs.operations import KINDS, PER_TAP, Product
from saa_lite.costs.row_stationary import ACCESSES, Choice, Loops, choose
from saa_lite.errors import RecordError, check_choice
from saa_lite.files import PACKAGE

PATH = PACKAGE / "costs" / "prices.csv"
ACCESS_BITS = 16  # width for which the table prices an access


@dataclass(frozen=True)
class Price:
    """Energy in pJ of one operation of ``kind`` on numbers of ``bits``, and where it is printed."""

    kind: str
    number: str
    bits: int
    pj: float
    source: str
    locator: str
    note: str


@cache
def price_list() -> tuple[Price, ...]:
    """All rows of the table, in order.

    Raises:
        RecordError: a row has no number or no source.
    """
    with PATH.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if not (row["source"] and row["locator"] and float(row["pJ"]) > 0):
            raise RecordError(f"{PATH}: every price needs a number, a source and a locator")
    return tuple(
        Price(
            row["kind"],
            row["number"],
            int(row["bits"]),
            float(row["pJ"]),
            row["source"],
            row["locator"],
            row["note"],
        )
        for row in rows
    )


@cache
def price(kind: str, number: str, bits: int) -> float:
    """pJ of one operation.

    Widths between and beyond those of the table follow a power of the width through its two
    nearest entries, our reading: 8 → 32 bits costs an integer multiplication 15 times as much, an
    addition 3.3 times.

    Raises:
        RecordError: the table has no such operation.
    """
    known = {p.bits: p.pj for p in price_list() if (p.kind, p.number) == (kind, number)}
    if bits in known:
        return known[bits]
    if len(known) < 2:
        raise RecordError(f"{PATH} has no price for {kind} of {number} numbers of {bits} bits")
    near = sorted(known, key=lambda width: abs(math.log(width / bits)))[:2]
    low, high = sorted(near)
    power = math.log(known[high] / known[low]) / math.log(high / low)
    return known[low] * (bits / low) ** power


@cache
def access_prices() -> tuple[float, ...]:
    """pJ per access of 16 bits, in the order of :data:`row_stationary.ACCESSES`."""
    found = {(p.kind, p.number): p.pj for p in price_list()}
    return tuple(
        found.get((level, "sum" if operand == "output" else operand), found[level, "any"])
        for level, operand in ACCESSES
    )


ACCOUNTINGS = ("A", "B", "C")
MJ_PER_PJ = 1e-9
SHIFT_TRAFFIC_BITS = (16 + 5) // 2
FULL_BITS = 32
# What accounting A charges a tap, and how many bits each access is taken to move.
SIMULATOR = {"multiply": ("multiply", FULL_BITS), "shift": ("shift", SHIFT_TRAFFIC_BITS),
             "adder": ("add", FULL_BITS)}  # fmt: skip
ON_CHIP = tuple(level == "registers" or (level, x) == ("NoC", "output") for level, x in ACCESSES)
WIDE = {"multiply": "float", "add": "float", "shift": "integer", "xnor": "bit"}


@dataclass(frozen=True)
class Energy:
    """Arithmetic and memory energy in mJ.

    ``least`` and ``fastest`` are the memory energy if each layer's loops were split for least
    energy, or for least latency, instead of the simulator's compromise.
    """

    compute: float = 0.0
    memory: float = 0.0
    least: float = 0.0
    fastest: float = 0.0

    @property
    def total(self) -> float:
        """Arithmetic and memory together."""
        return self.compute + self.memory

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(
            self.compute + other.compute,
            self.memory + other.memory,
            self.least + other.least,
            self.fastest + other.fastest,
        )


def energy(products: Iterable[Product], accounting: str) -> Energy | None:
    """Sum over products; ``None`` if one of them has no price in this accounting.

    Raises:
        UsageError: there is no such accounting.
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    total = Energy()
    for product in products:
        priced = PRICED[accounting](product)
        if priced is None:
            return None
        total += priced
    return total


def simulated(product: Product) -> Energy | None:
    """Accounting A."""
    if product.operator not in SIMULATOR:
        return None
    kind, bits = SIMULATOR[product.operator]
    tap = price(kind, WIDE[kind], FULL_BITS)
    choice = _choice(product.loops, tap, _simulator_accesses(product.operator, bits))
    return _energy(tap * product.taps, choice.chosen, choice.least, choice.fastest)


def honest(product: Product) -> Energy:
    """Accounting B."""
    compute = product.taps * sum(
        n * price(kind, WIDE[kind], 1 if kind == "xnor" else FULL_BITS)
        for kind, n in zip(KINDS, PER_TAP[product.operator], strict=True)
        if n
    )
    choice = _multiplied(product.loops)
    return _energy(compute, choice.chosen, choice.least, choice.fastest)


def true_widths(product: Product) -> Energy:
    """Accounting C: the loops are split as in B, only the widths differ."""
    compute = sum(n * price(*operation) for operation, n in product.operations().items())
    bits = {
        "input": product.input_bits,
        "weight": product.weight_bits,
        "output": product.sum_bits,
    }
    widths = np.array([bits[operand] for _, operand in ACCESSES]) / ACCESS_BITS
    memory = float(np.array(access_prices()) * widths @ _multiplied(product.loops).accesses)
    return _energy(compute, memory, memory, memory)


PRICED = {"A": simulated, "B": honest, "C": true_widths}


def operand_traffic(product: Product) -> dict[str, float]:
    """pJ per bit of width that each operand's traffic costs: "input", "weight", "output".

    Times the operands' widths this is the memory energy of accounting C; with 32 bits for all,
    that of B.
    """
    cost = np.array(access_prices()) / ACCESS_BITS * _multiplied(product.loops).accesses
    names = np.array([operand for _, operand in ACCESSES])
    return {operand: float(cost[names == operand].sum()) for operand in dict.fromkeys(names)}


def _multiplied(loops: Loops) -> Choice:
    """The split of a 32-bit multiplied layer, which B and C use for every method."""
    tap = price("multiply", "float", FULL_BITS)
    return _choice(loops, tap, _simulator_accesses("multiply", FULL_BITS))


def _simulator_accesses(operator: str, bits: int) -> tuple[float, ...]:
    charged = ON_CHIP if operator == "adder" else (True,) * len(ACCESSES)
    width = bits / ACCESS_BITS
    return tuple(p * width * c for p, c in zip(access_prices(), charged, strict=True))


@lru_cache(maxsize=4096)
def _choice(loops: Loops, tap: float, accesses: tuple[float, ...]) -> Choice:
    return choose(loops, tap, accesses)


def _energy(compute: float, memory: float, least: float, fastest: float) -> Energy:
    return Energy(*(MJ_PER_PJ * pj for pj in (compute, memory, least, fastest)))
