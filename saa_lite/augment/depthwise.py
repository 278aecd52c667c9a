"""Wide twins of the layers that only follow a width: depthwise convolution and classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.augment.axes import Axis
from saa_lite.augment.norm import WideNorm
from saa_lite.augment.unit import draw_around
from saa_lite.ops.convolution import conv2d


class WideDepthwise(nn.Module):
    """A depthwise convolution and its norm; channel c only ever sees channel c.

    The target's channels keep the target's operator, those behind them are multiplicative.
    """

    def __init__(self, layer: nn.Conv2d, norm: nn.BatchNorm2d, axis: Axis) -> None:
        super().__init__()
        self.axis = axis
        self.is_free = type(layer) is not nn.Conv2d
        self.layer = layer
        self.norm = WideNorm(norm, axis.largest)
        _, self.below = draw_around(layer, 1, axis.largest)

    def forward(self, x: Tensor) -> Tensor:
        n = self.axis.target
        if x.shape[1] == n:
            return self.norm(self.layer(x))
        if not self.is_free:
            return self.norm(self._convolve(x, self.weight(x.shape[1])))
        assert self.below is not None
        extra = self.below[: x.shape[1] - n]
        return self.norm(torch.cat([self.layer(x[:, :n]), self._convolve(x[:, n:], extra)], 1))

    def weight(self, channels: int) -> Tensor:
        """W[:channels] as a convolution reads it; the target's are its layer's own."""
        extra = channels - self.axis.target
        if not extra:
            return self.layer.weight
        assert self.below is not None
        return torch.cat([self.layer.weight, self.below[:extra]])

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        geometry = layer.stride, layer.padding, layer.dilation
        return conv2d(x, weight, None, *geometry, groups=x.shape[1])


class WideLinear(nn.Module):
    """A multiplicative classifier: [B,F] → [B,classes], whatever number F of features is active."""

    def __init__(self, layer: nn.Linear, inputs: Axis) -> None:
        super().__init__()
        self.inputs = inputs
        self.layer = layer
        rows, columns = layer.weight.shape
        wide = nn.Linear(inputs.largest, rows, bias=False).weight.detach().to(layer.weight)
        extra = wide[:, columns:].clone()
        self.right = nn.Parameter(extra) if inputs.largest > columns else None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.inputs.target:
            return self.layer(x)
        return F.linear(x, self.weight(x.shape[1]), self.layer.bias)

    def weight(self, columns: int) -> Tensor:
        """W[:, :columns]; the target's are its layer's own."""
        extra = columns - self.inputs.target
        if not extra:
            return self.layer.weight
        assert self.right is not None
        return torch.cat([self.layer.weight, self.right[:, :extra]], 1)
