"""Which layers of which network share a width.

Everything that has a width is widened, as in NetAug: stem, block outputs, middles of blocks, the
last 1×1 layer; the classifier's input follows. Two layers that a shortcut adds share an axis.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from saa_lite.augment.axes import Axis
from saa_lite.augment.builder import Builder, channels
from saa_lite.augment.network import Deepened
from saa_lite.models.inverted import InvertedBlock, InvertedNet
from saa_lite.models.resnet import BasicBlock, CifarResNet


def widen_resnet(net: CifarResNet, builder: Builder) -> None:
    """Stages share one width from their second block on; the middle of a block is its own."""
    stem: Any = net.conv1
    current = builder.width("stem", channels(stem))
    builder.conv(net, "conv1", "bn1", builder.fixed(stem.in_channels), current)
    for stage in ("stage1", "stage2", "stage3"):
        blocks: Any = getattr(net, stage)
        for i, block in enumerate(blocks):
            current = widen_basic(block, builder, f"{stage}.{i}", current)
        deepen(blocks, len(blocks) - 1, builder, stage, current, basic_twin)
    head: Any = net.classifier
    builder.begin_block()
    builder.conv(head, "conv", "bn", current, builder.fixed(channels(head.conv)))


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
    """Blocks with a shortcut share the width before them."""
    stem: Any = net.stem
    current = builder.width("stem", channels(stem.conv))
    builder.conv(stem, "conv", "norm", builder.fixed(stem.conv.in_channels), current)
    blocks: Any = net.blocks
    ends = [i for i in range(1, len(blocks)) if not after_shortcut(blocks, i)]
    for i in range(len(blocks)):
        current = widen_inverted_block(blocks[i], builder, f"blocks.{i}", current)
        if i in ends:
            deepen(blocks, i, builder, f"blocks.{i}", current, inverted_twin)
    last: Any = net.last
    if not isinstance(last, nn.Identity):
        builder.begin_block()
        outputs = builder.width("last", channels(last.conv))
        builder.conv(last, "conv", "norm", current, outputs)
        current = outputs
    builder.linear(net, "classifier", current)


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


WIDENERS: dict[type, Callable[[Any, Builder], None]] = {
    CifarResNet: widen_resnet,
    InvertedNet: widen_inverted,
}
