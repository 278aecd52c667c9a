"""A configuration as a network of its own: what one would train without augmentation."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from saa_lite.augment.axes import Configuration
from saa_lite.augment.depthwise import WideDepthwise, WideLinear
from saa_lite.augment.export import put_norm_back
from saa_lite.augment.network import AugmentedNet, Deepened, check_augmented
from saa_lite.augment.norm import WideNorm, joined, like
from saa_lite.augment.rectifier import rectify_in_place
from saa_lite.augment.unit import WideConv

M = TypeVar("M", bound=nn.Module)


def plain_network(model: AugmentedNet, configuration: Configuration | None) -> nn.Module:
    """The multiplicative network of these widths and depths, of torch's own layers.

    It has the weights of ``model``, read as those of convolutions, in parameters of its own, and
    its mode (training or evaluation). For NetAug it computes what ``model`` does while
    ``configured(configuration)``. ``model`` runs as the target afterwards.

    Args:
        configuration: ``model.largest``, one of ``model.draw()``, or None for the target's widths.

    Raises:
        UsageError: another model or configuration.
    """
    check_augmented(model, "plain_network")
    model.activate(configuration)
    try:
        net = copy.deepcopy(model.net)
    finally:
        model.activate(None)
    for owner in list(net.modules()):
        _replace(owner)
    rectify_in_place(net, on=False)
    return net.requires_grad_(True).train(model.training)


def _replace(owner: nn.Module) -> None:
    """Put plain layers and norms of the active widths where ``owner`` holds wide ones."""
    children: Any = owner._modules
    for name, child in list(children.items()):
        if isinstance(child, Deepened):
            children[name] = nn.Sequential(child.block, *child.extra[: child.active])
        elif isinstance(child, WideLinear):
            children[name] = _linear(child)
        elif isinstance(child, (WideConv, WideDepthwise)):
            children[name] = _convolution(child)
            put_norm_back(owner, name, _norm(child.norm, children[name].out_channels))


def _convolution(unit: WideConv | WideDepthwise) -> nn.Conv2d:
    if isinstance(unit, WideConv):
        weight, groups = unit.weight(0, unit.outputs.active, 0, unit.inputs.active), 1
        padding = unit.layer.padding
    else:
        weight, padding = unit.weight(unit.axis.active), unit.padding
        groups = len(weight)
    old, (rows, columns, *kernel) = unit.layer, weight.shape
    shape = (kernel, old.stride, padding, old.dilation, groups)
    return _filled(nn.Conv2d(columns * groups, rows, *shape, bias=False), weight=weight)  # type: ignore[arg-type]


def _linear(unit: WideLinear) -> nn.Linear:
    weight, bias = unit.weight(unit.inputs.active), unit.layer.bias
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(layer, weight=weight, **({} if bias is None else {"bias": bias}))


def _norm(norm: WideNorm, channels: int) -> nn.BatchNorm2d:
    parts = norm.parts(channels)
    names = ("weight", "bias", "running_mean", "running_var")
    values = {name: joined(parts, name) for name in names}
    plain = _filled(like(norm.target, channels), **values)
    plain.num_batches_tracked = copy.deepcopy(norm.target.num_batches_tracked)
    return plain


@torch.no_grad()
def _filled(module: M, **values: Tensor) -> M:
    first = next(iter(values.values()))
    module.to(first.device, first.dtype)
    for name, value in values.items():
        getattr(module, name).copy_(value)
    return module
