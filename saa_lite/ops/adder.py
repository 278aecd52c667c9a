"""The adder operators as users call them: checks, autocast, and the way to the kernels.

AdderNet (CVPR 2020) replaces the cross-correlation of a convolution by a negative ℓ1 distance::

    Y[b, t, p] = − Σ_k |X[b, k, p] − W[t, k]|            (eq. 2)

and trains it with *surrogate* gradients, which are not derivatives of that function::

    dW = Σ G · (X − W)               "full", the default (eq. 5);   "sign": sgn(X − W), eq. 4
    dX = Σ G · HT(W − X)             "clip" to [−1, 1], the default (eq. 6–7); "full"; "sign"

The kernels are chosen in :mod:`saa_lite.ops.adder_kernels`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saa_lite.errors import UsageError, check_choice
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import adder_kernels
from saa_lite.ops._arguments import FLOATS, check_convolution, geometry_of
from saa_lite.ops._derivatives import is_plain
from saa_lite.ops.adder_kernels import (
    adder_convolution,
    gradients,
    refuse_forward_mode,
    registered_gradients,
)

WEIGHT_GRADIENTS = ("full", "sign")
INPUT_GRADIENTS = ("clip", "full", "sign")
HALVES = (torch.float16, torch.bfloat16)


def adder_conv2d(
    input: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    weight_gradient: str = "full",
    input_gradient: str = "clip",
) -> Tensor:
    """−Σ|x − w| over every receptive field (AdderNet eq. 2). The output is never positive.

    Zero padding is *not* neutral here: a padded tap contributes −|w|.

    Args:
        input: [batch, channels, rows, columns], float32 or float64, any memory layout.
        weight: [filters, channels / groups, kernel rows, kernel columns], dtype of ``input``.
        stride, padding, dilation: int or pair (rows, columns).
        groups: divides channels and filters; depthwise when it equals the channels.
        weight_gradient: ``"full"`` x − w, or ``"sign"`` sgn(x − w), the true derivative.
        input_gradient: ``"clip"`` w − x clipped to [−1, 1], ``"full"`` w − x, or ``"sign"``, the
            true derivative.

    Returns:
        [batch, filters, rows', columns'] with torch's output sizes, channels_last if ``input`` is.
        Under autocast half precision is cast to float32 first: in it, long sums of distances
        overflow and lose digits.

    Raises:
        TypeError: not tensors, or another dtype.
        UsageError: (a ValueError) shapes, groups or options that do not fit.
    """
    geometry = geometry_of(stride, padding, dilation, groups)
    check_choice("weight_gradient", weight_gradient, WEIGHT_GRADIENTS)
    check_choice("input_gradient", input_gradient, INPUT_GRADIENTS)
    input, weight = _after_autocast(input), _after_autocast(weight)
    plain = is_plain(input, weight)
    check_convolution("adder_conv2d", input, weight, FLOATS, geometry, plain)
    if not plain:
        return adder_convolution(input, weight, *geometry, weight_gradient, input_gradient)
    if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
        return _Plain.apply(input, weight, geometry, (input_gradient, weight_gradient))
    return adder_kernels.forward(input, weight, geometry)


def adder_linear(
    input: Tensor, weight: Tensor, *, weight_gradient: str = "full", input_gradient: str = "clip"
) -> Tensor:
    """−Σ_k |x[…, k] − w[t, k]|: the adder convolution on 1 × 1 images.

    Args:
        input: [..., in_features]; weight: [out_features, in_features]; dtypes and gradient options
            as in :func:`adder_conv2d`.

    Returns:
        [..., out_features].
    """
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor):
        raise TypeError("adder_linear: input and weight must be torch.Tensors")
    if weight.dim() != 2 or input.dim() < 1 or input.shape[-1] != weight.shape[1]:
        raise UsageError(
            "adder_linear: input must have shape [..., in_features] and weight [out_features, "
            f"in_features]; got {list(input.shape)} and {list(weight.shape)}"
        )
    rows = math.prod(input.shape[:-1])  # −1 would be ambiguous for an empty batch
    images = input.reshape(rows, weight.shape[1], 1, 1)
    output = adder_conv2d(
        images,
        weight[:, :, None, None],
        weight_gradient=weight_gradient,
        input_gradient=input_gradient,
    )
    return output.reshape(*input.shape[:-1], weight.shape[0])


def _after_autocast(tensor: Any) -> Any:
    """float32 for half precision where autocast is on; float64 is left alone, as torch does."""
    if not isinstance(tensor, Tensor) or tensor.dtype not in HALVES:
        return tensor
    kind = tensor.device.type
    available = torch.amp.is_autocast_available(kind)  # not on "meta"
    return tensor.float() if available and torch.is_autocast_enabled(kind) else tensor


class _Plain(torch.autograd.Function):
    """The kernels with their gradients, past the dispatcher."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, geometry: Geometry, kinds: tuple[str, str]
    ) -> Tensor:
        """Context and computation in one: torch looks up signatures of forward without ctx."""
        ctx.save_for_backward(input, weight)
        ctx.geometry, ctx.kinds = geometry, kinds
        return adder_kernels.forward(input, weight, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """As the registered operator's, which also refuses second derivatives."""
        if torch.is_grad_enabled():  # create_graph=True
            return registered_gradients(ctx, grad)[:4]
        kernels = adder_kernels.input_gradient, adder_kernels.weight_gradient
        return *gradients(ctx, kernels, grad, *ctx.saved_tensors, ctx.geometry), None, None

    jvp = staticmethod(refuse_forward_mode)
