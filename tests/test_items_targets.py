"""Arms of the adder line: controls whose adder layers do not learn, maps, remedies."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import laplace, norm
from torch import nn

from saa_lite.augment import AugmentedNet
from saa_lite.data import ImageSet
from saa_lite.items.augmented import load_splits
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.targets import adder_layers, build, train_config, training_method
from saa_lite.nn import AdderConv2d
from saa_lite.train import Annealing, train

SMOKE = get_item("shiftaddaug/fig4").profiles["smoke"]
SETTINGS = replace(SMOKE, net_width=4, epochs=2, eta=1.2, channels_last=False)
MOBILE = replace(get_item("shiftaddaug/claim-cifar100").profiles["smoke"], image_size=8)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_splits(Context("smoke", progress=False), "digits", 20, 20)[0]


def trained(method: str, digits: ImageSet, settings: Any = SETTINGS) -> nn.Module:
    model = build(method, settings, digits, seed=0)
    config = train_config(settings, method, seed=0)
    inside = training_method(method, settings)
    train(model, digits, digits, config, method=inside, progress=False)
    return model


def moved(model: nn.Module, start: nn.Module) -> dict[str, bool]:
    before = dict(start.named_parameters())
    return {k: not torch.equal(p, before[k]) for k, p in model.named_parameters()}


@pytest.mark.parametrize("method", ["adder-frozen", "adder-calm-frozen", "signs-frozen"])
def test_frozen_adder_weights_stay_and_all_else_learns(method: str, digits: ImageSet) -> None:
    start = build(method, SETTINGS, digits, seed=0)
    changed = moved(trained(method, digits), start)
    ends = ("conv1.weight", "conv2.weight", "shortcut.0.weight")
    inner = {k for k in changed if k.startswith("stage") and k.endswith(ends)}
    assert len(inner) == 8
    assert {name for name, differs in changed.items() if not differs} == inner


def test_signs_are_those_of_the_calm_start(digits: ImageSet) -> None:
    """And what is computed is what adders compute whose weights lie beyond all inputs."""
    adders, signs = (build(m, SETTINGS, digits, 0).double() for m in ("adder-calm", "signs-frozen"))
    assert not adder_layers(signs)
    layers = [name for name, part in adders.named_modules() if isinstance(part, AdderConv2d)]
    for name in layers:
        weight = adders.get_submodule(name).get_parameter("weight")
        projection = signs.get_submodule(name).get_parameter("weight")
        assert set(projection.unique().tolist()) == {-1.0, 1.0}
        assert torch.equal(projection, weight.detach().sign())
        weight.data = 100 * projection  # beyond the inputs, which batch norm keeps near 1
    images = torch.randn(16, 1, 8, 8, dtype=torch.float64)
    for part in (*adders.modules(), *signs.modules()):
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.fill_(0.7)  # silent branches would hide half of the layers
    with torch.no_grad():
        torch.testing.assert_close(adders(images), signs(images), rtol=1e-5, atol=1e-5)


def generated(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if getattr(m, "remap", None) is not None]


@pytest.mark.parametrize("method", ["aug-adder-affine", "remap-adder-affine"])
def test_the_affine_map_starts_as_the_analytic_one_and_moves_its_centre(
    method: str, digits: ImageSet
) -> None:
    """Against scipy's distributions: F_l⁻¹(F_g(gain·z + offset)), wide as the layer's scale b."""
    start = build(method, SETTINGS, digits, seed=0)
    same = build(method.removesuffix("-affine"), SETTINGS, digits, seed=0)
    assert isinstance(start, AugmentedNet)
    images = torch.randn(8, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(start(images), same(images))
    model = trained(method, digits)
    assert len(generated(model)) == 8
    for part in generated(model):
        gain, offset = part.remap.gain.item(), part.remap.offset.item()
        assert gain != 1
        assert offset != 0
        weight = part.layer.weight.detach().double()
        z = (weight - weight.mean()) / weight.std(correction=0)
        scale = part.remap.scale.item()
        expected = laplace.ppf(norm.cdf(gain * z.numpy() + offset), scale=scale)
        found = part.frozen().double()
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-3, atol=1e-4)


def test_remedies_are_in_force_where_their_arms_say(digits: ImageSet) -> None:
    """Each against the arm without it: weights that follow inputs, a ReLU, squares at first."""
    images = torch.randn(16, 1, 8, 8)
    plain, normalised = (build(m, SETTINGS, digits, 0) for m in ("adder", "adder-normalised"))
    before = [layer.weight.detach().clone() for layer in adder_layers(plain)]
    for net in (plain, normalised):
        net(images)
    for own, kept, taken in zip(before, adder_layers(plain), adder_layers(normalised), strict=True):
        assert torch.equal(own, kept.weight)
        assert not torch.equal(own, taken.weight)
    counts = [
        sum(isinstance(m, nn.ReLU) for m in build(method, MOBILE, digits, 0).modules())
        for method in ("adder", "adder-rectified")
    ]
    assert counts[0] == 0 < counts[1]  # its own activations are ReLU6
    annealing = training_method("adder-annealed", SETTINGS)
    assert isinstance(annealing, Annealing)
    assert [annealing.squared(i, 8) for i in (0, 2, 4, 7)] == [1, 0.5, 0, 0]
    assert not isinstance(training_method("adder", SETTINGS), Annealing)
