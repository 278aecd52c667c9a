"""Codes used, and what is clamped."""

import pytest
import torch
from torch import nn

from saa_lite.nn import AdderLinear
from saa_lite.quantize import quantize
from saa_lite.quantize.adder_layers import CodeUse, input_use, weight_use


def layer_of(inputs: torch.Tensor, weights: torch.Tensor, **options) -> nn.Module:
    layer = AdderLinear(weights.shape[1], len(weights), bias=False)
    with torch.no_grad():
        layer.weight.copy_(weights)
    return quantize(nn.Sequential(layer), [inputs], alpha=1.0, **options)[0]


def test_entropy_is_that_of_the_shares() -> None:
    assert CodeUse(torch.arange(4.0), torch.full((4,), 0.25), 0.0).entropy == 2
    assert CodeUse(torch.arange(4.0), torch.tensor([1.0, 0, 0, 0]), 0.0).entropy == 0


def test_one_scale_from_weights_wastes_codes_of_inputs_and_the_reverse_clamps() -> None:
    inputs, weights = torch.linspace(0, 1, 101)[None], torch.linspace(-8, 8, 101)[None]
    wasted = layer_of(inputs, weights, method="qssf-weights", bits=4)
    (x,), (w,) = input_use(wasted, inputs), weight_use(wasted)
    assert (x.clamped, w.clamped) == (0, 0)
    assert x.entropy < 1.1  # two of sixteen codes
    assert w.entropy > 3.7
    clamped = layer_of(inputs, weights, method="qssf-activations", bits=4)
    (x,), (w,) = input_use(clamped, inputs), weight_use(clamped)
    assert x.clamped == 0
    assert x.entropy > 2.8  # eight codes, as none is negative
    assert w.clamped == pytest.approx(1 - 1.07 / 8, abs=0.02)
    assert w.values.tolist() == pytest.approx([code / 7 for code in range(-8, 8)])


def test_redistribution_uses_both_ranges() -> None:
    inputs, weights = torch.linspace(0, 1, 101)[None], torch.linspace(-8, 8, 101)[None]
    layer = layer_of(inputs, weights, method="redistribution", bits=4)
    (x,), (w,) = input_use(layer, inputs), weight_use(layer)
    assert x.entropy > 3.9
    assert w.clamped == pytest.approx(1 - 1 / 8, abs=0.02)
    assert w.values.tolist() == pytest.approx([2 * code / 15 for code in range(-8, 8)])
    assert x.shares.sum().item() == pytest.approx(1)
    assert w.shares.sum().item() == pytest.approx(1)


def test_one_entry_per_group() -> None:
    inputs = torch.rand(5, 6)
    weights = torch.randn(8, 6) * torch.linspace(0.1, 2, 8)[:, None]
    layer = layer_of(inputs, weights, bits=3, groups=3)
    used = list(weight_use(layer))
    assert [len(list(use)) for use in (used, input_use(layer, inputs))] == [3, 3]
    assert [use.values[-1] for use in used] == sorted(use.values[-1] for use in used)
