"""Layers that quantise their weight and their input, each on a grid of its own.

**With quantisers that can learn** (:class:`QuantizedConv2d`, :class:`QuantizedLinear`).

Only the class of a layer changes, as in :func:`saa_lite.nn.convert`: hooks, geometry and bias stay.
The input is quantised before it is padded, so padding stays exactly 0. The bias is not quantised.

**Rounded to nearest** (:class:`Nearest`): the floor that every other method has to beat. Nothing is
optimised and nothing shared. Each filter has its own asymmetric grid over the range of its weights,
the inputs of a layer have one over what calibration saw, cut at the quantile of |x|. For
multiplications both scales factor out of the sum, so this is a real quantisation. For adder layers
they do not (|s_x·x̂ − s_w·ŵ|): there it is a simulation, which no integer sum computes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.nn.plumbing import OperatorConv2d
from saa_lite.nn.whole import Whole, one_node
from saa_lite.ops import adder_linear
from saa_lite.quantize.calibrate import InputRange
from saa_lite.quantize.quantizers import InputQuantizer, InputSample, WeightQuantizer
from saa_lite.quantize.uniform import (
    Grid,
    min_max_grid,
    range_grid,
    replace_straight,
    unsigned_codes,
)


class QuantizedConv2d(Whole, OperatorConv2d):
    """``nn.Conv2d`` with ``weight_quantizer`` and ``input_quantizer`` (None: not quantised)."""

    weight_quantizer: WeightQuantizer
    input_quantizer: InputQuantizer | None

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        given = input if self.input_quantizer is None else self.input_quantizer(input)
        return self._conv_forward(given, self.weight_quantizer(self.weight), self.bias)


class QuantizedLinear(Whole, nn.Linear):
    """``nn.Linear`` with ``weight_quantizer`` and ``input_quantizer`` (None: not quantised)."""

    weight_quantizer: WeightQuantizer
    input_quantizer: InputQuantizer | None

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        given = input if self.input_quantizer is None else self.input_quantizer(input)
        return F.linear(given, self.weight_quantizer(self.weight), self.bias)


QuantizedLayer = QuantizedConv2d | QuantizedLinear


def quantized_layers(module: nn.Module) -> Iterator[QuantizedLayer]:
    """All of them, ``module`` itself included."""
    for part in module.modules():
        if isinstance(part, QuantizedLayer):
            yield part


def install(
    model: nn.Module,
    weight_bits: dict[str, int],
    samples: dict[str, InputSample],
    input_bits: dict[str, int],
) -> None:
    """Quantise the named layers in place, weights to nearest; freeze every parameter.

    Args:
        weight_bits, input_bits: layer → bits; a layer missing in the second keeps its input.
        samples: layer → what it was given, for each layer in ``input_bits``.
    """
    model.requires_grad_(False)
    for name, bits in weight_bits.items():
        layer: Any = model.get_submodule(name)
        layer.__class__ = QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedLinear
        # A weight of its own: what is tied to it, such as an embedding, is not quantised.
        layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        layer.weight_quantizer = WeightQuantizer(layer.weight, bits)
        layer.input_quantizer = None
        if name in input_bits:
            layer.input_quantizer = samples[name].quantizer(input_bits[name])


@torch.no_grad()
def store_weights(model: nn.Module) -> None:
    """Make each layer's ``weight`` what its codes say, so that it is what computes."""
    for layer in quantized_layers(model):
        layer.weight.copy_(layer.weight_quantizer(layer.weight))


def set_modes(module: nn.Module, mode: str) -> None:
    """Switch all weight quantisers of ``module``."""
    for layer in quantized_layers(module):
        layer.weight_quantizer.mode = mode


def input_quantizers(module: nn.Module) -> list[InputQuantizer]:
    """Those of the quantised layers in ``module``."""
    found = (layer.input_quantizer for layer in quantized_layers(module))
    return [quantizer for quantizer in found if quantizer is not None]


class Nearest(Whole):
    """Rounds inputs and weights, then does what the layer did.

    The input's grid is calibrated; that of the weights follows them, also in training, where
    gradients pass straight through.
    """

    weight: Tensor
    input_step: Tensor
    input_zero: Tensor

    def quantize(self, found: InputRange, bits: int) -> None:
        """Take over a measured range; called once, when a layer becomes this one."""
        self.method, self.bits = "nearest", bits
        least, greatest = max(found.least, -found.bound), min(found.greatest, found.bound)
        grid = range_grid(self.weight.new_tensor(least), self.weight.new_tensor(greatest), bits)
        self.register_buffer("input_step", grid.step)
        self.register_buffer("input_zero", grid.zero)

    def extra_repr(self) -> str:
        """The layer's, and its bits."""
        return f"{super().extra_repr()}, {self.method}, bits={self.bits}"

    def rounded(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Input and weight on their grids."""
        grid = Grid(self.input_step, self.input_zero, *unsigned_codes(self.bits))
        weight = min_max_grid(self.weight, self.bits, per_filter=True).nearest(self.weight.detach())
        x = grid.straight(input.to(self.input_step.dtype))
        return x, replace_straight(self.weight, weight)


class NearestConv2d(Nearest, OperatorConv2d):
    """Input [N, C, H, W] → [N, T, H', W']."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(*self.rounded(input), self.bias)


class NearestLinear(Nearest, nn.Linear):
    """Input [..., in_features] → [..., out_features]."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(*self.rounded(input), self.bias)


class NearestAdderConv2d(Nearest, AdderConv2d):
    """Input [N, C, H, W] → [N, T, H', W']; a simulation."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(*self.rounded(input), self.bias)


class NearestAdderLinear(Nearest, AdderLinear):
    """Input [..., in_features] → [..., out_features]; a simulation."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        x, w = self.rounded(input)
        output = adder_linear(x, self._adaptive(w), **self._gradients())
        return output if self.bias is None else output + self.bias


TWINS: dict[type[nn.Module], type[Nearest]] = {
    nn.Conv2d: NearestConv2d,
    nn.Linear: NearestLinear,
    AdderConv2d: NearestAdderConv2d,
    AdderLinear: NearestAdderLinear,
}
