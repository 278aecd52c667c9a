"""Wide twins of the layers that only follow a width: depthwise convolution and classifier.

A depthwise convolution may be elastic in its kernel, too. As in once-for-all (official code,
``dynamic_op.py``) a smaller kernel is the middle of the next larger one times a learned matrix,
which the channels of a layer share and which starts as the identity.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.augment.config import Axis
from saa_lite.augment.norm import WideNorm
from saa_lite.augment.unit import draw_around
from saa_lite.ops.convolution import conv2d


class ElasticKernel(nn.Module):
    """Which kernel a depthwise layer runs with: [C,1,k,k] → [C,1,active,active].

    Attributes:
        sizes: ascending, the last one that of the stored weight.
        active: the present one.
    """

    def __init__(self, smaller: tuple[int, ...], own: int) -> None:
        super().__init__()
        self.sizes = (*smaller, own)
        self.active = own
        self.maps = nn.ParameterDict({str(k): torch.eye(k * k) for k in smaller})

    def forward(self, weight: Tensor) -> Tensor:
        for size in reversed(self.sizes[:-1]):
            if size < self.active:
                break
            edge = (weight.shape[-1] - size) // 2
            middle = weight[..., edge:-edge, edge:-edge]
            weight = (middle.flatten(1) @ self.maps[str(size)]).view(middle.shape)
        return weight


class WideDepthwise(nn.Module):
    """A depthwise convolution and its norm; channel c only ever sees channel c.

    The target's channels keep the target's operator, those behind them are multiplicative.

    Args:
        smaller: kernels that it may be drawn with beside its own.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        norm: nn.BatchNorm2d,
        axis: Axis,
        smaller: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.axis = axis
        self.is_multiplication_free = type(layer) is not nn.Conv2d
        self.layer = layer
        self.norm = WideNorm(norm, axis.largest)
        _, self.below = draw_around(layer, 1, axis.largest)
        self.kernel = ElasticKernel(smaller, layer.kernel_size[0]) if smaller else None

    def forward(self, x: Tensor) -> Tensor:
        n = self.axis.target
        if x.shape[1] == n and not self._is_cut:
            return self.norm(self.layer(x))
        if not self.is_multiplication_free:
            return self.norm(self._convolve(x, self.weight(x.shape[1])))
        assert self.below is not None
        extra = self.below[: x.shape[1] - n]
        return self.norm(torch.cat([self.layer(x[:, :n]), self._convolve(x[:, n:], extra)], 1))

    def weight(self, channels: int) -> Tensor:
        """W[:channels] as a convolution reads it; the target's are its layer's own."""
        extra = channels - self.axis.target
        weight = self.layer.weight
        if extra:
            assert self.below is not None
            weight = torch.cat([weight, self.below[:extra]])
        return self.kernel(weight) if self.kernel is not None and self._is_cut else weight

    @property
    def padding(self) -> tuple[int, int]:
        """What keeps the map's size with the active kernel."""
        cut = (self.kernel.sizes[-1] - self.kernel.active) // 2 if self.kernel else 0
        top, left = (int(n) for n in self.layer.padding)
        return top - cut, left - cut

    @property
    def _is_cut(self) -> bool:
        """Whether a smaller kernel than the layer's own is active."""
        return self.kernel is not None and self.kernel.active < self.kernel.sizes[-1]

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        geometry = layer.stride, self.padding, layer.dilation
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
