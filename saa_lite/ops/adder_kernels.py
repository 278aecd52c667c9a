"""The adder convolution and its gradients by device: which kernel computes what.

Whatever stands here must agree with :mod:`saa_lite.ops.reference`. On a CPU the vector kernels run
where they apply and the plain loops of :mod:`saa_lite.kernels.loops` elsewhere; on NVIDIA
GPUs the Triton kernels where they apply (``SAA_TRITON=0`` in the environment switches them off); on
all other devices, and under ``NUMBA_DISABLE_JIT=1``, plain torch operations.

Plain eager calls come here directly; whatever traces or transforms torch sees registered operators.
The gradients are surrogates (:mod:`saa_lite.ops.adder`), so nothing follows from them: no second
derivatives and no forward mode, which both refuse. ``torch.vmap`` sees what it repeats as further
images where all copies share their filters, and as further groups elsewhere: per-sample gradients
are the weight gradient of a convolution with one group per sample.
"""

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from saa_lite.kernels import loops
from saa_lite.kernels.compile import has_kernels
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import adder_gpu, adder_torch, adder_vector
from saa_lite.ops._arguments import layout_of, registered
from saa_lite.ops._derivatives import in_front, nothing, transformable
from saa_lite.ops._launch import launch


def forward(input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W'] in the layout of input."""
    if has_kernels(input):
        if adder_vector.applies(input, weight, geometry.groups):
            return adder_vector.forward(input, weight, geometry)
        output = input.new_empty(geometry.output_shape(input.shape, weight.shape))
        launch(*loops.forward, *_arrays(input, weight, output), *_numbers(geometry))
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
        launch(*loops.input_gradient, *arrays, *_numbers(geometry), kind == "sign")
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
    launch(*loops.weight_sign_gradient, *arrays, *_numbers(geometry))
    return result


def _arrays(*tensors: Tensor) -> list[Any]:
    """NumPy views; kernels walk along rows, so at most one contiguous copy is made of each."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _numbers(geometry: Geometry) -> tuple[np.ndarray, int]:
    """As the plain loops take it: stride, padding and dilation in one array, and the groups."""
    return np.array(geometry[:3]), geometry.groups


Dims = tuple[int | None, ...]


adder_operator = registered(
    "adder_conv2d",
    "input weight",
    ("str weight_gradient", "str input_gradient"),
    lambda input, weight, geometry, *kinds: forward(input, weight, geometry),
)
input_gradient_operator = registered(
    "adder_conv2d_input_gradient",
    "grad input weight",
    ("str kind",),
    input_gradient,
    lambda grad, input, *_: torch.empty_like(input, memory_format=layout_of(input)),
)
weight_gradient_operator = registered(
    "adder_conv2d_weight_gradient",
    "grad input weight",
    ("str kind",),
    weight_gradient,
    lambda grad, input, weight, *_: torch.empty_like(weight, memory_format=torch.contiguous_format),
)
for _device in ("cpu", "cuda"):
    adder_operator.register_autocast(_device, torch.float32)


def remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """What the gradients need, as autograd's ``setup_context``."""
    input, weight, *geometry, weight_kind, input_kind = inputs
    ctx.save_for_backward(input, weight)
    ctx.geometry, ctx.kinds = Geometry.of(*geometry), (input_kind, weight_kind)


def registered_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Both gradients where wanted, by the registered operators: something may go on from them."""
    operators = adder_input_gradient, adder_weight_gradient
    return *gradients(ctx, operators, grad, *ctx.saved_tensors, *ctx.geometry), *[None] * 6


def gradients(ctx: Any, compute: tuple[Any, Any], *args: Any) -> Iterator[Tensor | None]:
    """Of input and weight, by these two functions; None where one is not wanted."""
    for wanted, function, kind in zip(ctx.needs_input_grad, compute, ctx.kinds, strict=False):
        yield function(*args, kind) if wanted else None


def refuse_forward_mode(ctx: Any, *tangents: Any) -> NoReturn:
    """In the place of ``jvp``."""
    raise NotImplementedError(
        "adder_conv2d: forward-mode differentiation (torch.func.jvp, jacfwd) is not defined for "
        "its surrogate gradients; use torch.autograd.grad or backward()"
    )


def _refuse_second_derivatives(ctx: Any, *gradients: Any) -> NoReturn:
    raise NotImplementedError(
        "adder_conv2d: second derivatives are not defined, as its gradients are surrogates"
    )


def _last(operator: Any) -> Any:
    """A gradient operator that ends what can be differentiated."""
    operator.register_autograd(_refuse_second_derivatives)
    return transformable(
        operator,
        setup_context=nothing,
        backward=_refuse_second_derivatives,
        jvp=refuse_forward_mode,
    )


adder_input_gradient = _last(input_gradient_operator)
adder_weight_gradient = _last(weight_gradient_operator)
adder_operator.register_autograd(registered_gradients, setup_context=remember)
adder_convolution = transformable(
    adder_operator, setup_context=remember, backward=registered_gradients, jvp=refuse_forward_mode
)


def _folds(operator: Any, tensors: int, along: int) -> None:
    """Under vmap: copies are further images, or further groups, whose results lie ``along``."""

    def rule(info: Any, in_dims: Dims, *args: Any) -> tuple[Tensor, int]:
        *maps, filters = in_front(info, in_dims[:tensors], args[:tensors])  # [V, B, C, H, W], …
        *sides, groups = args[tensors:][:4]
        kinds = args[tensors + 4 :]
        if along == 1 and in_dims[tensors - 1] is None:  # all copies share their filters
            images = (copies.flatten(0, 1) for copies in maps)
            output = operator(*images, args[tensors - 1], *sides, groups, *kinds)
            return output.unflatten(0, maps[0].shape[:2]), 0
        banks = (copies.transpose(0, 1).flatten(1, 2) for copies in maps)  # [B, V·C, H, W]
        size = info.batch_size
        output = operator(*banks, filters.flatten(0, 1), *sides, groups * size, *kinds)
        return output.unflatten(along, (size, output.shape[along] // size)), along

    operator.register_vmap(rule)


_folds(adder_operator, 2, 1)
_folds(input_gradient_operator, 3, 1)
_folds(weight_gradient_operator, 3, 0)
