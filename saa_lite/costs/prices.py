"""Energy per operation and per memory access, from ``prices.csv`` with its sources."""

import csv
import math
from dataclasses import dataclass
from functools import cache

from saa_lite.costs.row_stationary import ACCESSES
from saa_lite.errors import RecordError
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
