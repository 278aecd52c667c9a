"""Convolutions and linear layers that quantise their weight and their input.

Only the class of a layer changes, as in :func:`saa_lite.nn.convert`: hooks, geometry and bias stay.
The input is quantised before it is padded, so padding stays exactly 0. The bias is not quantised.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.nn.plumbing import OperatorConv2d
from saa_lite.nn.whole import Whole, one_node
from saa_lite.quantize.activations import InputQuantizer, InputSample
from saa_lite.quantize.rounding import WeightQuantizer


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
