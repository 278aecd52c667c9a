"""Wide twins of the layers that only follow a width: depthwise convolution and classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.augment.axes import Axis
from saa_lite.augment.norm import WideNorm
from saa_lite.augment.unit import draw_around


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
        assert self.below is not None
        extra = self.below[: x.shape[1] - n]
        if not self.is_free:
            return self.norm(self._convolve(x, torch.cat([self.layer.weight, extra])))
        return self.norm(torch.cat([self.layer(x[:, :n]), self._convolve(x[:, n:], extra)], 1))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        stride, padding, dilation = layer.stride, layer.padding, layer.dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


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
        m = self.inputs.target
        if x.shape[1] == m:
            return self.layer(x)
        assert self.right is not None
        extra = self.right[:, : x.shape[1] - m]
        return F.linear(x, torch.cat([self.layer.weight, extra], 1), self.layer.bias)
