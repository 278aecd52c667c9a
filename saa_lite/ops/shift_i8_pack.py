"""From shift codes to programs, and from a band of images to lines of 64 lanes.

A *program* adds up one filter over one block of channels, as steps for
:func:`saa_lite.ops.shift_ir.tile`. Its taps are sorted by shift and sign, largest first, and the
sum is formed by Horner's rule, ((Σ₀ << d₁) + Σ₁) << d₂ …, so that a tap costs one addition and a
shift is made once for all taps of a kind. Sums stay in 16 bits while they surely fit.
"""

from typing import Any

import numpy as np

from saa_lite.ops._compile import compiled
from saa_lite.ops.shift_i8_plan import Plan
from saa_lite.ops.shift_ir import COLUMNS, LANES, PITCH, STAY, clear_line, spread
from saa_lite.ops.vector_moves import clear_bytes, copy_bytes

Array = Any

LARGEST_INPUT = 128
# Of the largest input that surely fit 16 bits: 255·128 = 32640.
UNITS_IN_16_BITS = (2**15 - 1) // LARGEST_INPUT
HALF = LANES // 2
RUN = 512  # bytes of a lane that are spread at a time


@compiled(error_model="numpy")
def steps_of(taps: int, smallest: int) -> int:
    """Most steps of a program: one for each amount, and one for each 16 bits filled within it."""
    return min(1 - smallest, max(1, taps)) + taps // UNITS_IN_16_BITS


@compiled(error_model="numpy")
def in_range(shift: Array, sign: Array, smallest: int) -> bool:
    """Whether all of ``shift`` lies in [smallest, 0] and all of ``sign`` in [−1, 1]."""
    least: Any = np.int8(0)
    most: Any = np.int8(0)
    for p in shift:
        least, most = min(least, p), max(most, p)
    negative: Any = np.int8(0)
    positive: Any = np.int8(0)
    for s in sign:
        negative, positive = min(negative, s), max(positive, s)
    return least >= smallest and most <= 0 and negative >= -1 and positive <= 1


@compiled(error_model="numpy")
def find_kinds(shift: Array, sign: Array, amounts: int, kinds: Array) -> None:
    """2·(shift below 0) + (negative), and behind all of these what has sign 0."""
    unused = np.uint8(2 * amounts)
    for i in range(kinds.size):
        s, p = np.uint8(sign[i]), np.uint8(shift[i])
        kind = np.uint8(np.uint8(s & np.uint8(2)) >> np.uint8(1)) - np.uint8(p << np.uint8(1))
        kinds[i] = np.uint8(kind + unused) if s == 0 else np.uint8(kind)


@compiled(error_model="numpy")
def sort_taps(kinds: Array, offsets: Array, taps: Array, count: Array, place: Array) -> None:
    """Offsets into ``taps``, sorted by kind; ``count``: how many of each; ``place``: scratch."""
    count[:] = 0
    for i in range(kinds.size):
        count[kinds[i]] += np.uint32(1)
    at = np.uint32(0)  # unsigned: Numba then spares the question whether an index is negative
    for kind in range(count.size):
        place[kind] = at
        at += count[kind]
    for i in range(kinds.size):
        kind = kinds[i]
        taps[place[kind]] = offsets[i]
        place[kind] += np.uint32(1)


@compiled(error_model="numpy")
def write_steps(count: Array, smallest: int, steps: Array) -> tuple[int, int]:
    """The steps for so many taps of each kind: returns their number and Σ2^(p − pmin)."""
    n, units = 0, 0
    step: Any = 0  # the last one, not yet written: whether it empties the sums depends on the next
    narrow = 0  # at which amount the 16-bit sums stand
    filled = 0  # how many of the largest input they may hold
    ones = 0  # what they hold if all inputs are 1
    for amount in range(1 - smallest):
        plus: Any = np.int64(count[2 * amount])
        minus: Any = np.int64(count[2 * amount + 1])
        units += (plus + minus) << (-smallest - amount)
        while plus + minus > 0:
            shifted = filled << (amount - narrow)
            if filled and shifted + min(plus + minus, UNITS_IN_16_BITS) > UNITS_IN_16_BITS:
                step |= (-smallest - narrow) << 24 | ones << 39
                filled = shifted = ones = 0
            elif filled:
                step |= STAY << 24
            if n:
                steps[n - 1] = step
            by = amount - narrow if filled else 0
            some = min(plus, UNITS_IN_16_BITS - shifted)
            others = min(minus, UNITS_IN_16_BITS - shifted - some)
            step = by | some << 8 | others << 16
            plus, minus, narrow = plus - some, minus - others, amount
            filled, ones = shifted + some + others, (ones << by) + some - others
            n += 1
    steps[max(n, 1) - 1] = step | (-smallest - narrow) << 24 | ones << 39
    return max(n, 1), units


@compiled(error_model="numpy")
def pack_band(source: int, lanes: Array, plan: Plan, lines: Array) -> None:
    """Rows under each of 64 bands into ``lines``; the images' bytes lie at address ``source``.

    A *run* is what lies contiguously in an image and in the plan's targets: the rows of a channel,
    or with channels last, one row of all channels.
    """
    last = plan.channels_last
    pixel, step = (plan.channels, plan.row) if last else (1, plan.channel)
    row, plane = plan.width * pixel, plan.height * plan.width * pixel
    runs, length = (plan.input_rows, row) if last else (plan.channels, row * plan.input_rows)
    image, next_run = plan.channels * plan.height * plan.width, row if last else plane
    staged = np.empty(LANES * PITCH + COLUMNS, np.int8)  # rows as in `spread`
    target, tables = lines.ctypes.data, plan.targets.ctypes.data
    for run in range(runs):
        for begin in range(0, length, RUN):
            end = min(length, begin + RUN)
            for lane in range(LANES):
                top = lanes[lane, 1] * plan.row_step - plan.padding
                first, stop = begin, end
                if last:
                    stop = end if 0 <= top + run < plan.height else begin
                else:
                    first = min(end, max(begin, -top * row))
                    stop = max(first, min(end, (plan.height - top) * row))
                at = staged.ctypes.data + (2 * (lane % HALF) + lane // HALF) * PITCH - begin
                clear_bytes(at + begin, first - begin)
                origin = lanes[lane, 0] * image + top * row + run * next_run
                copy_bytes(source + origin + first, at + first, stop - first)
                clear_bytes(at + stop, end - stop)
            for i in range(begin, end, COLUMNS):
                at = staged.ctypes.data + i - begin
                spread(at, target + run * step, tables + 8 * i)


@compiled(error_model="numpy")
def clear_sides(plan: Plan, lines: Array) -> None:
    """Zero into the padding columns of all rows and channels."""
    for channel in range(plan.channels):
        for row in range(plan.input_rows):
            for side in plan.sides:
                clear_line(lines.ctypes.data + channel * plan.channel + row * plan.row + side)
