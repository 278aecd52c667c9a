"""Shift weights: ±2^p values with straight-through gradients, and fixed-point activations.

Two ways to learn them, both from DeepShift (Elhoushi et al., CVPR workshops 2021; official code
``pytorch/deepshift``): **Q** keeps an ordinary weight and rounds it to a power of two, **PS**
learns the exponent p and a ternary sign.

Why custom operators and not ``x + (q(x) - x).detach()``: that sum rounds. It turns a clamped ±inf
into NaN, a clamped |x| ≥ 2^24 into 0 (float32) and the single α of a binary filter into several
neighbouring numbers; and it has no place for the two gradients of PS. As operators the rules also
keep their names in traced and compiled graphs.

All functions keep dtype and shape, accept any layout and empty tensors, and are untouched by
autocast. float16 and bfloat16 are computed in float32 and rounded once. Arguments that are not
floating-point tensors raise ``TypeError``, options and shapes out of range :class:`UsageError`.
"""

import math

import numpy as np
import torch
from torch import Tensor

from saa_lite.errors import UsageError, check_choice
from saa_lite.kernels import loops
from saa_lite.kernels.compile import has_kernels
from saa_lite.ops._arguments import layout_of
from saa_lite.ops._derivatives import is_plain, save, straight_through
from saa_lite.ops._launch import launch

FLOAT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# The smallest number of each dtype above √½, which is itself irrational: a mantissa m in [½, 1)
# rounds up, in log2, exactly when it reaches this constant.
SWITCH = {torch.float32: float.fromhex("0x1.6a09e8p-1"), torch.float64: math.sqrt(0.5)}


def smallest_shift(bits: int, kind: str = "shift") -> int:
    """The most negative exponent p that ``bits``-bit shift weights can hold; the largest is 0.

    ``"shift"`` (Q): −(2^(b−1) − 1), so −3, −7, −15 for b = 3, 4, 5. ``"shift-ps"`` (PS):
    −(2^(b−1) − 2), because one code is spent on the zero of the ternary sign.
    """
    check_choice("kind", kind, ("shift", "shift-ps"))
    if type(bits) is not int or not 2 <= bits <= 6:
        raise UsageError(f"bits must be an integer from 2 to 6; got {bits!r}")
    return (1 if kind == "shift" else 2) - 2 ** (bits - 1)


def shift_quantize(weight: Tensor, bits: int = 5) -> Tensor:
    """DeepShift-Q: round every weight to a signed power of two.

    ŵ = sgn(w)·2^p, p = round(log2 |w|) after clamping |w| to [2^pmin, 1]. Rounding in log2 puts
    the switch between 2^p and 2^(p+1) at √2·2^p, not in the arithmetic middle. √2 is irrational,
    so no float ties; the mantissa is compared with it instead of rounding an inexact logarithm.
    0 stays 0, NaN stays NaN, ±inf becomes ±1.

    Gradient (official code ``ste.py``): the identity, through rounding and clamp alike.

    Args:
        weight: any shape, floating point.
        bits: 2 to 6; see :func:`smallest_shift`.
    """
    check_float("weight", weight)
    check_bits_fit(bits, weight.dtype)
    return _quantized(weight, smallest_shift(bits))


def shift_power(shift: Tensor, sign: Tensor, bits: int = 5) -> Tensor:
    """DeepShift-PS: ŵ = sgn(round(s))·2^p from two learned tensors.

    p is ``shift`` clamped to [pmin, 0] and rounded (half to even), s is ``sign``; |s| ≤ ½ gives 0.
    The parameters are read, never overwritten: the official code clamps them in place, and
    torchshiftadd replaces ``sign`` by {−1, 0, 1}, which erases what was learned.

    Gradients (official code ``ste.py``), g = dL/dŵ: dL/dp = g·ŵ·ln 2, the true one of 2^p through
    a straight-through round and clamp; **dL/ds = g**, deliberately not times 2^p. NaN in either
    gives NaN.

    Args:
        shift, sign: same shape, dtype and device, floating point.
        bits: 2 to 6; see :func:`smallest_shift` with kind ``"shift-ps"``.
    """
    check_float("shift", shift)
    check_float("sign", sign)
    if (shift.shape, shift.dtype, shift.device) != (sign.shape, sign.dtype, sign.device):
        raise UsageError(
            "shift and sign must agree in shape, dtype and device; got "
            f"{tuple(shift.shape)} {shift.dtype} on {shift.device} and "
            f"{tuple(sign.shape)} {sign.dtype} on {sign.device}"
        )
    check_bits_fit(bits, shift.dtype)
    return _power(shift, sign, smallest_shift(bits, "shift-ps"))


def fixed_point(x: Tensor, fraction_bits: int = 16, integer_bits: int = 16) -> Tensor:
    """Round activations down to a multiple of 2^−f and clamp them (official code ``utils.py``).

    floor(x·2^f)·2^−f, clamped to [−2^(i−1), 2^(i−1) − 1]: [−32768, 32767] for i = 16. The upper
    bound is the code's; the codes between 32767 and 32768 stay unused. Straight-through identity
    gradient, through floor and clamp. NaN stays NaN, ±inf is clamped. float16 and bfloat16
    cannot hold 32767 and round it to 32768.

    Args:
        x: any shape, floating point.
        fraction_bits: f, 0 or more.
        integer_bits: i, 2 or more, sign included; f + i ≤ 32.
    """
    check_float("x", x)
    check_format(fraction_bits, integer_bits)
    return _fixed(x, fraction_bits, integer_bits)


