"""AdderNet layers: y = −Σ|x − w| (AdderNet, CVPR 2020, eq. 2), drop-in for conv and linear.

Differences from the official layer ``adder2d``: grouped, dilated and non-square kernels work; the
bias exists and is on by default because ``nn.Conv2d`` has it so (the official default is off; with
the batch normalisation that must follow, it is redundant); and the adaptive learning rate acts
once per optimiser step by default (see :mod:`saa_lite.nn.adaptive_lr`).

Two facts to keep in mind. The output is never positive and its mean grows with the number of
taps, so normalisation must follow. Zero padding is not neutral: a padded tap contributes −|w|.

:attr:`AdderLayer.squared` leads from squared distances to absolute ones, as the AdderNet line does
in training (ℓp with p from 2 to 1). Where p is 2 the layer is a convolution but for terms that do
not mix input and weight: −½Σ(x − w)² = Σxw − ½Σx² − ½Σw². Its true weight gradient x − w is the one
that AdderNet uses for |x − w|, too, and its input gradient w − x the one that AdderNet clips. So
while the share of it falls only the forward pass changes, and how far a single tap can pull.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from saa_lite.errors import check_choice
from saa_lite.nn.adaptive_lr import MODES, adaptive_gradient, check_eta, watch
from saa_lite.nn.plumbing import OperatorConv2d, OptionsLayer, PaddingMode
from saa_lite.nn.whole import one_node
from saa_lite.ops import adder_conv2d, adder_linear
from saa_lite.ops.adder import INPUT_GRADIENTS, WEIGHT_GRADIENTS
from saa_lite.ops.convolution import conv2d


class AdderLayer(OptionsLayer):
    """What the convolution and the linear layer share: options, initialisation, representation.

    Options (keyword-only in both layers):
        weight_gradient: ``"full"`` (x − w, AdderNet eq. 5) or ``"sign"`` (sgn(x − w), eq. 4).
        input_gradient: ``"clip"`` (w − x clipped to [−1, 1], eq. 6–7), ``"full"`` or ``"sign"``.
        adaptive_lr: ``"step"``, ``"pass"``, ``"backward"`` or ``"off"``, see
            :mod:`saa_lite.nn.adaptive_lr`.
        eta: root mean square of the normalised weight gradient; 0.2 in the official code.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {
        "weight_gradient": "full",
        "input_gradient": "clip",
        "adaptive_lr": "step",
        "eta": 0.2,
    }
    squared: float = 0.0
    """Share of −½Σ(x − w)² in the output, from 0 (an adder layer) to 1. A state of training and no
    option: :class:`saa_lite.train.Annealing` sets it before every step, and ends at 0."""
    weight: Tensor
    weight_gradient: str
    input_gradient: str
    adaptive_lr: str
    eta: float

    def _set_options(self, **options: Any) -> None:
        check_choice("weight_gradient", options["weight_gradient"], WEIGHT_GRADIENTS)
        check_choice("input_gradient", options["input_gradient"], INPUT_GRADIENTS)
        check_choice("adaptive_lr", options["adaptive_lr"], MODES)
        check_eta(options["eta"])
        super()._set_options(**options)
        watch(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        watch(self)  # a copy, or a layer out of a file, is attached to no optimizer

    def reset_parameters(self) -> None:
        """Weight ~ N(0, 1) as in the official code; bias 0 (our reading: official has none)."""
        nn.init.normal_(self.weight)
        bias = self._parameters["bias"]
        if bias is not None:
            nn.init.zeros_(bias)

    def _adaptive(self, weight: Tensor) -> Tensor:
        """The weight itself, its gradient normalised in passing when the mode is "backward"."""
        if self.adaptive_lr == "backward":
            return adaptive_gradient(weight, self.eta)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            watch(self)  # a weight assigned after construction is watched here
        return weight

    def _distance(
        self, input: Tensor, weight: Tensor, geometry: tuple[Any, ...] = ((1, 1), (0, 0), (1, 1), 1)
    ) -> Tensor:
        """Minus the distance of every window to every filter: [N,C,H,W] → [N,T,H',W']."""
        if self.squared == 1:
            return squared_distance(input, weight, *geometry)
        adder = adder_conv2d(input, weight, *geometry, **self._gradients())
        if self.squared == 0:
            return adder
        return torch.lerp(adder, squared_distance(input, weight, *geometry), self.squared)

    def _gradients(self) -> dict[str, Any]:
        return {"weight_gradient": self.weight_gradient, "input_gradient": self.input_gradient}


class AdderConv2d(AdderLayer, OperatorConv2d):
    """2-D adder layer: input [N, C, H, W] → [N, T, H', W'], y = −Σ|x − w| over each window.

    Arguments are those of ``nn.Conv2d`` plus the options of :class:`AdderLayer`.
    Raises :class:`~saa_lite.errors.UsageError` for an unknown option.
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
        weight_gradient: str = "full",
        input_gradient: str = "clip",
        adaptive_lr: str = "step",
        eta: float = 0.2,
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
        self._set_options(
            weight_gradient=weight_gradient,
            input_gradient=input_gradient,
            adaptive_lr=adaptive_lr,
            eta=eta,
        )

    def _prepare_weight(self, weight: Tensor) -> Tensor:
        return self._adaptive(weight)

    def _operate(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]
    ) -> Tensor:
        batch = input.unsqueeze(0) if input.dim() == 3 else input
        geometry = (self.stride, padding, self.dilation, self.groups)
        output = self._distance(batch, weight, geometry)
        if bias is not None:
            output = output + bias.view(-1, 1, 1)
        return output.squeeze(0) if input.dim() == 3 else output


class AdderLinear(AdderLayer, nn.Linear):
    """Adder twin of ``nn.Linear``: input [..., in_features] → [..., out_features]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        weight_gradient: str = "full",
        input_gradient: str = "clip",
        adaptive_lr: str = "step",
        eta: float = 0.2,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._set_options(
            weight_gradient=weight_gradient,
            input_gradient=input_gradient,
            adaptive_lr=adaptive_lr,
            eta=eta,
        )

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        weight = self._adaptive(self.weight)
        if self.squared:
            images = input.reshape(-1, self.in_features, 1, 1)
            output = self._distance(images, weight[:, :, None, None])
            output = output.reshape(*input.shape[:-1], self.out_features)
        else:
            output = adder_linear(input, weight, **self._gradients())
        return output if self.bias is None else output + self.bias


def squared_distance(
    input: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """−½Σ(x − w)² over every window, its derivatives true: [N,C,H,W] → [N,T,H',W'].

    Stride, padding and dilation are pairs, or a string as padding. Output sizes are those of
    :func:`torch.nn.functional.conv2d`, and as there, padded taps are 0: each contributes −½w².
    Three sums that nearly cancel are no matter for half precision: under autocast, too, they are
    float32 at least.
    """
    geometry = (stride, padding, dilation)
    input, weight = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (input, weight))
    with torch.autocast(input.device.type, enabled=False):
        return _squared_distance(input, weight, geometry, groups)


def _squared_distance(
    input: Tensor, weight: Tensor, geometry: tuple[Any, Any, Any], groups: int
) -> Tensor:
    products = conv2d(input, weight, None, *geometry, groups)
    energy = input.square().unflatten(1, (groups, -1)).sum(2)  # [N,groups,H,W]
    window = input.new_ones(groups, 1, *weight.shape[2:])
    energy = conv2d(energy, window, None, *geometry, groups)
    energy = energy.repeat_interleave(len(weight) // groups, 1)
    return products - (energy + weight.square().sum((1, 2, 3))[:, None, None]) / 2
