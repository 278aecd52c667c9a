"""The adder convolution and its gradients by device: which kernel computes what.

Whatever stands here must agree with :mod:`saa_lite.ops.reference`. On a CPU the vector kernels run
where they apply and the plain loops of :mod:`saa_lite.kernels.adder_loops` elsewhere; on NVIDIA
GPUs the Triton kernels where they apply (``SAA_TRITON=0`` in the environment switches them off); on
all other devices, and under ``NUMBA_DISABLE_JIT=1``, plain torch operations.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from saa_lite.kernels import adder_loops
from saa_lite.kernels.compile import has_kernels
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import adder_gpu, adder_torch, adder_vector
from saa_lite.ops._arguments import layout_of
from saa_lite.ops._launch import launch


def forward(input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W'] in the layout of input."""
    if has_kernels(input):
        if adder_vector.applies(input, weight, geometry.groups):
            return adder_vector.forward(input, weight, geometry)
        output = input.new_empty(geometry.output_shape(input.shape, weight.shape))
        launch(*adder_loops.forward, *_arrays(input, weight, output), *_numbers(geometry))
    else:
        shape = geometry.output_shape(input.shape, weight.shape)
        if kernels := adder_gpu.kernels(input, weight, shape):
            output = kernels.forward(input, weight, *geometry)
        else:
            output = adder_torch.forward(input, weight, geometry)
    return output.contiguous(memory_format=layout_of(input))


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, kind: str
) -> Tensor:
    """Gradient of ``kind`` "clip", "full" or "sign", in the shape and layout of ``input``."""
    args = grad, input, weight
    if kernels := adder_gpu.kernels(input, weight, grad.shape):
        result = kernels.input_gradient(*args, *geometry, kind)
    elif kind == "full":
        result = adder_torch.input_full_gradient(*args, geometry)
    elif not has_kernels(input):
        result = adder_torch.input_gradient(*args, geometry, sign_only=kind == "sign")
    else:
        if kind == "clip" and adder_vector.applies(input, weight, geometry.groups):
            quick = adder_vector.input_gradient(*args, geometry)
            if quick is not None:
                return quick
        result = torch.zeros_like(input, memory_format=torch.contiguous_format)
        arrays = _arrays(input, weight, grad, result)
        launch(*adder_loops.input_gradient, *arrays, *_numbers(geometry), kind == "sign")
    return result.contiguous(memory_format=layout_of(input))


def weight_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, kind: str
) -> Tensor:
    """Gradient of ``kind`` "full" or "sign", in the shape of ``weight``, contiguous."""
    args = grad, input, weight
    if kind == "full":
        return adder_torch.weight_full_gradient(*args, geometry).contiguous()
    if not has_kernels(input):
        if kernels := adder_gpu.kernels(input, weight, grad.shape):
            return kernels.weight_sign_gradient(*args, *geometry).contiguous()
        return adder_torch.weight_sign_gradient(*args, geometry).contiguous()
    result = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    arrays = _arrays(input, weight, grad, result)
    launch(*adder_loops.weight_sign_gradient, *arrays, *_numbers(geometry))
    return result


def _arrays(*tensors: Tensor) -> list[Any]:
    """NumPy views; kernels walk along rows, so at most one contiguous copy is made of each."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _numbers(geometry: Geometry) -> tuple[np.ndarray, int]:
    """As the plain loops take it: stride, padding and dilation in one array, and the groups."""
    return np.array(geometry[:3]), geometry.groups
