"""The adder convolution and its gradients by device: which kernel computes what.

Whatever stands here must agree with :mod:`saa_lite.ops.reference`. On a CPU the vector kernels run
where they apply and the plain ones of :mod:`saa_lite.ops.adder_cpu` elsewhere; on NVIDIA GPUs the
Triton kernels where they apply (``SAA_TRITON=0`` in the environment switches them off); on all
other devices, and under ``NUMBA_DISABLE_JIT=1``, plain torch operations.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from saa_lite.ops import adder_cpu, adder_gpu, adder_torch, adder_vector
from saa_lite.ops._arguments import Pair, layout_of, output_shape
from saa_lite.ops._compile import has_kernels
from saa_lite.ops._launch import launch


def forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W'] in the layout of input."""
    args = input, weight, stride, padding, dilation
    if not has_kernels(input):
        kernels = adder_gpu.kernels(input, weight, output_shape(*args)) or adder_torch
        output = kernels.forward(*args, groups)
    elif adder_vector.applies(input, weight, groups):
        return adder_vector.forward(*args, groups)
    else:
        output = input.new_empty(output_shape(*args))
        arrays = [_array(input), _array(weight), output.numpy()]
        launch(*adder_cpu.forward, *arrays, np.array((stride, padding, dilation)), groups)
    return output.contiguous(memory_format=layout_of(input))


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, *options: *tuple[Pair, Pair, Pair, int, str]
) -> Tensor:
    """Gradient of ``kind`` "clip", "full" or "sign", in the shape and layout of ``input``."""
    *geometry, groups, kind = options
    args = grad, input, weight, *options[:4]
    layout = layout_of(input)
    if kernels := adder_gpu.kernels(input, weight, grad.shape):
        return kernels.input_gradient(*args, kind).contiguous(memory_format=layout)
    if kind == "full":
        return adder_torch.input_full_gradient(*args).contiguous(memory_format=layout)
    if not has_kernels(input):
        result = adder_torch.input_gradient(*args, sign_only=kind == "sign")
        return result.contiguous(memory_format=layout)
    if kind == "clip" and adder_vector.applies(input, weight, groups):
        quick = adder_vector.input_gradient(*args)
        if quick is not None:
            return quick
    result = torch.zeros_like(input, memory_format=torch.contiguous_format)
    arrays = [_array(input), _array(weight), _array(grad), result.numpy()]
    launch(*adder_cpu.input_gradient, *arrays, np.array(geometry), groups, kind == "sign")
    return result.contiguous(memory_format=layout)


def weight_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, *options: *tuple[Pair, Pair, Pair, int, str]
) -> Tensor:
    """Gradient of ``kind`` "full" or "sign", in the shape of ``weight``, contiguous."""
    *geometry, groups, kind = options
    args = grad, input, weight, *options[:4]
    if kind == "full":
        return adder_torch.weight_full_gradient(*args).contiguous()
    if not has_kernels(input):
        kernels = adder_gpu.kernels(input, weight, grad.shape) or adder_torch
        return kernels.weight_sign_gradient(*args).contiguous()
    result = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    arrays = [_array(input), _array(weight), _array(grad), result.numpy()]
    launch(*adder_cpu.weight_sign_gradient, *arrays, np.array(geometry), groups)
    return result


def _array(tensor: Tensor) -> Any:
    """NumPy view; kernels walk along rows, so at most one contiguous copy is made."""
    return tensor.detach().contiguous().numpy()
