"""Calibration, the choice of scales, and the codes, against the formulas written out."""

import math

import pytest
import torch
from quantize_samples import quantized_layer
from torch import nn

from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d
from saa_lite.ops import reference
from saa_lite.quantize.calibrate import InputRange, calibrate, quantile_index
from saa_lite.quantize.schemes import grouped, qssf


def test_quantile_of_the_supplement_and_of_the_code() -> None:
    """α acts twice in the code: 0.9997 is the quantile 0.9994 (METHODS: checked there)."""
    count = 2_097_152
    assert quantile_index(count, 1.0) == count - 1
    assert quantile_index(count, 0.9992) == round(0.9992 * (count - 1))
    assert quantile_index(count, 0.9997, "code") / count == pytest.approx(0.9994, abs=1e-6)
    assert quantile_index(3, 0.1, "code") == 0


def test_calibration_takes_the_greatest_quantile_of_the_batches() -> None:
    layer = nn.Sequential(AdderConv2d(1, 2, 1))
    first, second = torch.arange(100.0), torch.cat([torch.full((99,), 7.0), torch.tensor([-500.0])])
    batches = [values.view(1, 1, 10, 10) for values in (first, second)]
    found = calibrate(layer, ["0"], batches, 0.9)["0"]
    assert (found.bound, found.least, found.greatest) == (round(0.9 * 99), -500.0, 99.0)
    assert found.signed
    assert calibrate(layer, ["0"], batches, 1.0)["0"].bound == 500
    assert calibrate(layer, ["0"], [0 * batches[0]], 1.0)["0"].bound == 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_calibration_refuses_what_is_not_a_number(value: float) -> None:
    layer = nn.Sequential(AdderConv2d(1, 2, 1))
    with pytest.raises(UsageError, match="layer '0' must read finite numbers"):
        calibrate(layer, ["0"], [torch.full((1, 1, 2, 2), value)], 0.9)


