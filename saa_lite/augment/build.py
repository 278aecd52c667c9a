"""``augment(target, config)``, and which layers of which network share a width.

Everything that has a width is widened, as in NetAug: stem, block outputs, middles of blocks, the
last 1×1 layer; the classifier's input follows. Two layers that a shortcut adds share an axis. What
widens a trunk gives the axis behind each of its pieces, which a segmenter's head reads.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from saa_lite.augment.builder import Builder, channels
from saa_lite.augment.config import AugmentConfig, Axis
from saa_lite.augment.network import AugmentedNet, Deepened
from saa_lite.augment.norm import rectify_in_place
from saa_lite.errors import UsageError
from saa_lite.models.inverted import InvertedBlock, InvertedNet
from saa_lite.models.resnet import BasicBlock, CifarResNet
from saa_lite.models.segmenter import LiteHead, Segmenter


def widen_resnet(net: CifarResNet, builder: Builder) -> None:
    """The trunk, then the classifier."""
    axes = widen_resnet_trunk(net, builder)
    head: Any = net.classifier
    builder.begin_block()
    builder.conv(head, "conv", "bn", axes[-1], builder.fixed(channels(head.conv)))


def widen_resnet_trunk(net: CifarResNet, builder: Builder) -> list[Axis]:
    """Stages share one width from their second block on; the middle of a block is its own."""
    stem: Any = net.conv1
    current = builder.width("stem", channels(stem))
    builder.conv(net, "conv1", "bn1", builder.fixed(stem.in_channels), current)
    axes = [current] * 3  # convolution, norm, activation
    for stage in ("stage1", "stage2", "stage3"):
        blocks: Any = getattr(net, stage)
        for i, block in enumerate(blocks):
            current = widen_basic(block, builder, f"{stage}.{i}", current)
            axes.append(current)
        deepen(blocks, len(blocks) - 1, builder, stage, current, basic_twin)
    return axes


def widen_basic(block: Any, builder: Builder, name: str, inputs: Axis) -> Axis:
    """Returns the axis of the block's output."""
    builder.begin_block()
    outputs = inputs
    if not isinstance(block.shortcut, nn.Identity):
        outputs = builder.width(f"{name}.out", channels(block.conv2))
        builder.conv(block.shortcut, "0", "1", inputs, outputs)
    inner = builder.inner(f"{name}.inner", channels(block.conv1), outputs)
    builder.conv(block, "conv1", "bn1", inputs, inner)
    builder.conv(block, "conv2", "bn2", inner, outputs)
    return outputs


def basic_twin(block: Any, axis: Axis) -> nn.Module:
    """A multiplicative block of the same width with an identity shortcut."""
    return BasicBlock("conv", axis.target, axis.target, 1)


def widen_inverted(net: InvertedNet, builder: Builder) -> None:
    """The trunk, then the last 1×1 layer, if there is one, and the classifier."""
    current = widen_inverted_trunk(net, builder)[-1]
    last: Any = net.last
    if not isinstance(last, nn.Identity):
        builder.begin_block()
        outputs = builder.width("last", channels(last.conv))
        builder.conv(last, "conv", "norm", current, outputs)
        current = outputs
    builder.linear(net, "classifier", current)


def widen_inverted_trunk(net: InvertedNet, builder: Builder) -> list[Axis]:
    """Blocks with a shortcut share the width before them."""
    stem: Any = net.stem
    current = builder.width("stem", channels(stem.conv))
    builder.conv(stem, "conv", "norm", builder.fixed(stem.conv.in_channels), current)
    axes = [current]
    blocks: Any = net.blocks
    ends = [i for i in range(1, len(blocks)) if not after_shortcut(blocks, i)]
    for i in range(len(blocks)):
        current = widen_inverted_block(blocks[i], builder, f"blocks.{i}", current)
        axes.append(current)
        if i in ends:
            deepen(blocks, i, builder, f"blocks.{i}", current, inverted_twin)
    return axes


def after_shortcut(blocks: Any, i: int) -> bool:
    """Whether block i + 1 continues the stage of block i."""
    return i + 1 < len(blocks) and bool(blocks[i + 1].has_shortcut)


