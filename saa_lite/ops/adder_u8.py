"""The adder convolution of bytes: what a quantised AdderNet layer computes, exactly.

    Y[b, t, p] = −Σ_k |X[b, k, p] − W[t, k]|,   X and W in 0 … 255, Y int32

The distance does not change when one constant is added to both x and w, so a quantisation with one
scale for both needs no zero point in the sum (eq. 2 of AdderNet, CVPR 2020, on integers).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.errors import UsageError
from saa_lite.kernels import machine
from saa_lite.ops import adder_gpu, adder_torch
from saa_lite.ops._arguments import (
    Pair,
    check_conv_shapes,
    check_tensors,
    layout_of,
    output_like,
    output_shape,
    pair,
    pairs,
    walks_channels_last,
)
from saa_lite.ops._compile import has_kernels
from saa_lite.ops._eager import is_plain
from saa_lite.ops._launch import BANDS_PER_THREAD, bands_to_share, launch, threads_wanted, work_of
from saa_lite.ops.adder_u8_vector import convolve, tiles_array

Options = tuple[Pair, Pair, Pair, int, int]  # stride, padding, dilation, groups, padding value
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
    geometry = pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)
    check_tensors("adder_conv2d_u8", input, weight, (torch.uint8,))
    check_conv_shapes("adder_conv2d_u8", input, weight, *geometry, groups)
    wrong = isinstance(padding_value, bool) or not isinstance(padding_value, int)
    if wrong or not 0 <= padding_value <= 255:
        raise UsageError(f"padding_value must be an int from 0 to 255; got {padding_value!r}")
    taps = weight.shape[1] * weight.shape[2] * weight.shape[3]
    if taps > MOST_TAPS:
        raise UsageError(
            f"adder_conv2d_u8: a filter may have up to {MOST_TAPS} taps, so that the sum fits an "
            f"int32; got {taps}"
        )
    run = _by_device if is_plain(input, weight) else _adder_u8
    return run(input, weight, *geometry, groups, padding_value)


@torch.library.custom_op("saa_lite::adder_conv2d_u8", mutates_args=())
def _adder_u8(
    input: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding_value: int,
) -> Tensor:
    return _by_device(input, weight, *pairs(stride, padding, dilation), groups, padding_value)


def _by_device(input: Tensor, weight: Tensor, *options: *Options) -> Tensor:
    shape, layout = output_shape(input, weight, *options[:3]), layout_of(input)
    if not (machine.VECTOR_BITS and has_kernels(input)):
        kernels = adder_gpu.kernels(input, weight, shape)
        compute = kernels.forward_u8 if kernels else on_any_device
        return compute(input, weight, *options).contiguous(memory_format=layout)
    output = torch.empty(shape, dtype=torch.int32, memory_format=layout)
    if output.numel() == 0 or weight.shape[1] == 0:
        return output.zero_()
    _in_vectors(input, weight, output, *options)
    return output


_adder_u8.register_fake(output_like(torch.int32))


def _in_vectors(input: Tensor, weight: Tensor, output: Tensor, *options: *Options) -> None:
    """Fill ``output`` with the vector kernels, which read and write both memory layouts."""
    *geometry, groups, padding_value = options
    channels_last = walks_channels_last(layout_of(input), input.shape, output.shape)
    if channels_last:
        dense = input.contiguous(memory_format=torch.channels_last)
        x, y = (images.permute(0, 2, 3, 1).numpy() for images in (dense, output))
    else:
        x, y = input.contiguous().numpy(), output.numpy()
    bands = bands_to_share(output.shape[0], output.shape[2])
    if bands == 1 and weight.shape[2:] == (1, 1) and options[:2] == ((1, 1), (0, 0)):
        x, y = _as_lines(x, channels_last), _as_lines(y, channels_last)
    arrays, plan = (x, weight.contiguous().numpy(), y), np.array(geometry)
    how = groups, padding_value, channels_last, tiles_array(machine.VECTOR_BITS)
    work = work_of(output.shape, weight.shape)
    launch(*convolve, *arrays, bands, plan, *how, work=work)


def _as_lines(images: np.ndarray, channels_last: bool) -> np.ndarray:
    """Images as one row each, or several images as one: a 1 × 1 kernel sees no difference."""
    if not channels_last:
        return images.reshape(*images.shape[:2], 1, -1)
    lines = math.gcd(images.shape[0], BANDS_PER_THREAD * threads_wanted())
    return images.reshape(lines, 1, -1, images.shape[3])


def on_any_device(input: Tensor, weight: Tensor, *options: *Options) -> Tensor:
    """−Σ|x − w| in torch operations on int32, one tap at a time and a few filters at once."""
    stride, padding, dilation, groups, padding_value = options
    up, side = padding
    padded = F.pad(input.int(), (side, side, up, up), value=padding_value)
    return adder_torch.forward(padded, weight.int(), stride, (0, 0), dilation, groups)
