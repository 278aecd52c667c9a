"""The adder operators as torch sees them: registration, shapes, gradients, choice of kernel.

AdderNet (CVPR 2020) replaces the cross-correlation of a convolution by a negative ℓ1 distance::

    Y[b, t, p] = − Σ_k |X[b, k, p] − W[t, k]|            (eq. 2)

and trains it with *surrogate* gradients, which are not derivatives of that function::

    dW = Σ G · (X − W)               "full", the default (eq. 5);   "sign": sgn(X − W), eq. 4
    dX = Σ G · HT(W − X)             "clip" to [−1, 1], the default (eq. 6–7); "full"; "sign"

``torch.library.custom_op`` makes each a node that autograd, fake tensors and ``torch.compile``
understand. ``register_kernel("cpu")`` is the door for faster kernels: whatever stands behind it
must agree with :mod:`saa_lite.ops.reference`. On NVIDIA GPUs the Triton kernels run where they
apply; ``SAA_TRITON=0`` in the environment switches them off (:mod:`saa_lite.ops.adder_gpu`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saa_lite.errors import UsageError, check_choice
from saa_lite.ops import adder_cpu, adder_gpu, adder_torch, adder_vector
from saa_lite.ops._arguments import (
    FLOATS,
    check_conv_shapes,
    check_tensors,
    layout_of,
    output_shape,
    pair,
    pairs,
)
from saa_lite.ops._launch import launch

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
    geometry = pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)
    check_choice("weight_gradient", weight_gradient, WEIGHT_GRADIENTS)
    check_choice("input_gradient", input_gradient, INPUT_GRADIENTS)
    input, weight = _after_autocast(input), _after_autocast(weight)
    check_tensors("adder_conv2d", input, weight, FLOATS)
    check_conv_shapes("adder_conv2d", input, weight, *geometry, groups)
    return _adder(input, weight, *geometry, groups, weight_gradient, input_gradient)


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
    rows = input.shape[:-1].numel()  # −1 would be ambiguous for an empty batch
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


@torch.library.custom_op("saa_lite::adder_conv2d", mutates_args=())
def _adder(
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    weight_gradient: str,
    input_gradient: str,
) -> Tensor:
    geometry = pairs(stride, padding, dilation)
    kernels = adder_gpu.kernels(input, weight, groups) or adder_torch
    output = kernels.forward(input, weight, *geometry, groups)
    return output.contiguous(memory_format=layout_of(input))


@_adder.register_kernel("cpu")
def _adder_on_cpu(
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    weight_gradient: str,
    input_gradient: str,
) -> Tensor:
    geometry = pairs(stride, padding, dilation)
    if adder_vector.applies(input, weight, groups):
        return adder_vector.forward(input, weight, *geometry, groups)
    output = input.new_empty(output_shape(input, weight, *geometry))
    arrays = [_array(input), _array(weight), output.numpy()]
    launch(
        adder_cpu.forward_serial, adder_cpu.forward_parallel, *arrays, np.array(geometry), groups
    )
    return output.contiguous(memory_format=layout_of(input))


@_adder.register_fake
def _adder_shape(
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    weight_gradient: str,
    input_gradient: str,
) -> Tensor:
    shape = output_shape(input, weight, *pairs(stride, padding, dilation))
    return input.new_empty(shape).contiguous(memory_format=layout_of(input))


@torch.library.custom_op("saa_lite::adder_conv2d_input_gradient", mutates_args=())
def _input_gradient(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    args = (grad, input, weight, *pairs(stride, padding, dilation), groups)
    if kernels := adder_gpu.kernels(input, weight, groups):
        result = kernels.input_gradient(*args, kind)
    elif kind == "full":
        result = adder_torch.input_full_gradient(*args)
    else:
        result = adder_torch.input_gradient(*args, sign_only=kind == "sign")
    return result.contiguous(memory_format=layout_of(input))


@_input_gradient.register_kernel("cpu")
def _input_gradient_on_cpu(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    geometry = pairs(stride, padding, dilation)
    result = None
    if kind == "full":
        result = adder_torch.input_full_gradient(grad, input, weight, *geometry, groups)
    elif kind == "clip" and adder_vector.applies(input, weight, groups):
        result = adder_vector.input_gradient(grad, input, weight, *geometry, groups)
    if result is None:
        result = torch.zeros_like(input, memory_format=torch.contiguous_format)
        arrays = [_array(input), _array(weight), _array(grad), result.numpy()]
        drivers = adder_cpu.input_gradient_serial, adder_cpu.input_gradient_parallel
        launch(*drivers, *arrays, np.array(geometry), groups, kind == "sign")
    return result.contiguous(memory_format=layout_of(input))


@_input_gradient.register_fake
def _input_gradient_shape(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    return torch.empty_like(input, memory_format=layout_of(input))


@torch.library.custom_op("saa_lite::adder_conv2d_weight_gradient", mutates_args=())
def _weight_gradient(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    args = (grad, input, weight, *pairs(stride, padding, dilation), groups)
    if kind == "full":
        return adder_torch.weight_full_gradient(*args).contiguous()
    return adder_torch.weight_sign_gradient(*args).contiguous()


@_weight_gradient.register_kernel("cpu")
def _weight_gradient_on_cpu(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    geometry = pairs(stride, padding, dilation)
    if kind == "full":
        full = adder_torch.weight_full_gradient(grad, input, weight, *geometry, groups)
        return full.contiguous()
    result = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    arrays = [_array(input), _array(weight), _array(grad), result.numpy()]
    drivers = adder_cpu.weight_sign_gradient_serial, adder_cpu.weight_sign_gradient_parallel
    launch(*drivers, *arrays, np.array(geometry), groups)
    return result


@_weight_gradient.register_fake
def _weight_gradient_shape(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weight, *geometry, weight_gradient, input_gradient = inputs
    ctx.save_for_backward(input, weight)
    ctx.geometry = geometry
    ctx.kinds = input_gradient, weight_gradient


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    args = (grad, *ctx.saved_tensors, *ctx.geometry)
    input_kind, weight_kind = ctx.kinds
    input_gradient = _input_gradient(*args, input_kind) if ctx.needs_input_grad[0] else None
    weight_gradient = _weight_gradient(*args, weight_kind) if ctx.needs_input_grad[1] else None
    return input_gradient, weight_gradient, *[None] * 6


_adder.register_autograd(_backward, setup_context=_remember)
for _device in ("cpu", "cuda"):
    _adder.register_autocast(_device, torch.float32)


def _array(tensor: Tensor) -> Any:
    """NumPy view; kernels walk along rows, so at most one contiguous copy is made."""
    return tensor.detach().contiguous().numpy()
