"""What comes out of an augmented network, plain and free of it.

``export``: the target alone, with frozen weights. ``plain_network``: a configuration as a network
of its own, which one would train without augmentation.
"""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from saa_lite.augment.config import Configuration
from saa_lite.augment.depthwise import WideDepthwise, WideLinear
from saa_lite.augment.network import AugmentedNet, Deepened, check_augmented
from saa_lite.augment.norm import WideNorm, joined, like, rectify_in_place
from saa_lite.augment.unit import WideConv
from saa_lite.errors import UsageError
from saa_lite.nn import ShiftConv2d
from saa_lite.ops.shift import shift_quantize


def export(model: AugmentedNet) -> nn.Module:
    """The target as the network that :func:`saa_lite.models.create_model` builds.

    Same class, same tensor names and shapes, so its ``state_dict`` loads into a fresh network and
    its file is as large as that of the same network trained alone. Weights of multiplication-free
    layers are constants: R(W), and ±2^p in shift layers. Its outputs are those of ``model``, bit
    for bit. ``model`` is left as it was; nothing in the result requires gradients.

    Training leaves weights in the memory format ``channels_last``, and a file keeps none: a network
    that is loaded sums in another order, unless it is brought into that format, too
    (``net.to(memory_format=torch.channels_last)``); then it gives the same bits.

    Raises:
        UsageError: another model, or some block has not finished its mutation.
    """
    check_augmented(model, "export")
    if any(share != 1 for share in model.mutated.tolist()):
        raise UsageError(
            "every block must have mutated before export; multiplication-free shares are "
            f"{model.mutated.tolist()}"
        )
    net = copy.deepcopy(model.net)
    for owner in list(net.modules()):
        _restore(owner)
    rectify_in_place(net, on=False)
    return net.requires_grad_(False)


def _restore(owner: nn.Module) -> None:
    """Put plain layers and norms where ``owner`` holds wide ones."""
    children: Any = owner._modules
    for name, child in list(children.items()):
        if isinstance(child, Deepened):
            children[name] = child.block
        elif isinstance(child, WideLinear):
            children[name] = child.layer
        elif isinstance(child, (WideConv, WideDepthwise)):
            children[name] = _plain_layer(child)
            put_norm_back(owner, name, child.norm.target)


def _plain_layer(unit: WideConv | WideDepthwise) -> nn.Conv2d:
    layer = unit.layer
    if isinstance(unit, WideConv) and unit.is_multiplication_free:
        layer.weight.data = unit.shared.frozen()
        if unit.shared.normalises:
            layer.adaptive_lr = unit.shared.normalised  # type: ignore[assignment]
    if isinstance(layer, ShiftConv2d):
        layer.weight.data = shift_quantize(layer.weight.data, layer.bits)
    return layer


def put_norm_back(owner: nn.Module, conv: str, norm: nn.BatchNorm2d) -> None:
    """The norm stood right behind its convolution, where an identity keeps its place."""
    names = list(owner._modules)
    owner._modules[names[names.index(conv) + 1]] = norm


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
