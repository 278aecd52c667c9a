"""Binary values ±1 with straight-through gradients: activations (BinaryNet) and weights (XNOR-Net).

Both functions keep dtype and shape, accept any layout and empty tensors, and are untouched by
autocast; anything but a floating-point tensor raises ``TypeError``. They are custom operators for
the reason given in :mod:`saa_lite.ops.shift`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.ops._derivatives import in_front, save, straight_through
from saa_lite.ops.shift import check_float


def binary_sign(x: Tensor) -> Tensor:
    """sgn(x) in {−1, +1}, with sgn(0) = +1 so that every value is one bit.

    Gradient (BinaryNet, Courbariaux et al. 2016, eq. 4): g·1[|x| ≤ 1]; values already saturated
    stop learning. NaN stays NaN and passes its gradient on.

    Args:
        x: any shape, floating point.
    """
    check_float("x", x)
    return _signs(x)


def binary_weight(weight: Tensor) -> Tensor:
    """sgn(w)·α with one α = mean|w| per filter (XNOR-Net, Rastegari et al. 2016, eq. 6).

    α is the least-squares scale for sgn(w). NaN or inf anywhere in a filter makes its α, and so
    the whole filter, NaN or inf.

    Gradient, as printed in XNOR-Net §3.1, n = elements per filter: g·(1/n + α·1[|w| ≤ 1]). It is
    the diagonal of the product rule for α(w)·sgn(w): the derivative of each α with respect to
    the *other* weights of its filter is left out. With batch normalisation after the layer that
    loses nothing, since the loss then ignores α and the omitted sum Σ_j g_j·sgn(w_j) is 0. The
    official XNOR-Net code also multiplies by n·(1 − 1/c_in), which Adam cancels, and centres and
    clamps the latent weights after each step; BinaryNet's code clamps them instead of masking.
    The mask does the clamp's work here without overwriting a parameter; a masked weight still
    gets g/n and can return.

    Args:
        weight: [filters, ...], at least two dimensions, floating point.
    """
    check_float("weight", weight)
    if weight.dim() < 2:
        raise UsageError(
            f"weight must have at least 2 dimensions, filters first; got {tuple(weight.shape)}"
        )
    return _scaled_signs(weight)


def _sign(x: Tensor) -> Tensor:
    return torch.where(x.isnan(), x, torch.where(x < 0, -1.0, 1.0).to(x.dtype))


def _save_input(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
) -> None:
    save(ctx, *inputs)


def _along_sign(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor]:
    (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return (grad.masked_fill(x.abs() > 1, 0),)


_signs = straight_through("binary_sign", _sign, _along_sign, _save_input)


def _scaled(weight: Tensor) -> Tensor:
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    # contiguous: one order of summation, so the layout of a weight never changes its bits
    scale = wide.abs().contiguous().mean(dim=tuple(range(1, weight.dim())), keepdim=True)
    return (_sign(wide) * scale).to(weight.dtype)


def _save_both(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
) -> None:
    save(ctx, *inputs, output)


def _along_weight(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor]:
    weight, output = ctx.saved_tensors  # type: ignore[attr-defined]
    elements = max(1, math.prod(weight.shape[1:]))
    inside = output.abs().masked_fill(weight.abs() > 1, 0)  # |output| is α everywhere
    return (grad * (1 / elements + inside),)


def _filters_of_all(
    info: Any, in_dims: tuple[int | None, ...], weight: Tensor
) -> tuple[Tensor, int]:
    """Under vmap: the copies' filters are so many more filters."""
    (copies,) = in_front(info, in_dims, (weight,))
    return torch.ops.saa_lite.binary_weight(copies.flatten(0, 1)).unflatten(0, copies.shape[:2]), 0


_scaled_signs = straight_through(
    "binary_weight", _scaled, _along_weight, _save_both, _filters_of_all
)
