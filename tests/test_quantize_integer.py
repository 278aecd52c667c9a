"""Integer inference equals the simulation bit for bit, and says where it sums."""

import pytest
import torch
from quantize_samples import (
    adder_network,
    calibration,
    digits,
    quantized_layer,
    trained,
)
from torch import nn

from saa_lite.data import Batches, normalization
from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.quantize import METHODS, quantize, to_integer
from saa_lite.quantize.integer import PATHS

SHARED = [method for method in METHODS if method != "nearest"]


@pytest.fixture(scope="module")
def thousand_images() -> torch.Tensor:
    mean, std = normalization(digits("train"))
    batches = Batches(digits("train"), 1000, mean=mean, std=std)
    images = next(batches.epoch(0))[1]
    assert len(images) == 1000
    return images


@torch.no_grad()
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("method", SHARED)
def test_thousand_images_bit_for_bit(bits: int, method: str, thousand_images: torch.Tensor) -> None:
    quantized = quantize(trained(), calibration(), method=method, bits=bits)
    expected = quantized(thousand_images)
    assert torch.equal(to_integer(quantized)(thousand_images), expected)
    assert expected.std() > 0.01
    few = thousand_images[:50]
    assert torch.equal(to_integer(quantized, "int32")(few), quantized(few))


class EveryGeometry(nn.Module):
    """Layers whose borders, groups and inputs differ; inputs of both signs reach all but one."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = AdderConv2d(4, 6, 3, padding=1, groups=2)
        self.depthwise = AdderConv2d(6, 6, (3, 2), padding="same", groups=6, bias=False)
        self.reflected = AdderConv2d(6, 5, 3, padding=2, padding_mode="reflect", dilation=2)
        self.strided = AdderConv2d(5, 8, (1, 3), stride=(2, 1), padding=(0, 2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (6, 6, 5, 8))
        self.tokens = AdderLinear(8, 7)
        self.last = AdderLinear(7, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = (self.grouped, self.depthwise, self.reflected, self.strided)
        for layer, norm in zip(layers, self.norms, strict=True):
            x = norm(layer(input=x))
        return self.last(self.tokens(x.flatten(2).transpose(1, 2)).relu())


@torch.no_grad()
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
@pytest.mark.parametrize("method", ["qssf-both", "redistribution", "non-negative"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_geometry_sign_and_dtype(bits: int, method: str, dtype: torch.dtype) -> None:
    torch.manual_seed(bits)
    network = EveryGeometry().to(dtype)
    images = torch.randn(6, 4, 9, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)
    quantized = quantize(network, [images], method=method, bits=bits)
    for path in PATHS:
        assert torch.equal(to_integer(quantized, path)(images), quantized(images))
    assert quantized(images).dtype == dtype


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_bits_survive_many_taps_and_single_images(bits: int, signed: bool, path: str) -> None:
    """40,000 taps of 8 bits exceed what float32 can count, so the simulation turns to float64."""
    torch.manual_seed(bits)
    long = quantized_layer(AdderLinear(40_000, 3), 1.5, bits, 2, signed=signed)
    x = torch.randn(2, 40_000)
    assert torch.equal(to_integer(nn.Sequential(long), path)(x), long(x))
    image = torch.randn(3, 6, 6)
    conv = quantized_layer(AdderConv2d(3, 4, 3, padding=1), 1.5, bits, 2, signed=signed)
    integer = to_integer(nn.Sequential(conv), path)
    assert torch.equal(integer(image), conv(image))
    assert torch.equal(integer(image), integer(image[None])[0])
    assert integer(image[:, :0].new_zeros(0, 3, 6, 6)).shape == (0, 4, 6, 6)


def test_layers_say_where_they_sum_and_what_they_folded() -> None:
    """Eight bits with the doubled step and inputs ≥ 0: every negative weight leaves the byte."""
    quantized = quantize(trained(), calibration(), bits=8)
    layer = to_integer(quantized)[3]
    assert layer.codes.dtype == torch.uint8
    codes, _ = quantized[3].quantized_weight()
    assert layer.folded == pytest.approx((codes < 0).double().mean().item())
    assert layer.folded > 0.1
    assert "redistribution, bits=8, groups=4, path=bytes, folded=" in repr(layer)
    wide = to_integer(quantized, "int32")[3]
    assert wide.codes.dtype == torch.int32
    assert wide.codes.min() < 0
    assert "path=int32" in repr(wide)
    positive = quantize(trained(), calibration(), bits=8, method="non-negative")
    assert to_integer(positive)[3].folded == 0


@pytest.mark.parametrize("path", PATHS)
def test_what_stands_behind_may_work_in_place(path: str) -> None:
    """As behind every other layer: other networks' ReLU does, with gradients wanted or not."""
    layer = to_integer(nn.Sequential(quantized_layer(
        AdderConv2d(3, 4, 3), bound=2.0, bits=4, signed=True
    )), path)  # fmt: skip
    x = torch.randn(2, 3, 6, 6)
    right = layer(x).clone()
    for change in (
        torch.relu_,
        lambda y: y.mul_(2),
        lambda y: y.index_fill_(0, y.new_zeros(1).long(), 0),
    ):
        wanted = change(right.clone())
        y = layer(x.clone().requires_grad_())
        assert torch.equal(change(y).detach(), wanted)
        with pytest.raises(UsageError, match="derivative"):
            y.sum().backward()


def test_integer_networks_hold_no_float_weights_and_survive_saving() -> None:
    quantized = quantize(trained(), calibration(), bits=3)
    integer = to_integer(quantized)
    assert not any(name.startswith(("3.", "6.")) for name, _ in integer.named_parameters())
    other = to_integer(quantize(adder_network(1), calibration(), bits=3))
    images = calibration()[0]
    with torch.no_grad():
        assert not torch.equal(other(images), integer(images))
        other.load_state_dict(integer.state_dict())
        assert torch.equal(other(images), integer(images))
    assert quantized[3].weight is not None  # the simulation is left as it was


def test_what_cannot_become_integers() -> None:
    with pytest.raises(UsageError, match="needs a network with adder layers on a shared scale"):
        to_integer(trained())
    rounded = quantize(trained(), calibration()[:1], method="nearest")
    with pytest.raises(UsageError, match="every method but 'nearest'"):
        to_integer(rounded)
    with pytest.raises(UsageError, match="path must be one of 'bytes', 'int32'; got 'u8'"):
        to_integer(rounded, "u8")
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got int"):
        to_integer(3)
