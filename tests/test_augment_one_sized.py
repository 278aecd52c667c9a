"""Wide layers where images, kernels or channels have a size of one: in any order and any view."""

import copy
from itertools import product
from typing import Any

import pytest
import torch
from adder_samples import Case, error, upstream
from augment_samples import KINDS, READINGS
from one_sized_samples import sweep
from ops_samples import LAYOUTS
from torch import Tensor, nn

from saa_lite.augment.config import Axis
from saa_lite.augment.depthwise import WideDepthwise
from saa_lite.augment.norm import InPlaceReLU6
from saa_lite.augment.unit import WideConv
from saa_lite.nn import make_conv

ORDERS = tuple(LAYOUTS.values())
OPTIONS = tuple(product(READINGS, ("norm", "scale", "sum")))


def convolution(kind: str, case: Case, filters: int, groups: int = 1) -> nn.Module:
    """A layer of the case's geometry."""
    geometry = {"stride": case.stride, "padding": case.padding, "dilation": case.dilation}
    return make_conv(
        kind, case.channels, filters, case.kernel, groups=groups, bias=False, **geometry
    )


def doubled(name: str, channels: int) -> Axis:
    """Half of the active channels are the target's."""
    axis = Axis(name, channels, (1.0, 2.0))
    axis.activate(2.0)
    return axis


def settled(layer: nn.Module) -> nn.Module:
    """Outputs on both sides of the rectifier's bends, whatever the operator."""
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.constant_(norm.weight, 0.3)
            nn.init.uniform_(norm.bias, 0, 6)
    return nn.Sequential(layer, InPlaceReLU6()).eval()


def results(layer: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    leaf = x.detach().requires_grad_()
    y = layer(leaf * 1)
    kept = y.detach().clone()
    read = [p for p in layer.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(y * 1, (leaf, *read), grad, allow_unused=True)
    return [kept, *(g for g in gradients if g is not None)]


def agrees_with_itself_in_float64(layer: nn.Module, x: Tensor, view: Any, order: Any) -> None:
    """``order``: of the gradient. torch's batch norm takes no odd strides there as they are."""
    plain = copy.deepcopy(layer).double()
    with torch.no_grad():
        grad = upstream(plain(x.double())).float()
    right = results(plain, x.double(), grad.double())
    for ours, wanted in zip(results(layer, view(x), order(grad)), right, strict=True):
        assert error(ours, wanted) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_wide_layers(kind: str) -> None:
    for i, (case, view) in enumerate(sweep(1, 60)):
        torch.manual_seed(i)
        layer = convolution(kind, case, case.filters)
        options = dict(zip(("reading", "combine"), OPTIONS[i % len(OPTIONS)], strict=True))
        wide = WideConv(
            layer,
            nn.BatchNorm2d(case.filters),
            doubled("in", case.channels),
            doubled("out", case.filters),
            **options if kind != "conv" else {},
        )
        x = torch.randn(case.batch, 2 * case.channels, *case.size)
        agrees_with_itself_in_float64(settled(wide), x, view, ORDERS[i % len(ORDERS)])


@pytest.mark.parametrize("kind", KINDS)
def test_wide_depthwise_layers(kind: str) -> None:
    for i, (case, view) in enumerate(sweep(2, 30)):
        torch.manual_seed(i)
        count = case.channels
        layer = convolution(kind, case, count, groups=count)
        wide = WideDepthwise(layer, nn.BatchNorm2d(count), doubled("in", count))
        x = torch.randn(case.batch, 2 * count, *case.size)
        agrees_with_itself_in_float64(settled(wide), x, view, ORDERS[i % len(ORDERS)])
