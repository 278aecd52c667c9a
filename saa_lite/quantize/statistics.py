"""How a quantised adder layer uses its codes: over clamp and bits waste in numbers.

Over clamp: the range is too small, and numbers beyond it become its end. Bits waste: the range is
too large, and most codes stay unused; the entropy of the codes says how many bits carry something.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from saa_lite.quantize.adder_layers import QuantizedAdder


@dataclass(frozen=True)
class CodeUse:
    """Codes of the inputs or of the weights of one group of filters.

    Attributes:
        values: [2^b], what the codes stand for, ascending.
        shares: [2^b], how much of the numbers each code holds; they sum to 1.
        clamped: share of the numbers that lie beyond the range.
    """

    values: Tensor
    shares: Tensor
    clamped: float

    @property
    def entropy(self) -> float:
        """−Σ p·log₂p in bits; b if every code holds as much as any other."""
        p = self.shares[self.shares > 0].double()
        return -(p * p.log2()).sum().item()


@torch.no_grad()
def weight_use(layer: QuantizedAdder) -> Iterator[CodeUse]:
    """One entry per group. Clamped is what is cut off, whether compensated or not."""
    codes, _ = layer.quantized_weight()
    clipped, _ = layer.clamped_weight()
    low, high = (layer.ratio * end for end in layer.weight_codes)
    for group, bound in enumerate(layer.bound):
        filters = layer.group_of == group
        step, weight = bound / layer.levels, layer.weight[filters]
        cut = clipped[filters] != weight
        if layer.clamp == "none":
            cut = _beyond(weight, step, low, high)
        values = torch.arange(low, high + 1, layer.ratio, device=codes.device)
        held = ((codes[filters] - low) / layer.ratio).long().flatten()
        yield CodeUse(values * step, _shares(held, len(values)), cut.double().mean().item())


@torch.no_grad()
def input_use(layer: QuantizedAdder, input: Tensor) -> Iterator[CodeUse]:
    """One entry per group: all groups read the same inputs, each on its own step.

    Args:
        input: what the layer reads, of any shape.
    """
    low, high = layer.input_codes
    for group in range(len(layer.bound)):
        grid = layer.input_grid(group)
        held = (grid.codes(input) - low).long().flatten()
        values = torch.arange(low, high + 1, device=input.device)
        cut = _beyond(input, grid.step, low, high)
        yield CodeUse(values * grid.step, _shares(held, len(values)), cut.double().mean().item())


def _beyond(numbers: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """Further than half a step from the last code."""
    return (numbers < (low - 0.5) * step) | (numbers > (high + 0.5) * step)


def _shares(held: Tensor, codes: int) -> Tensor:
    return torch.bincount(held, minlength=codes) / held.numel()
