"""The adder convolution as registered operators, for everything that traces or transforms torch.

``torch.library.custom_op`` makes it a node that fake tensors, ``torch.compile``, dispatch modes and
exporters understand. Plain eager calls take a shorter way (:mod:`saa_lite.ops.adder`): the same
kernels, without the time that the dispatcher takes for operators written in Python.

The gradients are surrogates (:mod:`saa_lite.ops.adder`), so nothing follows from them: no second
derivatives and no forward mode, which both refuse. ``torch.vmap`` sees what it repeats as further
images where all copies share their filters, and as further groups elsewhere: per-sample gradients
are the weight gradient of a convolution with one group per sample.
"""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor

from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import adder_kernels
from saa_lite.ops._arguments import layout_of, registered
from saa_lite.ops._derivatives import in_front, nothing, transformable

Dims = tuple[int | None, ...]


adder_operator = registered(
    "adder_conv2d",
    "input weight",
    ("str weight_gradient", "str input_gradient"),
    lambda input, weight, geometry, *kinds: adder_kernels.forward(input, weight, geometry),
)
input_gradient_operator = registered(
    "adder_conv2d_input_gradient",
    "grad input weight",
    ("str kind",),
    adder_kernels.input_gradient,
    lambda grad, input, *_: torch.empty_like(input, memory_format=layout_of(input)),
)
weight_gradient_operator = registered(
    "adder_conv2d_weight_gradient",
    "grad input weight",
    ("str kind",),
    adder_kernels.weight_gradient,
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
    adder_operator,
    setup_context=remember,
    backward=registered_gradients,
    jvp=refuse_forward_mode,
)


def _as_images(copies: Tensor) -> Tensor:
    """[V,B,C,H,W] → [V·B,C,H,W]."""
    return copies.flatten(0, 1)


def _as_groups(copies: Tensor) -> Tensor:
    """[V,B,C,H,W] → [B,V·C,H,W]."""
    return copies.transpose(0, 1).flatten(1, 2)


@adder_operator.register_vmap
def _(info: Any, in_dims: Dims, *args: Any) -> tuple[Tensor, int]:
    size, (_, weight, *geometry, groups, weight_kind, input_kind) = info.batch_size, args
    images, filters = in_front(info, in_dims[:2], args[:2])
    kinds = weight_kind, input_kind
    if in_dims[1] is None:
        output = adder_operator(_as_images(images), weight, *geometry, groups, *kinds)
        return output.unflatten(0, images.shape[:2]), 0
    banks = filters.flatten(0, 1), *geometry, groups * size, *kinds
    return adder_operator(_as_groups(images), *banks).unflatten(1, filters.shape[:2]), 1


@input_gradient_operator.register_vmap
def _(info: Any, in_dims: Dims, *args: Any) -> tuple[Tensor, int]:
    size, (*_, weight, stride, padding, dilation, groups, kind) = info.batch_size, args
    grads, images, filters = in_front(info, in_dims[:3], args[:3])
    geometry = stride, padding, dilation
    if in_dims[2] is None:
        folded = _as_images(grads), _as_images(images), weight, *geometry, groups
        return input_gradient_operator(*folded, kind).unflatten(0, images.shape[:2]), 0
    folded = _as_groups(grads), _as_groups(images), filters.flatten(0, 1), *geometry, groups * size
    channels = (size, images.shape[2])
    return input_gradient_operator(*folded, kind).unflatten(1, channels), 1


@weight_gradient_operator.register_vmap
def _(info: Any, in_dims: Dims, *args: Any) -> tuple[Tensor, int]:
    size, (*_, stride, padding, dilation, groups, kind) = info.batch_size, args
    grads, images, filters = in_front(info, in_dims[:3], args[:3])
    folded = _as_groups(grads), _as_groups(images), filters.flatten(0, 1)
    result = weight_gradient_operator(*folded, stride, padding, dilation, groups * size, kind)
    return result.unflatten(0, filters.shape[:2]), 0
