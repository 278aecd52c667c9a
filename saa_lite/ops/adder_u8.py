"""The adder convolution of bytes: what a quantised AdderNet layer computes, exactly.

    Y[b, t, p] = −Σ_k |X[b, k, p] − W[t, k]|,   X and W in 0 … 255, Y int32

The distance does not change when one constant is added to both x and w, so a quantisation with one
scale for both needs no zero point in the sum (eq. 2 of AdderNet, CVPR 2020, on integers).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.errors import UsageError
from saa_lite.kernels import machine
from saa_lite.kernels.compile import has_kernels
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import adder_gpu, adder_torch, adder_vector
from saa_lite.ops._arguments import (
    check_convolution,
    geometry_of,
    layout_of,
    output_like,
    registered,
)
from saa_lite.ops._derivatives import is_plain

MOST_TAPS = (2**31 - 1) // 255  # 8,421,504 distances of 255 fit an int32


def adder_conv2d_u8(
    input: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_value: int = 0,
) -> Tensor:
    """−Σ|x − w| over every receptive field, in integers and exact on every device.

    Overflow: with K = (channels / groups)·kh·kw taps the sum lies in [−255·K, 0]; K up to
    8,421,504 fits an int32, more is refused.

    Args:
        input: uint8 [batch, channels, rows, columns], any memory layout.
        weight: uint8 [filters, channels / groups, kernel rows, kernel columns].
        stride, padding, dilation: int or pair (rows, columns).
        groups: divides channels and filters.
        padding_value: 0 to 255, what padded pixels hold (the zero point of the input).

    Returns:
        int32 [batch, filters, rows', columns'] with torch's output sizes, channels_last if
        ``input`` is. No gradient: integers have none.

    Raises:
        TypeError: not uint8 tensors.
        UsageError: (a ValueError) shapes, groups or values that do not fit.
    """
    geometry = geometry_of(stride, padding, dilation, groups)
    plain = is_plain(input, weight)
    check_convolution("adder_conv2d_u8", input, weight, (torch.uint8,), geometry, plain)
    wrong = isinstance(padding_value, bool) or not isinstance(padding_value, int)
    if wrong or not 0 <= padding_value <= 255:
        raise UsageError(f"padding_value must be an int from 0 to 255; got {padding_value!r}")
    taps = weight.shape[1] * weight.shape[2] * weight.shape[3]
    if taps > MOST_TAPS:
        raise UsageError(
            f"adder_conv2d_u8: a filter may have up to {MOST_TAPS} taps, so that the sum fits an "
            f"int32; got {taps}"
        )
    if plain:
        return _by_device(input, weight, geometry, padding_value)
    return _adder_u8(input, weight, *geometry, padding_value)


def _by_device(input: Tensor, weight: Tensor, geometry: Geometry, padding_value: int) -> Tensor:
    shape = geometry.output_shape(input.shape, weight.shape)
    empty = 0 in shape or weight.shape[1] == 0
    if machine.VECTOR_BITS and has_kernels(input) and not empty:
        return adder_vector.forward(input, weight, geometry, padding_value)
    if kernels := adder_gpu.kernels(input, weight, shape):
        output = kernels.forward_u8(input, weight, *geometry, padding_value)
    else:
        output = on_any_device(input, weight, geometry, padding_value)
    return output.contiguous(memory_format=layout_of(input))


_adder_u8 = registered(
    "adder_conv2d_u8", "input weight", ("int padding_value",), _by_device, output_like(torch.int32)
)


def on_any_device(input: Tensor, weight: Tensor, geometry: Geometry, padding_value: int) -> Tensor:
    """−Σ|x − w| in torch operations on int32, one tap at a time and a few filters at once."""
    up, side = geometry.padding
    padded = F.pad(input.int(), (side, side, up, up), value=padding_value)
    return adder_torch.forward(padded, weight.int(), geometry._replace(padding=(0, 0)))
