"""Adder layers on shared scales: the simulation that the integers repeat bit for bit.

**Evaluation.** Inputs and weights become whole numbers, their distances are summed exactly in
floating point, and the sum is scaled once::

    y_t = −Σ|x̂ − m·ŵ_t| · step_g + offset_t,        step_g = S_g / levels,  m = 1 or 2

Sums of whole numbers are exact, so :mod:`saa_lite.quantize.integer` computes the same bits.
``offset`` is the bias minus the excess of the lossless clamp.

**Training** (quantisation-aware): the same values but for rounding of the last digits, computed
from x̂·step and m·ŵ·step, with AdderNet's gradients at those. Weights get the gradient of their
rounded and clamped values, inputs where they were not clamped (straight-through; our reading). The
ranges stay as calibrated, the latent weights and the offset move.

**How the codes are used.** Over clamp: the range is too small, and numbers beyond it become its
end. Bits waste: the range is too large, and most codes stay unused; the entropy of the codes says
how many bits carry something.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.nn.adder import AdderLayer
from saa_lite.nn.whole import one_node
from saa_lite.ops import adder_conv2d, adder_linear
from saa_lite.quantize.schemes import Scheme, lossless_clamp
from saa_lite.quantize.uniform import Grid, replace_straight

EXACT_IN_FLOAT32 = 2**24  # whole numbers up to here


class QuantizedAdder(AdderLayer):
    """What the quantised convolution and the quantised linear layer share.

    Attributes:
        scheme: names and codes, without its tensors, which are the buffers ``group_of`` (int64
            [T]) and ``bound`` (float [G]).
        compensate: subtract the excess of the lossless clamp.
    """

    CHANNELS = -1  # dimension of the channels, counted from the end
    bias: Any  # Tensor or None; torch annotates it in two ways
    group_of: Tensor
    bound: Tensor
    sizes: list[int]  # filters of each group: numbers, as a traced pass cannot read a tensor

    def quantize(self, scheme: Scheme, compensate: bool) -> None:
        """Take over a scheme; called once, when an adder layer becomes this one."""
        self.method, self.bits = scheme.method, scheme.bits
        self.levels, self.ratio = scheme.levels, scheme.ratio
        self.input_codes, self.weight_codes = scheme.inputs, scheme.weights
        self.clamp, self.compensate = scheme.clamp, compensate
        self.register_buffer("group_of", scheme.group_of)
        self.register_buffer("bound", scheme.bound.to(self.weight))
        self._count_filters()

    def _count_filters(self) -> None:
        if not self.group_of.is_meta:  # without values there is nothing to count
            self.sizes = torch.bincount(self.group_of, minlength=len(self.bound)).tolist()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Torch's, after which the filters may be grouped in another way."""
        super()._load_from_state_dict(*args, **kwargs)
        self._count_filters()

    def extra_repr(self) -> str:
        """The adder layer's, and how it is quantised."""
        return f"{super().extra_repr()}, {self.method}, bits={self.bits}, groups={len(self.bound)}"

    def input_grid(self, group: int) -> Grid:
        """The values that inputs of one group of filters can have."""
        step = self.bound[group] / self.levels
        return Grid(step, torch.zeros_like(step), *self.input_codes)

    def clamped_weight(self) -> tuple[Tensor, Tensor]:
        """Weights [T, ...] within ±S (or 0 … S), and the excess [T] of the lossless clamp."""
        weight = self.weight.detach()
        if self.clamp == "none":
            return weight, weight.new_zeros(len(weight))
        high = self.bound[self.group_of]
        return lossless_clamp(weight, 0 * high if self.clamp == "non-negative" else -high, high)

    def quantized_weight(self) -> tuple[Tensor, Tensor]:
        """Codes in units of the inputs' step, m·ŵ [T, ...], and the offset [T].

        Codes are found in float64, where a weight at ±S lies exactly on the tie (2^b − 1)/2
        whatever S is, and goes to the even code before the clamp.
        """
        clamped, excess = self.clamped_weight()
        shape = (-1, *[1] * (clamped.dim() - 1))
        bound = self.bound.double()[self.group_of].reshape(shape)
        codes = (clamped.double() * self.levels / (self.ratio * bound)).round()
        codes = self.ratio * codes.clamp(*self.weight_codes)
        offset = -excess if self.compensate else torch.zeros_like(excess)
        return codes.to(clamped), offset if self.bias is None else offset + self.bias

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        input = input.to(self.bound.dtype)  # half precision under autocast
        codes, offset = self.quantized_weight()
        if self.training:
            return self._train(input, codes, offset)
        wide = codes[0].numel() * 4 * 2**self.bits > EXACT_IN_FLOAT32
        exact = torch.float64 if wide else self.bound.dtype

        def sums(inputs: Tensor, group: int, filters: Tensor) -> Tensor:
            x = self.input_grid(group).codes(inputs).to(exact)
            return self.distances(x, codes[filters].to(exact), filters)

        return self.scaled(self.by_group(input, sums), offset)

    def _train(self, input: Tensor, codes: Tensor, offset: Tensor) -> Tensor:
        """Values instead of codes, with straight-through gradients."""
        step = (self.bound / self.levels)[self.group_of]
        values = codes * step.reshape(-1, *[1] * (codes.dim() - 1))
        weight = replace_straight(self._adaptive(self.weight), values)

        def sums(inputs: Tensor, group: int, filters: Tensor) -> Tensor:
            return self.distances(self.input_grid(group).straight(inputs), weight[filters], filters)

        return self.by_group(input, sums) + self._along_channels(offset)

    def by_group(self, input: Tensor, sums: Callable[[Tensor, int, Tensor], Tensor]) -> Tensor:
        """Call ``sums(input, group, its filters int64 [·])`` per group; outputs in filter order."""
        order = self.group_of.argsort(stable=True)
        parts = [
            sums(input, group, filters)
            for group, filters in enumerate(order.split(self.sizes))
            if len(filters)
        ]
        return torch.cat(parts, self.CHANNELS).index_select(self.CHANNELS, order.argsort())

    def scaled(self, sums: Tensor, offset: Tensor) -> Tensor:
        """sums·step + offset; shared with the integer layers, so that both round alike."""
        step = (self.bound / self.levels)[self.group_of]
        return sums.to(step.dtype) * self._along_channels(step) + self._along_channels(offset)

    def _along_channels(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *[1] * (-1 - self.CHANNELS))

    def distances(self, input: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        """−Σ|x − w| of some filters; ``weight`` is theirs, zeros pad."""
        raise NotImplementedError


class QuantizedAdderConv2d(QuantizedAdder, AdderConv2d):
    """Input [N, C, H, W] or [C, H, W] → [N, T, H', W'] or [T, H', W']."""

    CHANNELS = -3

    def distances(self, input: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        padded, padding = self._pad(self.channels_for(input, filters))
        batch = padded.unsqueeze(0) if padded.dim() == 3 else padded
        groups = self.groups_for(filters)
        geometry = self.stride, padding, self.dilation, groups
        several = _at_least_two(weight) if groups == 1 else weight
        output = adder_conv2d(batch, several, *geometry, **self._gradients())[:, : len(filters)]
        return output.squeeze(0) if input.dim() == 3 else output

    def groups_for(self, filters: Tensor) -> int:
        """Each filter becomes a convolution group of its own if the layer has several."""
        return 1 if self.groups == 1 else len(filters)

    def channels_for(self, input: Tensor, filters: Tensor) -> Tensor:
        """The channels that the filters see, in their order; all if there is but one group."""
        if self.groups == 1:
            return input
        seen = filters // (self.out_channels // self.groups)
        by_group = input.unflatten(-3, (self.groups, -1))
        return by_group.index_select(-4, seen).flatten(-4, -3)


class QuantizedAdderLinear(QuantizedAdder, AdderLinear):
    """Input [..., in_features] → [..., out_features]."""

    def distances(self, input: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        several = adder_linear(input, _at_least_two(weight), **self._gradients())
        return several[..., : len(filters)]


def _at_least_two(weight: Tensor) -> Tensor:
    """A lone filter doubled: the kernels are several times as fast on two filters as on one."""
    return weight.expand(2, *weight.shape[1:]) if len(weight) == 1 else weight


TWINS: dict[type[nn.Module], type[QuantizedAdder]] = {
    AdderConv2d: QuantizedAdderConv2d,
    AdderLinear: QuantizedAdderLinear,
}


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
