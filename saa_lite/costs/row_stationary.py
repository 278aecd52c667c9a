"""A row-stationary accelerator, and what groups of scales cost on it.

**How often a row-stationary accelerator moves each number: DRAM, global buffer, NoC, registers.**

The rules are those of the simulator that ships with ShiftAddNAS (``hw_utils.py``; ShiftAddViT and
ShiftAddLLM carry the same file), after Eyeriss (Chen et al., ISCA 2016), written anew over arrays.
A layer's loops are split into factors, ordered from the registers outwards::

    batch N = N0·N3     filters M = M0·M1·M2·M3     channels C = C0·C1·C2     rows E = E1·E3

and a split is valid where registers, 192 processing elements and 65,536 words of buffer hold it
(strictly below the bound, as in the code). Of the valid ones the simulator takes the one with the
smallest (energy − least)/greatest + (latency − least)/greatest; of equals ours is the one with the
least energy, the code's the first in its order.

**What sharing scales in groups costs an AdderNet layer (AdderNet quantisation, eq. 1-5).**

With one scale for weights and inputs of a layer the input is quantised once; with g scales, one per
group of filters, g times. The supplement gives the operations of a layer and the share r that the
repetitions add, for a 3 × 3 layer of c channels on k × k maps, stride 1, padding 1::

    r = (g − 1) k² / ((18 k² + 9) c + 4 k²)

Its denominator times c is the cost with one scale. Which steps its terms stand for is our reading:
2 (9c + 1) k² c for the layer itself (the usual formula of a convolution with bias, two operations a
tap and two for the bias), 9 c² to quantise the weights, k² c for the input, k² c to rescale the
output.

Everything here is plain arithmetic, so it works on integers, arrays and sympy's symbols alike.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray
# One row of access counts each: level and operand. Outputs in NoC and registers are partial sums.
ACCESSES = (
    ("DRAM", "input"), ("DRAM", "weight"), ("DRAM", "output"),
    ("buffer", "input"), ("buffer", "output"),
    ("NoC", "input"), ("NoC", "weight"), ("NoC", "output"),
    ("registers", "input"), ("registers", "weight"), ("registers", "output"),
)  # fmt: skip
ELEMENTS, BUFFER, WEIGHT_REGISTERS, INPUT_REGISTERS, SUMS = 192, 65_536, 960, 12, 16


@dataclass(frozen=True)
class Loops:
    """One layer as the simulator sees it; sizes in elements, the input without its padding.

    ``linear`` marks a matrix product, whose single output row cannot be split.
    """

    batch: int
    channels: int
    filters: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: int
    linear: bool = False

    @property
    def taps(self) -> int:
        """Products of a weight and an input, padded ones included."""
        positions = self.batch * math.prod(self.output_size)
        return positions * self.filters * self.channels * math.prod(self.kernel)


@dataclass(frozen=True)
class Splits:
    """All valid splits of one layer: access counts [len(ACCESSES), n] and latency [n] in cycles."""

    accesses: Array
    cycles: Array


@dataclass(frozen=True)
class Choice:
    """The chosen split: its access counts, and the memory energy of the choice's neighbours.

    ``least`` and ``fastest`` are the weighted sums of accesses under the split of least energy and
    of least latency: how far another rule of choice would move the result.
    """

    accesses: Array
    chosen: float
    least: float
    fastest: float


def as_matrix_product(loops: Loops) -> Loops:
    """The same products as one matrix product over unfolded windows.

    For layers that fit no split, e.g. the 16 × 16 patch embedding of a vision transformer, on
    which the simulator itself fails. Our reading.
    """
    rows = loops.batch * math.prod(loops.output_size)
    inner = loops.channels * math.prod(loops.kernel)
    return Loops(rows, inner, loops.filters, (1, 1), (1, 1), (1, 1), 1, linear=True)


def choose(loops: Loops, compute_pj: float, unit_pj: tuple[float, ...]) -> Choice:
    """Split one layer by the simulator's rule.

    Args:
        compute_pj: energy of one tap; it is the same for every split and only enters the ratio.
        unit_pj: energy per access, in the order of :data:`ACCESSES`.
    """
    splits = valid_splits(loops)
    memory = np.array(unit_pj) @ splits.accesses
    energy = memory + compute_pj * loops.taps
    score = _excess(energy) + _excess(splits.cycles)
    best = np.flatnonzero(score <= score.min() + 1e-12)
    index = best[memory[best].argmin()]
    quickest = splits.cycles == splits.cycles.min()
    return Choice(
        splits.accesses[:, index],
        float(memory[index]),
        float(memory.min()),
        float(memory[quickest].min()),
    )


def _excess(values: Array) -> Array:
    greatest = values.max()
    return (values - values.min()) / greatest if greatest else np.zeros_like(values)


@lru_cache(maxsize=512)
def valid_splits(loops: Loops) -> Splits:
    """Every valid split; a layer that has none is taken as a matrix product."""
    splits = _valid(loops)
    return splits if splits.cycles.size else _valid(as_matrix_product(loops))


def _valid(loops: Loops) -> Splits:
    (E, F), (R, S), s = loops.output_size, loops.kernel, loops.stride
    n, m, c, e = _grid(loops)
    (N0, _), (M0, M1, M2, _), (C0, C1, _), (E1, _) = n, m, c, e
    keep = (M0 <= SUMS) & (M1 * C1 * E1 * R < ELEMENTS)
    keep &= (C0 * S < INPUT_REGISTERS) & (M0 * C0 * S < WEIGHT_REGISTERS)
    window = ((E1 - 1) * s + R) * ((F - 1) * s + S)
    keep &= N0 * C1 * C0 * window + N0 * M2 * M1 * M0 * E1 * F < BUFFER
    if not loops.linear and E > 1:
        keep &= E1 != 1
    factors = [f[:, keep] for f in (n, m, c, e)]
    return Splits(_accesses(loops, *factors), _cycles(loops, *factors))


def _grid(loops: Loops) -> list[Array]:
    """All combinations of factors, one array [parts, n] per loop."""
    parts = (loops.batch, 2), (loops.filters, 4), (loops.channels, 3), (loops.output_size[0], 2)
    lists = [factorisations(number, count) for number, count in parts]
    picks = np.meshgrid(*[np.arange(len(found)) for found in lists], indexing="ij")
    return [found[pick.ravel()].T for found, pick in zip(lists, picks, strict=True)]


def _accesses(loops: Loops, n: Array, m: Array, c: Array, e: Array) -> Array:
    """Access counts [len(ACCESSES), n], the code's formulas."""
    (H, W), (E, F), (R, S) = loops.input_size, loops.output_size, loops.kernel
    (N0, N3), (M0, M1, M2, M3), (C0, C1, C2), (E1, E3) = n, m, c, e
    inputs = loops.batch * loops.channels * H * W
    weights = R * S * loops.channels * loops.filters
    outputs = loops.batch * loops.filters * E * F
    noc_input = M3 * M2 * M1 * R * E / H * inputs
    rows = [
        M3 * inputs,
        N3 * E3 * weights,
        np.full(M3.shape, outputs),
        M3 * M2 * inputs,
        np.maximum(2 * (C2 - 1), 1) * outputs,
        noc_input,
        N3 * E3 * E1 * weights,
        np.maximum(C2 * (C1 * R - 1), 1) * outputs,
        noc_input * M0 * S * F / W,
        N3 * E3 * E1 * F * N0 * weights,
        np.maximum(2 * C2 * C1 * R * (C0 * S - 1), 1) * outputs,
    ]
    return np.array(rows, dtype=float)


