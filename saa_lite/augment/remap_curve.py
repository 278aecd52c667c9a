"""From a normal to a Laplace distribution and back, number by number.

A weight keeps its rank and changes the ruler: w ↦ F_l⁻¹(F_g(w)) with the distribution functions
F_g of N(mean, std²) and F_l of Laplace(0, scale) (ShiftAddAug, eq. 5 without its learned part).
With z = (w − mean)/std and a = |z| that is

    R(w) = sgn(z)·scale·t(a),   t(a) = −ln(2 Φ(−a)) = −ln erfc(a/√2),
    R'(w) = (scale/std)·h(a),   h(a) = t'(a) = φ(a)/Φ(−a) = √(2/π) / erfcx(a/√2).

The derivative is written down. Autograd through sgn and |·| would return 0 at z = 0, where it is
√(2/π)·scale/std ≈ 0.798·scale/std. Nothing here forms Φ itself, which rounds to 1 at z = 8.3 (5.6
in float32): ``erfcx`` keeps both directions exact to rounding far beyond |z| = 30.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from saa_lite.errors import UsageError
from saa_lite.ops._derivatives import is_plain
from saa_lite.ops.shift import check_float

SCALE = 1 / math.sqrt(2)  # of the Laplace distribution with variance 1
SLOPE_AT_MEAN = math.sqrt(2 / math.pi)
NEWTON_STEPS = 4  # from a start within 6 %: exact in float64 (tests/test_remap.py)
Number = float | Tensor


def gaussian_to_laplace(
    w: Tensor, *, mean: Number = 0.0, std: Number = 1.0, scale: Number = SCALE
) -> Tensor:
    """R(w) = F_l⁻¹(F_g(w)): weights of N(mean, std²) become weights of Laplace(0, scale).

    Differentiable in all four, which may broadcast. float16 and bfloat16 are computed in float32.

    Args:
        w: any shape, floating point.
        mean, std: of the normal distribution; ``std`` above 0.
        scale: b of the Laplace distribution exp(−|v|/b)/(2b), above 0; its variance is 2b².

    Raises:
        UsageError: ``std`` or ``scale`` is a number that is not positive and finite.
    """
    check_float("w", w)
    wide, mean, std, scale = _widened(w, mean, std, scale)
    return (scale * standard_laplace((wide - mean) / std)).to(w.dtype)


def laplace_to_gaussian(
    w: Tensor, *, mean: Number = 0.0, std: Number = 1.0, scale: Number = SCALE
) -> Tensor:
    """R⁻¹(w) = F_g⁻¹(F_l(w)), the way back; arguments as :func:`gaussian_to_laplace`."""
    check_float("w", w)
    wide, mean, std, scale = _widened(w, mean, std, scale)
    return (mean + std * standard_normal(wide / scale)).to(w.dtype)


def standard_laplace(z: Tensor) -> Tensor:
    """sgn(z)·t(|z|): N(0, 1) → Laplace(0, 1). float32 or float64."""
    function = _PlainStandardLaplace if is_plain(z) else _StandardLaplace
    return function.apply(z)


def standard_normal(v: Tensor) -> Tensor:
    """The inverse of :func:`standard_laplace`: Laplace(0, 1) → N(0, 1)."""
    return _StandardNormal.apply(v)


def hazard(a: Tensor) -> Tensor:
    """h(a) = φ(a)/Φ(−a) for a ≥ 0, the slope of t: √(2/π) at 0, close to a in the tail."""
    return SLOPE_AT_MEAN / torch.special.erfcx(a / math.sqrt(2))


def tail_exponent(a: Tensor) -> Tensor:
    """t(a) = −ln(2 Φ(−a)) for a ≥ 0, to relative rounding error at both ends."""
    x = a / math.sqrt(2)
    near = -torch.log1p(-torch.erf(x))  # no cancellation where t is small
    return torch.where(a < 1, near, x * x - torch.special.erfcx(x).log())  # erf has no room left


def _inverse_tail_exponent(t: Tensor) -> Tensor:
    """a ≥ 0 with t(a) = t. Newton on a convex function, from the root of 0.798a + 0.45a² = t."""
    a = 2 * t / (SLOPE_AT_MEAN + (SLOPE_AT_MEAN**2 + 1.8 * t).sqrt())
    for _ in range(NEWTON_STEPS):
        a = a - (tail_exponent(a) - t) / hazard(a)
    return torch.where(t.isinf(), t, a)  # where the start was ∞/∞


class _StandardLaplace(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return tail_exponent(z.abs()).copysign(z)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad * hazard(z.abs())


class _PlainStandardLaplace(torch.autograd.Function):
    """The same, for plain calls alone: without ``setup_context`` a call costs half as much."""

    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return _StandardLaplace.forward(z)

    backward = _StandardLaplace.backward


class _StandardNormal(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor) -> Tensor:
        return _inverse_tail_exponent(v.abs()).copysign(v)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad / hazard(z.abs())


def _widened(
    w: Tensor, mean: Number, std: Number, scale: Number
) -> tuple[Tensor, Number, Number, Number]:
    """All in float32 at least. Numbers are checked; tensors are not, which would wait for a GPU."""
    for name, value in (("std", std), ("scale", scale)):
        if not isinstance(value, Tensor) and not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive and finite; got {value!r}")
    wide = torch.promote_types(w.dtype, torch.float32)
    mean, std, scale = (v.to(wide) if isinstance(v, Tensor) else v for v in (mean, std, scale))
    return w.to(wide), mean, std, scale
