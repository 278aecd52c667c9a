"""The adder convolution as a registered operator, for everything that traces or transforms torch.

``torch.library.custom_op`` makes it a node that autograd, fake tensors, ``torch.compile``, dispatch
modes and exporters understand. Plain eager calls take a shorter way (:mod:`saa_lite.ops.adder`):
the same kernels, without the time that the dispatcher takes for operators written in Python.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saa_lite.ops import adder_kernels
from saa_lite.ops._arguments import layout_of, output_shape, pairs


@torch.library.custom_op("saa_lite::adder_conv2d", mutates_args=())
def adder_operator(
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    weight_gradient: str,
    input_gradient: str,
) -> Tensor:
    """−Σ|x − w|; arguments as in :func:`saa_lite.ops.adder_conv2d`, all given and checked."""
    return adder_kernels.forward(input, weight, *pairs(stride, padding, dilation), groups)


@adder_operator.register_fake
def _output_like(
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
def input_gradient_operator(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    """Gradient of ``kind`` "clip", "full" or "sign", in the shape and layout of ``input``."""
    geometry = pairs(stride, padding, dilation)
    return adder_kernels.input_gradient(grad, input, weight, *geometry, groups, kind)


@input_gradient_operator.register_fake
def _input_like(
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
def weight_gradient_operator(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    kind: str,
) -> Tensor:
    """Gradient of ``kind`` "full" or "sign", in the shape of ``weight``, contiguous."""
    geometry = pairs(stride, padding, dilation)
    return adder_kernels.weight_gradient(grad, input, weight, *geometry, groups, kind)


@weight_gradient_operator.register_fake
def _weight_like(
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


def remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """What the gradients need, as autograd's ``setup_context``."""
    input, weight, *geometry, weight_kind, input_kind = inputs
    ctx.save_for_backward(input, weight)
    ctx.geometry = geometry
    ctx.kinds = input_kind, weight_kind


def gradients(ctx: Any, grad: Tensor, of_input: Any, of_weight: Any) -> tuple[Tensor | None, ...]:
    """Both gradients where wanted, None for the options; by the operators or the bare kernels."""
    args = (grad, *ctx.saved_tensors, *ctx.geometry)
    input_kind, weight_kind = ctx.kinds
    input_gradient = of_input(*args, input_kind) if ctx.needs_input_grad[0] else None
    weight_gradient = of_weight(*args, weight_kind) if ctx.needs_input_grad[1] else None
    return input_gradient, weight_gradient, *[None] * 6


def registered_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Both gradients by the registered operators, for whatever goes on from them."""
    return gradients(ctx, grad, input_gradient_operator, weight_gradient_operator)


adder_operator.register_autograd(registered_gradients, setup_context=remember)
for _device in ("cpu", "cuda"):
    adder_operator.register_autocast(_device, torch.float32)
