"""Int8 shift convolution without a multiplication: what quantised DeepShift hardware computes.

    Y[b, t, p] = Σ_k sign[t, k]·(X[b, k, p] << (shift[t, k] − pmin)),   X int8, Y int32

in the units of :func:`saa_lite.ops.shift_conv2d` with rounding "exact", and equal to it to the last
bit. :mod:`.shift_i8_matmul` computes the same with products.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saa_lite.ops import shift_i8_vector
from saa_lite.ops._arguments import (
    Pair,
    check_conv_shapes,
    layout_of,
    output_shape,
    pair,
    pairs,
)
from saa_lite.ops._launch import launch, threads_wanted
from saa_lite.ops._shift_arguments import MOST_UNITS, check_contents, check_shift_tensors
from saa_lite.ops.shift import smallest_shift
from saa_lite.ops.shift_i8_plan import plan_of
from saa_lite.ops.shift_integer import shift_conv2d_by_taps
from saa_lite.ops.shift_ir import LANES

TASKS_PER_THREAD = 2
PIXELS_IN_A_ROW = (8, 4)  # that 1 × 1 kernels like best, the better first


def shift_conv2d_i8(
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
    """Σ sign·(x << (p − pmin)) by shifting, adding and subtracting alone. Zero padding.

    On a CPU 64 lanes work at once, each on rows of one image: batch × output rows of 64 or more
    keep all of them busy, fewer leave some idle (a single 8 × 8 image uses 8). 1 × 1 kernels fill
    them from all pixels.

    Overflow: a sum lies within ±128·Σ2^(p − pmin), over the taps of its filter whose sign is not 0.
    Codes for which that exceeds 2^31 − 1 are refused. 5 bits always fit up to 511 taps, 4 bits up
    to 131,071; weights below 1 leave room for more.

    Args:
        input: int8 [N, C, H, W], any layout.
        shift: int8 [T, C / groups, kh, kw], in [pmin, 0]; pmin = −(2^(bits−1) − 1).
        sign: int8, as ``shift``, in {−1, 0, 1}.
        stride, padding, dilation: int or pair (rows, columns).
        groups: divides channels and filters.
        bits: the format of the weights, 2 to 6.

    Returns:
        int32 [N, T, rows', columns'], channels_last if ``input`` is. One unit is 2^pmin times that
        of ``input``. No gradient: integers have none.

    Raises:
        TypeError: not int8 tensors.
        UsageError: (a ValueError) shapes, values or options out of range, or a sum that may
            overflow.
    """
    name = "shift_conv2d_i8"
    smallest = smallest_shift(bits)
    check_shift_tensors(name, input, shift, sign, torch.int8)
    geometry = pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)
    check_conv_shapes(name, input, shift, *geometry, groups)
    return _shift_i8(input, shift, sign, *geometry, groups, smallest)


@torch.library.custom_op("saa_lite::shift_conv2d_i8", mutates_args=())
def _shift_i8(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    smallest: int,
) -> Tensor:
    """Every device without a kernel of its own."""
    check_contents("shift_conv2d_i8", shift, sign, smallest)
    geometry = pairs(stride, padding, dilation)
    output = shift_conv2d_by_taps(input, shift - smallest, sign, *geometry, groups).int()
    return output.contiguous(memory_format=layout_of(input))


@_shift_i8.register_kernel("cpu")
def _shift_i8_on_cpu(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    smallest: int,
) -> Tensor:
    geometry = pairs(stride, padding, dilation)
    shape = output_shape(input, shift, *geometry)
    output = torch.empty(shape, dtype=torch.int32, memory_format=layout_of(input))
    if output.numel() == 0 or shift.shape[1] == 0:
        check_contents("shift_conv2d_i8", shift, sign, smallest)
        return output.zero_()
    _in_lanes(input, shift, sign, output, geometry, groups, smallest)
    return output


@_shift_i8.register_fake
def _shift_i8_shape(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    smallest: int,
) -> Tensor:
    shape = output_shape(input, shift, *pairs(stride, padding, dilation))
    return input.new_empty(shape, dtype=torch.int32).contiguous(memory_format=layout_of(input))


def _in_lanes(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    output: Tensor,
    geometry: tuple[Pair, Pair, Pair],
    groups: int,
    smallest: int,
) -> None:
    """Fill ``output`` with the kernel for 64 lanes, which reads and writes both memory layouts."""
    x, y, geometry, channels_last = _as_arrays(input, shift, output, geometry)
    order = (0, 3, 1, 2) if channels_last else (0, 1, 2, 3)
    shapes = (tuple(array.shape[i] for i in order) for array in (x, y))
    plan = plan_of(*shapes, tuple(shift.shape), *geometry, groups, channels_last)
    threads, tasks = threads_wanted(), len(plan.lanes) // LANES
    parts = 1 if threads == 1 else min(len(shift), -(-TASKS_PER_THREAD * threads // tasks))
    found = np.empty(shift.shape[0], np.int64)
    codes = (code.contiguous().numpy().reshape(len(shift), -1) for code in (shift, sign))
    kernels = shift_i8_vector.shift_i8_serial, shift_i8_vector.shift_i8_parallel
    options = geometry[1][0], smallest, plan, parts, MOST_UNITS, found
    launch(*kernels, x.reshape(-1), *codes, y, *options)
    if found.min() < 0 or found.max() > MOST_UNITS:
        check_contents("shift_conv2d_i8", shift, sign, smallest)


def _as_arrays(
    input: Tensor, shift: Tensor, output: Tensor, geometry: tuple[Pair, Pair, Pair]
) -> tuple[np.ndarray, np.ndarray, tuple[Pair, Pair, Pair], bool]:
    """Input and output as C-contiguous arrays, with the channels last or not, and the geometry.

    A 1 × 1 kernel without padding sees each pixel alone: what a stride leaves out is left out, and
    the pixels are counted in rows of eight.
    """
    stride, padding, dilation = geometry
    alone = shift.shape[2:] == (1, 1) and padding == (0, 0)
    if alone:
        input, stride = input[:, :, :: stride[0], :: stride[1]], (1, 1)
    one_pixel = input.shape[2:] == output.shape[2:] == (1, 1)
    channels_last = one_pixel or layout_of(output) == torch.channels_last
    if channels_last:
        x, y = (t.permute(0, 2, 3, 1).contiguous().numpy() for t in (input, output))
    else:
        x, y = input.contiguous().numpy(), output.numpy()
    if alone:
        x, y = _in_rows(x, channels_last), _in_rows(y, channels_last)
    return x, y, (stride, padding, dilation), channels_last


def _in_rows(images: np.ndarray, channels_last: bool) -> np.ndarray:
    """The pixels of each image, or with channels last of all of them, in rows of equal length."""
    pixels = images.size // images.shape[3] if channels_last else images.shape[2] * images.shape[3]
    for length in PIXELS_IN_A_ROW:
        if pixels % length == 0:
            if channels_last:
                return images.reshape(1, -1, length, images.shape[3])
            return images.reshape(*images.shape[:2], -1, length)
    return images
