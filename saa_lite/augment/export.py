"""The target alone: a plain network with frozen weights, nothing of the augmentation left."""

import copy
from typing import Any

from torch import nn

from saa_lite.augment.depthwise import WideDepthwise, WideLinear
from saa_lite.augment.network import AugmentedNet, Deepened, check_augmented
from saa_lite.augment.rectifier import rectify_in_place
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
    if isinstance(unit, WideConv) and unit.is_free:
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
