"""Shift layers: convolution and linear map whose weights are ±2^p (DeepShift, 2021).

A product with ±2^p is a bit shift and a sign. **Q** (:class:`ShiftConv2d`) keeps an ordinary
``weight`` and rounds it in every forward pass; **PS** (:class:`ShiftPSConv2d`) learns the exponent
``shift`` and the ternary ``sign`` instead. Activations and bias are rounded to fixed point as in
the official code, 16 bits after the point. The output is computed in floating point; the exact
integer evaluation of the same numbers is ``saa_lite.ops.shift_conv2d``.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.nn.plumbing import OperatorConv2d, OptionsLayer, PaddingMode, replace_parameters
from saa_lite.nn.whole import one_node
from saa_lite.ops.shift import (
    check_format,
    fixed_point,
    shift_codes,
    shift_power,
    shift_quantize,
    smallest_shift,
)


class ShiftLayer(OptionsLayer):
    """What all shift layers share.

    Options (keyword-only):
        bits: 2 to 6 bits per weight; p reaches down to −(2^(bits−1) − 1), in PS one less far.
        fraction_bits: bits after the point of activations and bias; ``None`` leaves them alone.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"bits": 5, "fraction_bits": 16}
    FORMAT: ClassVar[str] = "shift"
    bits: int
    fraction_bits: int | None

    def _set_options(self, **options: Any) -> None:
        smallest_shift(options["bits"], self.FORMAT)
        if options["fraction_bits"] is not None:
            check_format(options["fraction_bits"], 16)
        super()._set_options(**options)

    def _complete(self, **options: Any) -> None:
        """End of ``__init__``: parameters exist as in the ``torch.nn`` parent."""
        self._set_options(**options)

    def _fix(self, values: Tensor) -> Tensor:
        if self.fraction_bits is None:
            return values
        return fixed_point(values, self.fraction_bits)

    def _shift_weight(self, weight: Tensor) -> Tensor:
        return shift_quantize(weight, self.bits)


class ShiftConv2d(ShiftLayer, OperatorConv2d):
    """DeepShift-Q convolution: input [N, C, H, W] → [N, T, H', W'].

    Arguments, parameters and initialisation are those of ``nn.Conv2d``, plus the options of
    :class:`ShiftLayer`. Raises :class:`~saa_lite.errors.UsageError` for a wrong option.
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
        bits: int = 5,
        fraction_bits: int | None = 16,
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
        self._complete(bits=bits, fraction_bits=fraction_bits)

    def _prepare_input(self, input: Tensor) -> Tensor:
        return self._fix(input)

    def _prepare_weight(self, weight: Tensor) -> Tensor:
        return self._shift_weight(weight)

    def _operate(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]
    ) -> Tensor:
        fixed = None if bias is None else self._fix(bias)
        return super()._operate(input, weight, fixed, padding)


class ShiftLinear(ShiftLayer, nn.Linear):
    """DeepShift-Q twin of ``nn.Linear``: input [..., in_features] → [..., out_features]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bits: int = 5,
        fraction_bits: int | None = 16,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._complete(bits=bits, fraction_bits=fraction_bits)

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self._fix(self.bias)
        return F.linear(self._fix(input), self._shift_weight(self.weight), bias)


class PowerSignLayer(ShiftLayer):
    """DeepShift-PS: parameters ``shift`` and ``sign`` of the weight's shape take its place.

    ``weight`` is a read-only property, the current value sgn(round(sign))·2^round(shift); it is
    neither a parameter nor in the ``state_dict``. Initialisation: shift ~ U(pmin, 0),
    sign ~ U(−1, 1), bias as in ``nn.Conv2d`` (official code). The bound of shift is −14 for 5 bits.
    """

    FORMAT: ClassVar[str] = "shift-ps"
    shift: Tensor
    sign: Tensor

    def _complete(self, **options: Any) -> None:
        super()._complete(**options)
        self._split()
        self.reset_parameters()

    def _split(self) -> None:
        """Put ``shift`` and ``sign``, still without values, in the place of ``weight``."""
        weight = self.get_parameter("weight")
        pair = {name: nn.Parameter(torch.empty_like(weight)) for name in ("shift", "sign")}
        replace_parameters(self, ("weight",), pair)

    @property
    def weight(self) -> Tensor:
        """The current weights, 0 or ±2^p; gradients reach ``shift`` and ``sign`` through it."""
        return shift_power(self.shift, self.sign, self.bits)

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Initialise from ordinary weights: p = round(log2|w|) clamped, sign = sgn(w), w=0 → 0.

        As ``convert_to_shift`` of the official code does with pre-trained weights.
        """
        if weight.is_meta:
            return  # a shape without values has nothing to take over
        power, sign = shift_codes(shift_quantize(weight, self.bits), self.bits)
        self.shift.copy_(power.clamp_min(smallest_shift(self.bits, self.FORMAT)))
        self.sign.copy_(sign)

    def reset_parameters(self) -> None:
        if "shift" not in self._parameters:
            return  # called by the parent's __init__, before the split
        nn.init.uniform_(self.shift, smallest_shift(self.bits, self.FORMAT), 0)
        nn.init.uniform_(self.sign, -1, 1)
        bias = self._parameters["bias"]
        if bias is not None:
            bound = 1 / math.sqrt(max(1, self.shift[0].numel()))
            nn.init.uniform_(bias, -bound, bound)

    def _shift_weight(self, weight: Tensor) -> Tensor:
        return weight


class ShiftPSConv2d(PowerSignLayer, ShiftConv2d):  # type: ignore[override]
    """DeepShift-PS convolution, see :class:`PowerSignLayer`; arguments of :class:`ShiftConv2d`."""


class ShiftPSLinear(PowerSignLayer, ShiftLinear):  # type: ignore[override]
    """DeepShift-PS linear layer, see :class:`PowerSignLayer`; arguments of :class:`ShiftLinear`."""