def _cycles(loops: Loops, n: Array, m: Array, c: Array, e: Array) -> Array:
    """Steps of one processing element: what is not spread over others."""
    (N0, N3), (M0, _, M2, M3), (C0, _, C2), (_, E3) = n, m, c, e
    return (N3 * N0 * M3 * M2 * M0 * C2 * C0 * E3 * loops.output_size[1] * loops.kernel[1]).astype(
        float
    )


@lru_cache(maxsize=4096)
def factorisations(number: int, parts: int) -> Array:
    """All ordered ways to write ``number`` as a product of ``parts`` factors, [ways, parts]."""
    if parts == 1:
        return np.array([[number]])
    ways = [
        (factor, *rest)
        for factor in divisors(number)
        for rest in factorisations(number // factor, parts - 1)
    ]
    return np.array(ways)


@lru_cache(maxsize=4096)
def divisors(number: int) -> tuple[int, ...]:
    """Divisors in ascending order."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return tuple(dict.fromkeys(itertools.chain(small, (number // d for d in reversed(small)))))


@dataclass(frozen=True)
class QuantisedLayer:
    """Sizes of an adder layer with square maps and kernels; integers or symbols."""

    c_in: Any
    c_out: Any
    size: Any
    kernel: Any = 3
    stride: Any = 1
    padding: Any = 1
    groups: Any = 1

    @property
    def places(self) -> Any:
        """Positions of the output."""
        span = self.size + 2 * self.padding - self.kernel
        return (span // self.stride + 1) ** 2 if self.stride != 1 else (span + 1) ** 2

    def operations(self) -> Any:
        """All operations; additions, roundings and products by a scale count one each."""
        return self._layer(self.places) + self.weights + self.groups * self.inputs

    def by_input_size(self) -> Any:
        """The same with one size for input and output, the input's, as equation 2 has it.

        That is right for stride 1 and equal sizes alone. That it is the input's is our reading;
        the output's in both places would miscount the same layers.
        """
        return self._layer(self.size**2) + self.weights + self.groups * self.inputs

    def _layer(self, places: Any) -> Any:
        taps = self.c_in * self.kernel**2
        return (2 * (taps + 1) + 1) * self.c_out * places

    @property
    def weights(self) -> Any:
        """One quantisation per weight."""
        return self.c_in * self.c_out * self.kernel**2

    @property
    def inputs(self) -> Any:
        """One quantisation per input and scale."""
        return self.c_in * self.size**2

    def counted_one_by_one(self) -> int:
        """Walk through the layer and count every operation; slow, and independent of formulas."""
        weights = sum(1 for _ in _every(self.c_out, self.c_in, self.kernel, self.kernel))
        inputs = sum(1 for _ in _every(self.groups, self.c_in, self.size, self.size))
        layer = 0
        corners = range(0, self.size + 2 * self.padding - self.kernel + 1, self.stride)
        for _ in product(range(self.c_out), corners, corners):
            for _ in _every(self.c_in, self.kernel, self.kernel):
                layer += 2  # subtract, accumulate
            layer += 2  # the bias, as the formula counts it
            layer += 1  # back to the scale of the group
        return weights + inputs + layer


def _every(*sizes: int) -> Iterator[tuple[int, ...]]:
    return product(*map(range, sizes))


def overhead(channels: Any, size: Any, groups: Any) -> Any:
    """r of equation 5: operations that ``groups`` scales add, over those with one scale."""
    return (groups - 1) * size**2 / ((18 * size**2 + 9) * channels + 4 * size**2)


def overhead_without_weights(channels: Any, size: Any, groups: Any) -> Any:
    """r without the term 9c of the weights, as the supplement simplifies; k cancels."""
    return (groups - 1) * size**2 / (18 * size**2 * channels + 4 * size**2)


def overhead_of_four(channels: Any) -> Any:
    """1/(6c + 1), what the supplement gives for four groups."""
    return 1 / (6 * channels + 1)