def fixed_point_codes(x: Tensor, fraction_bits: int = 16, integer_bits: int = 16) -> Tensor:
    """The int32 numbers ``fixed_point(x) · 2^f``, what an integer layer reads.

    Raises:
        UsageError: ``x`` holds NaN, which no integer can stand for.
    """
    check_float("x", x)
    check_format(fraction_bits, integer_bits)
    if bool(x.isnan().any()):
        raise UsageError("x must hold numbers; got NaN, which has no fixed-point code")
    grid = _round_to_grid(_widen(x.detach()), fraction_bits, integer_bits)
    return (grid * 2.0**fraction_bits).to(torch.int32)


def shift_codes(weight_value: Tensor, bits: int = 5) -> tuple[Tensor, Tensor]:
    """Split exact shift weights into ``(shift, sign)``, both int8, for integer layers and export.

    weight_value = sign·2^shift with sign in {−1, 0, 1} and shift in [pmin, 0] of the Q format,
    which contains the PS format of the same ``bits``; a zero weight has sign 0 and shift 0.

    Raises:
        UsageError: some value is neither 0 nor ±2^p in range (NaN included).
    """
    check_float("weight_value", weight_value)
    lowest = smallest_shift(bits)
    value = _widen(weight_value.detach())
    mantissa, exponent = torch.frexp(value.abs())
    shift, nonzero = exponent - 1, value != 0
    wrong = nonzero & ((mantissa != 0.5) | (shift > 0) | (shift < lowest))
    if bool(wrong.any()):
        raise UsageError(
            f"weight_value must hold only 0 and ±2^p with p from {lowest} to 0 (bits={bits}); "
            f"got {value[wrong][0].item()!r}"
        )
    return torch.where(nonzero, shift, 0).to(torch.int8), value.sign().to(torch.int8)


def check_float(argument: str, given: object) -> None:
    """Raise ``TypeError`` unless ``given`` is a floating-point tensor."""
    if not isinstance(given, Tensor):
        raise TypeError(f"{argument} must be a torch.Tensor; got {type(given).__name__}")
    if given.dtype not in FLOAT_DTYPES:
        raise TypeError(
            f"{argument} must be float32, float64, float16 or bfloat16; got {given.dtype}"
        )


def check_bits_fit(bits: int, dtype: torch.dtype) -> None:
    """Raise :class:`UsageError` for bits whose smallest power float16 would flush to 0."""
    if dtype == torch.float16 and smallest_shift(bits) < -24:
        raise UsageError(f"float16 holds no power of two below 2^-24: use bits ≤ 5; got {bits}")


def check_format(fraction_bits: int, integer_bits: int) -> None:
    """Raise :class:`UsageError` unless the format fits 32 bits."""
    whole = type(fraction_bits) is int and type(integer_bits) is int
    if not whole or fraction_bits < 0 or integer_bits < 2 or fraction_bits + integer_bits > 32:
        raise UsageError(
            "fraction_bits must be an integer ≥ 0, integer_bits an integer ≥ 2, their sum at most "
            f"32; got fraction_bits={fraction_bits!r} and integer_bits={integer_bits!r}"
        )


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent as float32, from the bits of the format: exact on every device, unlike ``pow``."""
    return ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)


def _round_to_grid(x: Tensor, fraction_bits: int, integer_bits: int) -> Tensor:
    bound = 2.0 ** (integer_bits - 1)
    dense = x.numel() and x.is_contiguous(memory_format=layout_of(x))
    if dense and x.dtype == torch.float32 and has_kernels(x) and is_plain(x):
        return _round_in_one_pass(x, 2.0**fraction_bits, bound)
    # Scaling by a power of two is exact, so floor is the only rounding. In place after the first
    # step: a map of activations is then written over in the cache, not four times anew.
    scaled = x * 2.0**fraction_bits
    return scaled.floor_().mul_(2.0**-fraction_bits).clamp_(-bound, bound - 1)


def _round_in_one_pass(x: Tensor, scale: float, bound: float) -> Tensor:
    """The same bits in a third of the time, a seventh where the map exceeds the caches."""
    output = torch.empty_like(x)
    flat = (t.detach().as_strided((t.numel(),), (1,)).numpy() for t in (x, output))
    numbers = (np.float32(number) for number in (scale, -bound, bound - 1))
    launch(*loops.round_down, *flat, *numbers, work=x.numel())
    return output


def _quantize(weight: Tensor, smallest: int) -> Tensor:
    wide = _widen(weight)
    magnitude = wide.abs()
    mantissa, exponent = torch.frexp(magnitude.clamp(2.0**smallest, 1.0))
    power = exponent.sub_((mantissa < SWITCH[wide.dtype]).to(torch.int32))
    rounded = _power_of_two(power).to(weight.dtype).copysign(weight)
    return torch.where(magnitude > 0, rounded, weight)  # 0 and NaN stay


_quantized = straight_through("shift_quantize", _quantize, lambda ctx, grad: (grad, None))


def _power_with_sign(shift: Tensor, sign: Tensor, smallest: int) -> Tensor:
    power = _power_of_two(shift.clamp(smallest, 0).round()).to(shift.dtype)
    digit = sign.round().sign()  # sgn(NaN) is 0 in torch, hence the next line
    return torch.where(shift.isnan() | sign.isnan(), math.nan, power * digit)


def _save_weight(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor, int], output: Tensor
) -> None:
    save(ctx, output)


def _along_power(
    ctx: torch.autograd.function.FunctionCtx, grad: Tensor
) -> tuple[Tensor, Tensor, None]:
    (weight,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return grad * weight * math.log(2.0), grad, None


_power = straight_through("shift_power", _power_with_sign, _along_power, _save_weight)


def _fix(x: Tensor, fraction_bits: int, integer_bits: int) -> Tensor:
    return _round_to_grid(_widen(x), fraction_bits, integer_bits).to(x.dtype)


_fixed = straight_through("fixed_point", _fix, lambda ctx, grad: (grad, None, None))
