"""Int8 shift convolution as an int8 matrix product: the exact fast path that does multiply.

A weight ±2^p whose exponents span at most 6 is an int8 number ±2^(p − pmin'), pmin' the smallest
one in use, so a shift layer *is* an int8 layer and runs on the processor's int8 multipliers
(``torch._int_mm``). The result is shifted to the units of :func:`.shift_i8.shift_conv2d_i8`, which
computes the same numbers without a product.

Processors without a four-way dot product add products of bytes (the input as 0 … 255) in pairs of
16 bits first, which saturates for weights beyond 64; 2·255·64 = 32640 fits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.errors import UsageError
from saa_lite.ops._arguments import (
    Geometry,
    check_conv_shapes,
    layout_of,
    output_like,
    output_shape,
    pair,
    pairs,
)
from saa_lite.ops._shift_arguments import check_contents, check_shift_tensors
from saa_lite.ops.shift import smallest_shift

LARGEST_SPAN = 6  # of exponents whose powers of two, ±2^span at most, fit int8


def shift_conv2d_i8_matmul(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    bits: int = 5,
) -> Tensor:
    """What :func:`saa_lite.ops.shift_conv2d_i8` computes, by multiplying int8 matrices.

    Arguments, result and errors are the same; and the shifts of taps whose sign is not 0 may span
    at most 6. Bits up to 3 always do. Memory: the input once per tap of the kernel (not for 1 × 1).
    """
    name = "shift_conv2d_i8_matmul"
    smallest = smallest_shift(bits)
    check_shift_tensors(name, input, shift, sign, torch.int8)
    geometry = pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)
    check_conv_shapes(name, input, shift, *geometry, groups)
    return _shift_i8_matmul(input, shift, sign, *geometry, groups, smallest)


@torch.library.custom_op("saa_lite::shift_conv2d_i8_matmul", mutates_args=())
def _shift_i8_matmul(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    smallest: int,
) -> Tensor:
    check_contents("shift_conv2d_i8_matmul", shift, sign, smallest)
    geometry = pairs(stride, padding, dilation)
    batch, filters, rows, columns = shape = output_shape(input, shift, *geometry)
    if shift.shape[1] == 0 or 0 in shape:
        output = input.new_zeros(shape, dtype=torch.int32)
        return output.contiguous(memory_format=layout_of(input))
    weight, lowest = _as_int8(shift, sign)
    patches = _patches(input, (rows, columns), shift.shape[2:], *geometry, groups)
    factors = weight.unflatten(0, (groups, -1)).permute(0, 3, 4, 2, 1).flatten(1, 3)  # [G, K, T/G]
    products = [_product(a, b) for a, b in zip(patches, factors, strict=True)]
    output = products[0] if groups == 1 else torch.cat(products, 1)
    output <<= lowest - smallest
    output = output.reshape(batch, rows, columns, filters).permute(0, 3, 1, 2)
    return output.contiguous(memory_format=layout_of(input))


_shift_i8_matmul.register_fake(output_like(torch.int32))


def _as_int8(shift: Tensor, sign: Tensor) -> tuple[Tensor, int]:
    """±2^(p − pmin') and pmin', the smallest p of a tap whose sign is not 0."""
    used = shift[sign != 0]
    if used.numel() == 0:
        return sign, 0
    lowest, highest = (int(bound) for bound in torch.aminmax(used))
    if highest - lowest > LARGEST_SPAN:
        raise UsageError(
            f"shift_conv2d_i8_matmul: the shifts in use may span at most {LARGEST_SPAN}, so that "
            f"their powers of two fit int8; got {lowest} to {highest} (shift_conv2d_i8 has no "
            "such limit)"
        )
    return sign << (shift - lowest).clamp(min=0), lowest


def _patches(
    input: Tensor,
    size: tuple[int, int],
    kernel: torch.Size,
    *geometry: *Geometry,
) -> list[Tensor]:
    """What each output pixel sees, [B·H'·W', kh·kw·C/groups] for each group; zero padding."""
    stride, (up, side), dilation, groups = geometry
    channels = input.shape[1] // groups
    pixels = input.permute(0, 2, 3, 1)
    if up or side:
        pixels = F.pad(pixels, (0, 0, side, side, up, up))
    pixels = pixels.contiguous()
    image, row, column, _ = pixels.stride()
    shape = (len(pixels), *size, *kernel)
    steps = (image, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1])
    found = []
    for group in range(groups):
        first = pixels.storage_offset() + group * channels
        seen = pixels.as_strided((*shape, channels), (*steps, 1), first)
        # Where windows are one row high, reshape leaves overlapping rows, which products refuse.
        found.append(seen.reshape(-1, kernel[0] * kernel[1] * channels).contiguous())
    return found


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of int8 matrices in int32, exact."""
    if a.device.type == "cpu":
        return torch._int_mm(a, b)
    # _int_mm of other devices asks for certain sizes; sums below 2^31 are exact in float64.
    return (a.double() @ b.double()).int()
