"""Wrap augmentation around a network: ``augment(target, config)``."""

import copy

from torch import nn

from saa_lite.augment.builder import Builder
from saa_lite.augment.config import AugmentConfig
from saa_lite.augment.network import AugmentedNet
from saa_lite.augment.networks import WIDENERS
from saa_lite.augment.rectifier import rectify_in_place
from saa_lite.errors import UsageError


def augment(target: nn.Module, config: AugmentConfig | None = None) -> AugmentedNet:
    """A wide model around a copy of ``target``, which computes what it did before.

    With a remapping or mutation the target's multiplication-free weights are drawn anew, as those
    of a convolution; otherwise all of its parameters keep their values. New parameters are drawn
    from torch's global generator.

    ReLU6 works in place, which saves memory and forbids second derivatives:
    :mod:`saa_lite.augment.rectifier` has the switch.

    Args:
        target: a ResNet for small images or a network of inverted blocks
            (:mod:`saa_lite.augment.networks`), with operator ``"conv"`` (then this is NetAug),
            ``"adder"`` or ``"shift"``.
        config: default :class:`AugmentConfig`.

    Raises:
        UsageError: another network, operator or config, or a frozen target.
    """
    chosen = config if config is not None else AugmentConfig()
    if not isinstance(chosen, AugmentConfig):
        raise UsageError(f"config must be an AugmentConfig; got {chosen!r}")
    widen = WIDENERS.get(type(target))
    if widen is None:
        raise UsageError(
            "target must be create_model()'s resnet8, resnet20, resnet32, mobilenet_v2_tiny, "
            "mobilenet_v2_w035, mcunet or proxylessnas_w035, or create_segmenter()'s with one of "
            f"them as encoder; got {type(target).__name__}. Another "
            "network needs a function that says which layers share a width, in "
            "saa_lite.augment.networks.WIDENERS"
        )
    if not any(parameter.requires_grad for parameter in target.parameters()):
        raise UsageError(
            "target is frozen, as an exported network is, and could not be trained; call its "
            "requires_grad_(True) first"
        )
    net, builder = copy.deepcopy(target), Builder(chosen)
    widen(net, builder)
    builder.check_around()
    rectify_in_place(net)
    return AugmentedNet(net, chosen, builder.axes, [block for block in builder.blocks if block])
