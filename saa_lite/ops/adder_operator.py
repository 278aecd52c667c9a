"""The adder convolution as registered operators, for everything that traces or transforms torch.

``torch.library.custom_op`` makes it a node that fake tensors, ``torch.compile``, dispatch modes and
exporters understand; :mod:`saa_lite.ops.adder_derivatives` tells autograd about it. Plain eager
calls take a shorter way (:mod:`saa_lite.ops.adder`): the same kernels, without the time that the
dispatcher takes for operators written in Python.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from saa_lite.ops import adder_kernels
from saa_lite.ops._arguments import layout_of, output_like, pairs


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


def _gradient_operator(
    name: str, compute: Callable[..., Tensor], like: Callable[..., Tensor]
) -> Any:
    """A gradient of some kind, in shape and layout as ``like`` says."""

    def operator(
        grad: Tensor,
        input: Tensor,
        weight: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        kind: str,
    ) -> Tensor:
        return compute(grad, input, weight, *pairs(stride, padding, dilation), groups, kind)

    found = torch.library.custom_op(f"saa_lite::adder_conv2d_{name}", operator, mutates_args=())
    found.register_fake(like)
    return found


input_gradient_operator = _gradient_operator(
    "input_gradient",
    adder_kernels.input_gradient,
    lambda grad, input, *_: torch.empty_like(input, memory_format=layout_of(input)),
)
weight_gradient_operator = _gradient_operator(
    "weight_gradient",
    adder_kernels.weight_gradient,
    lambda grad, input, weight, *_: torch.empty_like(weight, memory_format=torch.contiguous_format),
)
adder_operator.register_fake(output_like())
for _device in ("cpu", "cuda"):
    adder_operator.register_autocast(_device, torch.float32)
