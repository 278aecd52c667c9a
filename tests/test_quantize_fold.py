"""Batch-norm folding: the same function, exactly."""

import copy

import pytest
import torch
from convolution_samples import settle_norms, small_network
from model_samples import NAMES, build, images_for
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.errors import UsageError
from saa_lite.quantize import fold_batch_norm, quantize_convolution, unfold_batch_norm
from saa_lite.quantize.layers import quantized_layers
from saa_lite.train import reestimate_batch_norm


def norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def relative_error(model: nn.Module, folded: nn.Module, images: Tensor) -> float:
    expected = model(images)
    return float((folded(images) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_every_network_keeps_its_outputs_and_loses_its_norms(name: str) -> None:
    torch.manual_seed(0)
    model, images = settle_norms(build(name)), images_for(name, 2)
    folded = fold_batch_norm(model, images)
    assert relative_error(model, folded, images_for(name, 2)) < 1e-5
    assert norms(folded) == []
    assert name.startswith("deit") or norms(model) != []  # the given network is untouched


def test_negative_factor_behind_max_pooling_stays() -> None:
    model = settle_norms(build("vgg_small"))
    pooled = model.layers[0]  # convolution, pooling, norm, activation
    pooled.norm.weight.data[3] *= -1
    images = images_for("vgg_small", 2)
    folded = fold_batch_norm(model, images)
    assert norms(folded) == [folded.layers[0].norm]
    assert relative_error(model, folded, images) < 1e-5


def test_negative_factor_without_pooling_is_folded() -> None:
    model = settle_norms(small_network())
    model[0][1].weight.data.neg_()
    images = torch.randn(2, 1, 8, 8)
    folded = fold_batch_norm(model, images)
    assert norms(folded) == []
    assert relative_error(model, folded, images) < 1e-5


def test_a_norm_before_its_layer_stays() -> None:
    model = settle_norms(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3)))
    folded = fold_batch_norm(model, torch.randn(2, 3, 8, 8))
    assert len(norms(folded)) == 1


def test_batch_statistics_are_not_folded() -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    folded = fold_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 3), norm), torch.randn(2, 3, 8, 8))
    assert len(norms(folded)) == 1


class InPlace(nn.Module):
    """A norm that does not read what its layer put out: something wrote to it in between."""

    def __init__(self, write, *, pool: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.pool, self.write = nn.MaxPool2d(2) if pool else nn.Identity(), write

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv(input=x))
        self.write(x)
        return self.norm(x)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    "write", [nn.ReLU(inplace=True), torch.relu_, lambda x: x.mul_(2), lambda x: x[:, 1].zero_()]
)
def test_what_was_written_to_in_between_is_not_folded(write, pool: bool) -> None:
    model = settle_norms(InPlace(write, pool=pool))
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode(pool):
        folded = fold_batch_norm(model, images)
    assert len(norms(folded)) == 1
    assert torch.equal(folded.conv.weight, model.conv.weight)
    assert relative_error(model, folded, images) == 0
    quiet = settle_norms(InPlace(nn.Identity(), pool=pool))  # the same, but for the writing
    folded = fold_batch_norm(quiet, images)
    assert norms(folded) == []
    assert relative_error(quiet, folded, images) < 1e-5


def test_a_pooled_layer_that_was_written_to_is_not_folded() -> None:
    model = settle_norms(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.MaxPool2d(2), nn.BatchNorm2d(4))
    )
    folded = fold_batch_norm(model, torch.randn(2, 3, 8, 8))
    assert len(norms(folded)) == 1


class ReadTwice(nn.Module):
    """Reads a layer's output in its norm and beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)


def test_an_output_read_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="folding 1 batch norms changed the outputs by up to"):
        fold_batch_norm(settle_norms(ReadTwice()), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("name", ["resnet20", "lenet5_bn"])
def test_norms_come_back_and_nothing_else_changes(name: str) -> None:
    """Negative factors, one that is 0, shortcuts, norms behind max pooling."""
    torch.manual_seed(0)
    model, images = settle_norms(build(name)), images_for(name, 4)
    with torch.no_grad():
        first = norms(model)[0].weight
        first[:3] = torch.tensor([-0.5, 0.7, 0.0])
    quantized = quantize_convolution(model, images, "nearest", bits=3, activation_bits=None)
    unfolded = unfold_batch_norm(quantized, model, images[:2])
    assert relative_error(quantized, unfolded, images_for(name, 3)) < 1e-4
    assert len(norms(unfolded)) == len(norms(model)) > len(norms(quantized))
    for layer, other in zip(quantized_layers(quantized), quantized_layers(unfolded), strict=True):
        assert torch.equal(layer.weight_quantizer.codes, other.weight_quantizer.codes)
        torch.testing.assert_close(other.weight, other.weight_quantizer(other.weight))


def test_statistics_taken_anew_undo_a_shift_and_a_stretch() -> None:
    """Quantised weights three times as large: batch norm with fresh statistics forgives them."""
    torch.manual_seed(0)
    model, images = settle_norms(small_network()), torch.randn(256, 1, 8, 8)
    quantized = quantize_convolution(model, images, "nearest", bits=8, activation_bits=None)
    fresh = copy.deepcopy(model)
    reestimate_batch_norm(fresh, [images])
    layer = next(quantized_layers(quantized))
    layer.weight_quantizer.step *= 3
    assert relative_error(fresh, quantized, images) > 0.1
    unfolded = unfold_batch_norm(quantized, model, images[:2])
    reestimate_batch_norm(unfolded, [images])
    assert relative_error(fresh, unfolded, images) < 0.03
