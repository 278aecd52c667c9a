"""From tensors to the vector kernels: when they apply, and what they are handed."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from saa_lite.kernels import machine
from saa_lite.ops import adder_backward, adder_forward
from saa_lite.ops._arguments import Geometry, Pair, layout_of
from saa_lite.ops._launch import launch, work_of
from saa_lite.ops.adder_plan import plan_for


def applies(input: Tensor, weight: Tensor, groups: int) -> bool:
    """float32 with at least two filters and channels per group; fewer leave vectors empty."""
    return (
        input.dtype == torch.float32
        and machine.VECTOR_BITS > 0
        and weight.shape[0] >= 2 * groups
        and weight.shape[1] >= 2
        and input.numel() > 0
        and weight.numel() > 0
    )


def forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """−Σ|x − w|, [B, T, H', W'] in the memory layout of ``input``."""
    ready = prepare_forward(input, weight, stride, padding, dilation, groups)
    work = work_of(ready.output.shape, weight.shape)
    launch(*adder_forward.forward, *ready.arguments, work=work)
    return ready.output


class Ready(NamedTuple):
    """A forward pass about to run."""

    output: Tensor
    arguments: tuple[Any, ...]  # of the kernels; addresses, which keep no tensor from being freed
    alive: tuple[Tensor, ...]  # so that these do


def prepare_forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Ready:
    """Everything but the call of the kernel."""
    layout, weight = layout_of(input), _dense(weight)
    geometry = stride, padding, dilation, groups
    shape, plan = plan_for("distance", input, weight, layout, *geometry)
    output = torch.empty(shape, memory_format=layout)
    input = input.contiguous(memory_format=layout)
    addresses = input.data_ptr(), weight.data_ptr(), output.data_ptr()
    return Ready(output, (*addresses, plan), (input, weight))


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, *geometry: *Geometry
) -> Tensor | None:
    """Σ G·clip(W − X, −1, 1) in the shape and layout of ``input``; None if Σw is not finite."""
    layout = layout_of(input)
    result = torch.empty_like(input, memory_format=layout)
    input, grad = (t.contiguous(memory_format=layout) for t in (input, grad))
    weight = _dense(weight)
    _, plan = plan_for("clipped", input, weight, layout, *geometry)
    addresses = [tensor.data_ptr() for tensor in (input, weight, grad, result)]
    work = work_of(grad.shape, weight.shape)
    done = launch(*adder_backward.input_gradient, *addresses, plan, work=work)
    return result if done else None


def _dense(weight: Tensor) -> Tensor:
    """``weight`` itself where it is contiguous or channels_last, else a contiguous copy."""
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return weight if last else weight.contiguous()
