"""Integer shift convolution: what a DeepShift layer computes in hardware.

Number format. An activation x is the int32 code x_int = floor(x·2^f) of
:func:`saa_lite.ops.shift.fixed_point_codes`; a weight sign·2^p is the two int8 codes of
:func:`saa_lite.ops.shift.shift_codes`, p in [pmin, 0], pmin = −(2^(b−1) − 1). The result is an
int64 sum; times :func:`shift_scale` it is the real number. No weight is ever multiplied.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saa_lite.errors import UsageError, check_choice
from saa_lite.kernels import loops
from saa_lite.kernels.compile import has_kernels
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops._arguments import check_conv_shapes, check_tensors, geometry_of, registered
from saa_lite.ops._launch import launch
from saa_lite.ops.adder_torch import taps
from saa_lite.ops.shift import smallest_shift

ROUNDINGS = ("exact", "truncate")
LARGEST = 2**63 - 1


def shift_conv2d(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    bits: int = 5,
    rounding: str = "exact",
) -> Tensor:
    """Convolve integers with ±2^p by shifting, adding and subtracting. Zero padding.

    ``"exact"``: acc = Σ sign·(x_int << (p − pmin)). The constant 2^pmin is taken out of the sum,
    so nothing is lost (our reading; hardware truncates): acc·2^(pmin−f) is the float
    convolution of the same numbers, bit for bit wherever that one is exact.

    ``"truncate"``: acc = Σ sign·(x_int >> −p), DeepShift's kernel (official code
    ``shift_cpu.cpp``). Each right shift rounds its term down by less than one unit 2^−f *before*
    the sign is applied, so with K⁺ positive and K⁻ negative weights of a filter
    −K⁻·2^−f < exact − truncated < K⁺·2^−f; one-sided only for filters of one sign.

    Overflow: with K = (channels / groups)·kh·kw, the sum is bounded by K·max|x_int|·2^(−pmin)
    when exact, by K·max|x_int| when truncated. A bound above 2^63 − 1 is refused; 5 bits and
    K ≤ 2^16 always pass. The contents are checked where they lie; on a GPU this waits for it.

    For a linear layer give ``input`` and the codes two trailing dimensions of size 1.

    Args:
        input: int32 [N, C, H, W], any layout.
        shift: int8 [T, C / groups, kh, kw], in [pmin, 0].
        sign: int8, as ``shift``, in {−1, 0, 1}.
        stride, padding, dilation: int or pair (rows, columns).
        bits: the format of the weights, 2 to 6.
        rounding: ``"exact"`` or ``"truncate"``.

    Returns:
        int64 [N, T, rows', columns'], contiguous; multiply by ``shift_scale(bits, f, rounding)``.

    Raises:
        TypeError: not tensors of these dtypes.
        UsageError: shapes, values or options out of range, or a sum that may overflow.
    """
    check_choice("rounding", rounding, ROUNDINGS)
    smallest = smallest_shift(bits)
    _check_tensors(input, shift, sign)
    geometry = geometry_of(stride, padding, dilation, groups)
    check_conv_shapes("shift_conv2d", input, shift, geometry)
    return _shift_conv2d(input, shift, sign, *geometry, smallest, rounding == "truncate")


def shift_scale(bits: int = 5, fraction_bits: int = 16, rounding: str = "exact") -> float:
    """The real value of one unit of :func:`shift_conv2d`'s result, a power of two.

    2^(pmin − f) for ``"exact"``, 2^−f for ``"truncate"``.
    """
    check_choice("rounding", rounding, ROUNDINGS)
    outside = smallest_shift(bits) if rounding == "exact" else 0
    return 2.0 ** (outside - fraction_bits)


def _check_tensors(input: Tensor, shift: Tensor, sign: Tensor) -> None:
    """int32 input, int8 codes of one shape, all on one device."""
    codes = {"shift": (shift, (torch.int8,)), "sign": (sign, (torch.int8,))}
    check_tensors("shift_conv2d", input=(input, (torch.int32,)), **codes)
    if shift.shape != sign.shape:
        raise UsageError(
            "shift_conv2d: shift and sign must have one shape; "
            f"got {list(shift.shape)} and {list(sign.shape)}"
        )
    if shift.dim() != 4:
        raise UsageError(
            "shift_conv2d: shift must have shape [filters, channels / groups, rows, columns]; "
            f"got {list(shift.shape)}"
        )


def _check_codes(shift: Tensor, sign: Tensor, smallest: int) -> None:
    """Shifts in [smallest, 0] and signs in [−1, 1]."""
    for name, given, lowest, highest in (("shift", shift, smallest, 0), ("sign", sign, -1, 1)):
        least, most = _value_range(given)
        if least < lowest or most > highest:
            raise UsageError(
                f"shift_conv2d: {name} must lie between {lowest} and {highest}; "
                f"got {least if least < lowest else most}"
            )


def _value_range(values: Tensor) -> tuple[int, int]:
    """Least and largest value; (0, 0) of nothing."""
    if values.numel() == 0:
        return 0, 0
    least, most = torch.aminmax(values)
    return int(least), int(most)


def _check_contents(
    input: Tensor, shift: Tensor, sign: Tensor, smallest: int, truncate: bool
) -> None:
    """What only the numbers themselves tell: codes in range, and a sum that fits int64."""
    _check_codes(shift, sign, smallest)
    taps = shift[:1].numel() << (0 if truncate else -smallest)
    # Reading all of the input is spared where even its dtype's largest number would do.
    if taps << 31 <= LARGEST:
        return
    if taps * (largest := max(map(abs, _value_range(input)))) > LARGEST:
        raise UsageError(
            f"shift_conv2d: {shift[:1].numel()} taps of up to {largest}, "
            f"shifted left by up to {-smallest}, may exceed the largest int64, 2^63 − 1; "
            'use fewer bits, smaller inputs or rounding="truncate"'
        )


def _compute(
    input: Tensor, shift: Tensor, sign: Tensor, geometry: Geometry, smallest: int, truncate: bool
) -> Tensor:
    """Numba loops where they run, else operations of torch."""
    _check_contents(input, shift, sign, smallest, truncate)
    codes = input, shift if truncate else shift - smallest, sign  # left by p − pmin, or right by −p
    if not has_kernels(input):
        return _by_taps(*codes, geometry)
    output = input.new_empty(geometry.output_shape(input.shape, shift.shape), dtype=torch.int64)
    # contiguous: one compiled kernel, not one for every combination of layouts
    arrays = (tensor.contiguous().numpy() for tensor in codes)
    numbers = np.array(geometry[:3]), geometry.groups
    launch(*loops.shift_conv2d, *arrays, output.numpy(), *numbers)
    return output


_shift_conv2d = registered(
    "shift_conv2d",
    "input shift sign",
    ("int smallest", "bool truncate"),
    _compute,
    lambda input, shift, sign, *rest: input.new_empty(
        Geometry.of(*rest[:4]).output_shape(input.shape, shift.shape), dtype=torch.int64
    ),
)


def _by_taps(input: Tensor, amount: Tensor, sign: Tensor, geometry: Geometry) -> Tensor:
    """Σ sign·(input shifted by amount) in plain torch; arguments as in the Numba loops.

    Temporaries: the padded input and one tap for all filters, both int64.
    """
    batch, filters, rows, columns = geometry.output_shape(input.shape, amount.shape)
    (up, side), channels = geometry.padding, amount.shape[1]
    per_group, places = (geometry.groups, filters // geometry.groups), amount
    padded = F.pad(input.long(), (side, side, up, up)).unflatten(1, (geometry.groups, channels))
    amount, sign = amount.unflatten(0, per_group).long(), sign.unflatten(0, per_group)
    total = padded.new_zeros(batch, *per_group, rows, columns)
    for place, channel in product(taps(places, (rows, columns), geometry), range(channels)):
        tap = padded[:, :, channel, None, place.rows, place.columns]
        at = (slice(None), slice(None), channel, place.kh, place.kw, None, None)
        by, digit = amount[at], sign[at]
        moved = tap << by.clamp(min=0) >> (-by).clamp(min=0)
        total += torch.where(digit < 0, -moved, moved).masked_fill(digit == 0, 0)
    return total.flatten(1, 2)
