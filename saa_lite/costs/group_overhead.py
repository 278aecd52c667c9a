"""What sharing scales in groups costs an AdderNet layer (AdderNet quantisation, eq. 1-5).

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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any


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