def widen_inverted_block(block: Any, builder: Builder, name: str, inputs: Axis) -> Axis:
    """Returns the axis of the block's output."""
    builder.begin_block()
    outputs = inputs
    if not block.has_shortcut:
        outputs = builder.width(f"{name}.out", channels(block.project.conv))
    middle = inputs
    if not isinstance(block.expand, nn.Identity):
        middle = builder.inner(f"{name}.inner", channels(block.expand.conv), inputs)
        builder.conv(block.expand, "conv", "norm", inputs, middle)
    builder.depthwise(block.depthwise, "conv", "norm", middle)
    builder.conv(block.project, "conv", "norm", middle, outputs)
    return outputs


def inverted_twin(block: Any, axis: Axis) -> nn.Module:
    """A multiplicative block with the expansion and the kernel of ``block``, and a shortcut."""
    depthwise = block.depthwise.conv.layer
    middle = round(depthwise.out_channels / block.expand.conv.inputs.target * axis.target)
    return _extra(axis, middle, depthwise.kernel_size[0])


def _extra(axis: Axis, middle: int, kernel: int) -> nn.Module:
    return InvertedBlock("conv", axis.target, middle, axis.target, kernel, 1, shortcut=True)


def deepen(
    blocks: Any,
    index: int,
    builder: Builder,
    name: str,
    axis: Axis,
    twin: Callable[[Any, Axis], nn.Module],
) -> None:
    """Put the configuration's extra blocks behind ``blocks[index]``, widened along its axis."""
    builder.ends.append(name)
    around = builder.config.around
    if around is None:
        extra = [twin(blocks[index], axis) for _ in range(builder.config.depth)]
    else:
        given = around.extra.get(name, ())
        extra = [_extra(axis, expansion * axis.target, kernel) for expansion, kernel in given]
    for j, block in enumerate(extra):
        widen = widen_basic if isinstance(block, BasicBlock) else widen_inverted_block
        widen(block, builder, f"{name}.extra{j}", axis)
    if extra:
        blocks[index] = Deepened(blocks[index], extra)


def widen_segmenter(net: Segmenter, builder: Builder) -> None:
    """The encoder, then the head, whose inner layer and gate share a width."""
    encoder, head = net.encoder, net.head
    if type(encoder) not in TRUNKS or not isinstance(head, LiteHead):
        raise UsageError(
            "a segmenter to be augmented must have resnet8, resnet20, resnet32, mobilenet_v2_tiny, "
            f"mobilenet_v2_w035, mcunet or proxylessnas_w035 as encoder; got "
            f"{type(encoder).__name__}"
        )
    axes = TRUNKS[type(encoder)](encoder, builder)
    parts: Any = head
    builder.begin_block()
    inner = builder.width("head", channels(parts.project.conv))
    for layer in (parts.project, parts.gate):
        builder.conv(layer, "conv", "norm", axes[-1], inner)
    builder.begin_block()
    classes = builder.fixed(channels(parts.fine.conv))
    builder.conv(parts.fine, "conv", "norm", axes[net.tap], classes)
    builder.conv(parts.coarse, "conv", "norm", inner, classes)


TRUNKS: dict[type, Callable[[Any, Builder], list[Axis]]] = {
    CifarResNet: widen_resnet_trunk,
    InvertedNet: widen_inverted_trunk,
}
WIDENERS: dict[type, Callable[[Any, Builder], None]] = {
    CifarResNet: widen_resnet,
    InvertedNet: widen_inverted,
    Segmenter: widen_segmenter,
}


def augment(target: nn.Module, config: AugmentConfig | None = None) -> AugmentedNet:
    """A wide model around a copy of ``target``, which computes what it did before.

    With a remapping or mutation the target's multiplication-free weights are drawn anew, as those
    of a convolution; otherwise all of its parameters keep their values. New parameters are drawn
    from torch's global generator.

    ReLU6 works in place, which saves memory and forbids second derivatives:
    :mod:`saa_lite.augment.norm` has the switch.

    Args:
        target: a ResNet for small images or a network of inverted blocks
            (:mod:`saa_lite.augment.build`), with operator ``"conv"`` (then this is NetAug),
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
            "saa_lite.augment.build.WIDENERS"
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