def weights() -> torch.Tensor:
    """Eight filters of rising range, from 0.2 to 3.2 or so."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 1.5, 8, dtype=torch.float64).view(-1, 1, 1, 1)
    return scale * torch.randn(8, 3, 3, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("groups", [1, 3, 8])
def test_redistribution_as_written(bits: int, groups: int) -> None:
    """Released code, step by step, in float64: scale, clamp, compensation, codes, |x̂ − 2ŵ|."""
    layer = AdderConv2d(3, 8, 3, padding=1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weights())
        layer.bias.copy_(torch.arange(8.0))
    w, bias, r_x = weights(), torch.arange(8.0).double(), 1.3
    quantized = quantized_layer(layer, r_x, bits, groups, signed=False)
    x = 2 * torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)).double()
    levels, output = 2**bits - 1, torch.empty(2, 8, 7, 7, dtype=torch.float64)
    for group in quantized.group_of.unique():
        filters = quantized.group_of == group
        S = min(w[filters].abs().max().item(), r_x)
        clipped = w[filters].clamp(-S, S)
        b = bias[filters] - (w[filters].abs() - S).clamp_min(0).sum((1, 2, 3))
        w_hat = (clipped * levels / (2 * S)).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        x_hat = (x * levels / S).round().clamp(0, levels)
        sums = reference.adder_conv2d(x_hat, 2 * w_hat, (1, 1), (1, 1), (1, 1), 1)
        output[:, filters] = sums * S / levels + b.view(-1, 1, 1)
    torch.testing.assert_close(quantized(x), output, rtol=1e-12, atol=1e-12)
    assert len(quantized.group_of.unique()) == groups


def test_scale_of_a_group_is_the_lesser_range() -> None:
    scheme = grouped(weights(), InputRange(1.3, 0.0, 9.0), 4, "redistribution", 8)
    ranges = weights().abs().flatten(1).amax(1)
    assert torch.equal(scheme.bound[scheme.group_of], ranges.clamp_max(1.3))
    assert (scheme.inputs, scheme.weights, scheme.ratio) == ((0, 15), (-8, 7), 2)


def test_non_negative_scheme_spends_no_sign_bit() -> None:
    positive = grouped(weights(), InputRange(1.3, 0.0, 9.0), 4, "non-negative", 8)
    ranges = weights().flatten(1).amax(1)
    assert torch.equal(positive.bound[positive.group_of], ranges.clamp_max(1.3))
    assert (positive.inputs, positive.weights, positive.ratio) == ((0, 15), (0, 15), 1)
    fallen_back = grouped(weights(), InputRange(1.3, -0.1, 9.0), 4, "non-negative", 8)
    assert (fallen_back.method, fallen_back.inputs) == ("redistribution", (-8, 7))


def test_inputs_of_either_sign_share_the_step_of_the_weights() -> None:
    signed = grouped(weights(), InputRange(1.3, -1.3, 1.3), 4, "redistribution", 2)
    assert (signed.ratio, signed.levels) == (1, 7.5)


@pytest.mark.parametrize(
    ("method", "inputs", "step"),
    [
        ("qssf-weights", "signed", "w/7"),
        ("qssf-activations", "signed", "x/7"),
        ("qssf-both", "signed", "w/7"),
        ("qssf-weights", "unsigned", "w/7"),
        ("qssf-activations", "unsigned", "x/15"),
        ("qssf-both", "unsigned", "w/7"),
    ],
)
def test_qssf_has_one_step_for_the_layer(method: str, inputs: str, step: str) -> None:
    ranges = {"w": weights().abs().max().item(), "x": 1.3}
    scheme = qssf(weights(), InputRange(1.3, 0.0, 2.0), 4, method, inputs)
    letter, _, levels = step.partition("/")
    expected = ranges[letter] / int(levels)
    assert (scheme.bound / scheme.levels).item() == pytest.approx(expected, rel=1e-12)
    assert scheme.inputs == ((0, 15) if inputs == "unsigned" else (-8, 7))
    assert scheme.clamp == "none"
    signed = qssf(weights(), InputRange(1.3, -1.0, 2.0), 4, method, inputs)
    assert signed.inputs == (-8, 7)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_doubling_inputs_and_weights_doubles_the_output(bits: int) -> None:
    outputs = []
    x = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    for factor in (1, 2):
        layer = AdderConv2d(3, 8, 3, padding=1, bias=False)
        with torch.no_grad():
            layer.weight.copy_(factor * weights())
        quantized = quantized_layer(layer, factor * 0.8, bits, 3, signed=False)
        outputs.append(quantized(factor * x) / factor)
    assert torch.equal(*outputs)


def quantized_filters(chosen: list[int], groups: int, bits: int = 3) -> nn.Module:
    layer = AdderConv2d(3, len(chosen), 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weights()[chosen])
    return quantized_layer(layer, 1.0, bits, groups, signed=False)


def test_grouping_follows_the_filters_and_single_groups_ignore_each_other() -> None:
    x = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    shuffle = [5, 0, 3, 7, 1, 2, 6, 4]
    straight = quantized_filters(list(range(8)), 3)(x)
    assert torch.equal(quantized_filters(shuffle, 3)(x), straight[:, shuffle])
    alone = quantized_filters(list(range(8)), 8)(x)
    assert torch.equal(quantized_filters([2, 6], 2)(x), alone[:, [2, 6]])
    assert not torch.equal(straight, alone)


def test_filters_of_one_range_do_not_care_about_groups() -> None:
    """Each of these filters reaches ±0.1."""
    x = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)) / 5
    outputs = []
    for groups in (1, 2, 4):
        layer = AdderConv2d(3, 8, 3, bias=False)
        with torch.no_grad():
            layer.weight.copy_(weights().clamp(-0.1, 0.1))
        outputs.append(quantized_layer(layer, 1.0, 4, groups, signed=False)(x))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
