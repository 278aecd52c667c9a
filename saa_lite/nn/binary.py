"""Binary layers: y = Σ sgn(x)·sgn(w), scaled per filter (XNOR-Net, ECCV 2016).

Latent ``weight`` and initialisation are those of ``nn.Conv2d``. The input is binarised before
padding, so a padded tap contributes 0: neither of the two values. (Hardware that has only two
values pads with one of them; BinaryNet's code pads with 0 as here.) The usual order of layers is
batch norm, binary layer: the sign needs an input centred on 0.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.nn.plumbing import OperatorConv2d, OptionsLayer, PaddingMode
from saa_lite.nn.whole import one_node
from saa_lite.ops.binary import binary_sign, binary_weight


class BinaryLayer(OptionsLayer):
    """What both binary layers share.

    Options (keyword-only):
        scale: multiply each filter by its mean|w| (XNOR-Net); ``False`` is BinaryNet's plain ±1.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"scale": True}
    scale: bool

    def _binarise(self, weight: Tensor) -> Tensor:
        return binary_weight(weight) if self.scale else binary_sign(weight)


class BinaryConv2d(BinaryLayer, OperatorConv2d):
    """Binary convolution: input [N, C, H, W] → [N, T, H', W'].

    Arguments are those of ``nn.Conv2d`` plus the option of :class:`BinaryLayer`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        scale: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self._set_options(scale=scale)

    def _prepare_input(self, input: Tensor) -> Tensor:
        return binary_sign(input)

    def _prepare_weight(self, weight: Tensor) -> Tensor:
        return self._binarise(weight)


class BinaryLinear(BinaryLayer, nn.Linear):
    """Binary twin of ``nn.Linear``: input [..., in_features] → [..., out_features]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        scale: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._set_options(scale=scale)

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(binary_sign(input), self._binarise(self.weight), self.bias)
