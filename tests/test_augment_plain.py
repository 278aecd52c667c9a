"""A configuration as a plain network of its own."""

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentConfig, augment, plain_network
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
        expected.square().sum().backward()
        alone(IMAGES).square().sum().backward()
        wide.zero_grad()
    wide.eval()
    alone = plain_network(wide, wide.largest).eval()
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


def test_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match="plain_network takes the model"):
        plain_network(nn.Linear(2, 2), None)  # type: ignore[arg-type]
