"""A configuration as a plain network of its own."""

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentConfig, augment, plain_network
from saa_lite.augment.unit import WideConv
from saa_lite.errors import UsageError
from saa_lite.models import create_model

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
PLAIN = {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Linear}


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2_tiny", "mcunet"])
def test_computes_what_netaug_does(name: str) -> None:
    torch.manual_seed(0)
    wide = augment(create_model(name, small_input=True), AugmentConfig(depth=2))
    for seed in range(3):
        configuration = wide.draw(torch.Generator().manual_seed(seed))
        alone = plain_network(wide, configuration)
        with wide.configured(configuration):
            expected = wide(IMAGES)
        torch.testing.assert_close(alone(IMAGES), expected, rtol=1e-4, atol=1e-4)
        wide.zero_grad()
        expected.square().mean().backward()
        alone(IMAGES).square().mean().backward()
        stem = next(module for module in wide.modules() if isinstance(module, WideConv))
        ours, theirs = next(alone.parameters()).grad, stem.layer.weight.grad
        assert ours is not None
        assert theirs is not None
        ours = ours[: len(theirs)]  # the target's channels of the first layer
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
    wide.eval()
    alone = plain_network(wide, wide.largest)
    with torch.no_grad(), wide.configured(wide.largest):
        torch.testing.assert_close(alone(IMAGES), wide(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("conv", ["conv", "shift", "adder"])
def test_only_torchs_own_layers_and_nothing_shared(conv: str) -> None:
    wide = augment(create_model("mobilenet_v2_tiny", conv=conv), AugmentConfig())
    alone = plain_network(wide, wide.largest)
    leaves = {
        type(m) for m in alone.modules() if next(m.parameters(recurse=False), None) is not None
    }
    assert leaves <= PLAIN
    assert all(parameter.requires_grad for parameter in alone.parameters())
    theirs = {parameter.data_ptr() for parameter in wide.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in alone.parameters()}
    assert alone(IMAGES).shape == wide(IMAGES).shape


def test_type_and_mode_are_those_of_the_model() -> None:
    wide = augment(create_model("mobilenet_v2_tiny"), AugmentConfig()).double().eval()
    alone = plain_network(wide, wide.largest)
    assert {tensor.dtype for tensor in alone.parameters()} == {torch.float64}
    assert not any(module.training for module in alone.modules())
    target = plain_network(wide, None)
    assert torch.equal(target(IMAGES.double()), wide(IMAGES.double()))


def test_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match="plain_network takes the model"):
        plain_network(nn.Linear(2, 2), None)  # type: ignore[arg-type]
