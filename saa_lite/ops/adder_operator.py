"""The adder convolution as registered operators, for everything that traces or transforms torch.

``torch.library.custom_op`` makes it a node that fake tensors, ``torch.compile``, dispatch modes and
exporters understand; :mod:`saa_lite.ops.adder_derivatives` tells autograd about it. Plain eager
calls take a shorter way (:mod:`saa_lite.ops.adder`): the same kernels, without the time that the
dispatcher takes for operators written in Python.
"""

from collections.abc import Sequence

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


for _device in ("cpu", "cuda"):
    adder_operator.register_autocast(_device, torch.float32)
