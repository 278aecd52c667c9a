"""Keep the resolution of an encoder: dilation in place of its last strides.

A layer whose stride goes computes at every position what it computed at every second one, and all
layers behind it look twice as far apart, so that they see what they saw (DeepLab, Chen et al.,
2017). At the old positions the outputs stay the same numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from saa_lite.errors import UsageError


class Reach(NamedTuple):
    """What a piece of a trunk gives."""

    channels: int
    stride: int


def dilate(trunk: Sequence[nn.Module], output_stride: int) -> list[Reach]:
    """Change strides to dilation, in place, wherever the total stride would pass the output's.

    Args:
        trunk: pieces that are called one after the other. Each halves its input at most once, and
            holds its layers in the order in which they are called, a shortcut last.

    Returns:
        Channels and total stride behind each piece.

    Raises:
        UsageError: a pooling would have to be dilated, which moves its output by half a pixel.
    """
    reached: list[Reach] = []
    channels, stride, dilation = 0, 1, 1
    for piece in trunk:
        layers = [m for m in piece.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
        factor = max((_stride(layer) for layer in layers), default=1)
        keeps = stride * factor <= output_stride
        stride *= factor if keeps else 1
        before = dilation
        for layer in layers:
            strided = not keeps and _stride(layer) > 1
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
                # The strided layer reads what is not yet apart; a shortcut's has one tap only.
                _look_apart(layer, before if strided else dilation)
            elif strided:
                raise UsageError(
                    f"output_stride={output_stride} would take away the stride of a pooling; "
                    "choose a larger one"
                )
            if strided:
                layer.stride, dilation = (1, 1), before * factor
        reached.append(Reach(channels, stride))
    return reached


def _stride(layer: nn.Conv2d | nn.MaxPool2d) -> int:
    return layer.stride[0] if isinstance(layer.stride, tuple) else layer.stride


def _look_apart(layer: nn.Conv2d, dilation: int) -> None:
    """The padding grows with the window, so that the map keeps its size."""
    layer.dilation = (dilation, dilation)
    layer.padding = tuple(dilation * (kernel // 2) for kernel in layer.kernel_size)
