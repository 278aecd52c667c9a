"""What one product layer computes: taps, and the arithmetic that each tap takes.

A *tap* is one pair of a weight (or key) and an activation whose product, distance or agreement is
summed. METHODS of counting, the same for every source (padded taps count):

============ =================================================== ==================================
operator      a tap is                                            operations
============ =================================================== ==================================
multiply      convolution, linear layer, attention product        1 multiply, 1 add
adder         |x − w|                                             2 add (subtract, accumulate)
shift         x·±2^p                                              1 shift, 1 add
xnor          sgn(x)·sgn(w)                                       1 xnor, 1 add (count the ones)
sign          x·sgn(w), only one side binary                      1 add
square        (x − w)²                                            1 multiply, 2 add
============ =================================================== ==================================

Additions of an adder tap follow the tables of AdderNet quantisation (supplement), which count two;
the absolute value is free, as it is a choice between two subtractions.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from saa_lite.costs.row_stationary import Loops

Operator = Literal["multiply", "adder", "shift", "xnor", "sign", "square"]
KINDS = ("multiply", "add", "shift", "xnor")
PER_TAP: dict[str, tuple[int, int, int, int]] = {  # in the order of KINDS
    "multiply": (1, 1, 0, 0),
    "adder": (0, 2, 0, 0),
    "shift": (0, 1, 1, 0),
    "xnor": (0, 1, 0, 1),
    "sign": (0, 1, 0, 0),
    "square": (1, 2, 0, 0),
}


# Usual number, and bits of inputs, weights and sums. Shift as in DeepShift's code: fixed point with
# 16 bits before and 16 after the point, 5-bit weights.
FORMS = {
    "multiply": ("float", 32, 32, 32),
    "adder": ("float", 32, 32, 32),
    "shift": ("integer", 32, 5, 32),
    "xnor": ("bit", 1, 1, 0),
}


class Operation(NamedTuple):
    """One kind of arithmetic: ``number`` is "float", "integer" (fixed point too) or "bit"."""

    kind: str
    number: str
    bits: int


@dataclass(frozen=True)
class Product:
    """One call of a convolution, linear map or attention product.

    Sizes in elements, widths in bits. ``number`` says what the sums are made of: "float",
    "integer" or "bit"; ``inner`` is how many taps one output sums.
    """

    operator: str
    loops: Loops
    number: str
    input_bits: int
    weight_bits: int
    sum_bits: int
    input_elements: int
    weight_elements: int
    output_elements: int

    @property
    def taps(self) -> int:
        """Pairs of weight and activation, padded ones included."""
        return self.loops.taps

    def operations(self) -> Counter[Operation]:
        """How often each kind of arithmetic happens, by width."""
        summed = "integer" if self.number == "bit" else self.number
        wide = {
            "multiply": Operation("multiply", self.number, max(self.input_bits, self.weight_bits)),
            "add": Operation("add", summed, self.sum_bits),
            "shift": Operation("shift", "integer", self.input_bits),
            "xnor": Operation("xnor", "bit", 1),
        }
        counts = zip(KINDS, PER_TAP[self.operator], strict=True)
        return Counter({wide[kind]: n * self.taps for kind, n in counts if n})

    def as_operator(self, operator: str) -> "Product":
        """The same sums with another operator, on numbers of its usual form and width."""
        number, inputs, weights, sums = FORMS[operator]
        if operator == "xnor":
            sums = count_bits(self.loops.channels * math.prod(self.loops.kernel))
        return replace(
            self,
            operator=operator,
            number=number,
            input_bits=inputs,
            weight_bits=weights,
            sum_bits=sums,
        )

    @property
    def bytes_moved(self) -> float:
        """Every input, weight and output once, at its own width: the least traffic there is."""
        bits = self.input_elements * self.input_bits + self.weight_elements * self.weight_bits
        return (bits + self.output_elements * self.sum_bits) / 8


def count_bits(inner: int) -> int:
    """Width of a counter that holds the sum of ``inner`` single bits."""
    return max(1, math.ceil(math.log2(inner + 1)))
