"""Int8 shift convolution without a multiplication: what quantised DeepShift hardware computes.

    Y[b, t, p] = Σ_k sign[t, k]·(X[b, k, p] << (shift[t, k] − pmin)),   X int8, Y int32

in the units of :func:`saa_lite.ops.shift_conv2d` with rounding "exact", and equal to it to the last
bit. :mod:`.shift_i8_matmul` computes the same with products.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saa_lite.ops import shift_i8_vector
from saa_lite.ops._arguments import (
    Geometry,
    Pair,
    check_conv_shapes,
    layout_of,
    output_like,
    output_shape,
    pair,
    pairs,
    walks_channels_last,
)
from saa_lite.ops._compile import has_kernels
from saa_lite.ops._eager import is_plain
from saa_lite.ops._launch import launch, threads_wanted, work_of
from saa_lite.ops._shift_arguments import MOST_UNITS, check_contents, check_shift_tensors
from saa_lite.ops.convolution import seen_at
from saa_lite.ops.shift import smallest_shift
from saa_lite.ops.shift_i8_plan import plan_arrays
from saa_lite.ops.shift_integer import shift_conv2d_by_taps
from saa_lite.ops.shift_ir import LANES

TASKS_PER_THREAD = 2  # enough for threads to even out; each packs its input by itself


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
    plain = input.device.type == "cpu" and is_plain(input, shift)
    run = _shift_i8_on_cpu if plain else _shift_i8
    return run(input, shift, sign, *geometry, groups, smallest)


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
    return _by_taps(input, shift, sign, smallest, *pairs(stride, padding, dilation), groups)


def _by_taps(
    input: Tensor, shift: Tensor, sign: Tensor, smallest: int, *geometry: *Geometry
) -> Tensor:
    check_contents("shift_conv2d_i8", shift, sign, smallest)
    output = shift_conv2d_by_taps(input, shift - smallest, sign, *geometry).int()
    return output.contiguous(memory_format=layout_of(input))


@_shift_i8.register_kernel("cpu")
def _shift_i8_on_cpu(input: Tensor, shift: Tensor, sign: Tensor, *options: Any) -> Tensor:
    *steps, groups, smallest = options
    geometry, layout = pairs(*steps), layout_of(input)
    if not has_kernels(input):
        return _by_taps(input, shift, sign, smallest, *geometry, groups)
    shape = output_shape(input, shift, *geometry)
    output = torch.empty(shape, dtype=torch.int32, memory_format=layout)
    if output.numel() == 0 or shift.shape[1] == 0:
        check_contents("shift_conv2d_i8", shift, sign, smallest)
        return output.zero_()
    if shift.shape[2:] == (1, 1) and geometry[:2] != ((1, 1), (0, 0)) and geometry[1] == (0, 0):
        input, geometry = seen_at(input, geometry[0]), ((1, 1), (0, 0), (1, 1))
    channels_last = walks_channels_last(layout, input.shape, shape)
    run_in_lanes(input, shift, sign, output, geometry, groups, smallest, channels_last)
    return output


_shift_i8.register_fake(output_like(torch.int32))


def run_in_lanes(
    input: Tensor,
    shift: Tensor,
    sign: Tensor,
    output: Tensor,
    geometry: tuple[Pair, Pair, Pair],
    groups: int,
    smallest: int,
    channels_last: bool,
) -> None:
    """Fill ``output`` with the kernel for 64 lanes, which reads and writes both memory layouts."""
    shapes = tuple(input.shape), tuple(output.shape), tuple(shift.shape)
    plan = plan_arrays(*shapes, *geometry, groups, channels_last)
    threads, tasks = threads_wanted(), len(plan[1]) // LANES
    parts = 1 if threads == 1 else min(len(shift), -(-TASKS_PER_THREAD * threads // tasks))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = input.contiguous(memory_format=layout)
    p, s = shift.contiguous(), sign.contiguous()  # held here while their addresses are used
    addresses = x.data_ptr(), p.data_ptr(), s.data_ptr(), output.data_ptr()
    args = *addresses, smallest, parts, MOST_UNITS, *plan
    if not launch(*shift_i8_vector.shift_i8, *args, work=work_of(output.shape, shift.shape)):
        check_contents("shift_conv2d_i8", shift, sign, smallest)
