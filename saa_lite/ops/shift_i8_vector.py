"""The int8 shift convolution on a CPU, 32 lanes at a time: shifts, additions, subtractions.

A task is one group of 32 lanes (see :mod:`.shift_i8_plan`): it packs its input, 16 bits a number,
then runs every filter's programs over every tile of pixels and writes the sums where they belong.
Channels go in blocks that fit the first-level cache under a tile; a few filters at a time pass
over all blocks, so that their sums stay in the cache too.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops._compile import compiled
from saa_lite.ops.shift_i8_pack import (
    clear_sides,
    kinds_of,
    pack_band,
    steps_of,
    write_program,
)
from saa_lite.ops.shift_i8_plan import Plan
from saa_lite.ops.shift_ir import LANES, LINE, PIXELS, QUAD, STEP, gather, tile

Array = Any
FILTERS = 16  # whose sums are held at a time
SUMS = 2 * LINE * PIXELS  # bytes of a tile of sums


@compiled(error_model="numpy")
def _aligned(size: int) -> Array:
    """So many bytes from a 64-byte boundary on, as lines."""
    memory = np.empty(size + LINE, np.int8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].reshape((size // LINE, LINE))


@compiled(error_model="numpy")
def _tile_of_filters(
    at: int, second: int, first: int, count: int, programs: Any, plan: Plan, sums: Array
) -> None:
    """Sums of filters first … first + count − 1 at one tile, whose first line is at ``at``."""
    kinds, taps, steps, ends = programs
    per_group = plan.filters // plan.groups
    blocks = ends.shape[1]
    in_block = plan.block * (plan.taps // plan.offsets.shape[0])
    zeros = sums[FILTERS].ctypes.data
    for block in range(blocks):
        for i in range(count):
            t = first + i
            channel = t // per_group * plan.offsets.shape[0] + block * plan.block
            y = sums[i].ctypes.data
            tile(
                at + channel * plan.channel, second,
                steps[t, block].ctypes.data, ends[t, block, 0],
                taps[t, block * in_block :].ctypes.data, ends[t, block, 1],
                y if block else zeros, y,
            )  # fmt: skip


@compiled(error_model="numpy")
def _write(sums: Array, place: Array, first: int, count: int, lanes: Array, plan: Plan, y: Array) -> None:
    """Sums of a tile to their output; ``lanes``: addresses of each lane's first output row."""
    height, width = (y.shape[1], y.shape[2]) if plan.channels_last else (y.shape[2], y.shape[3])
    for quad in range(PIXELS // QUAD):
        row, column = place[2 * quad], place[2 * quad + 1]
        pixel, pixels = row * width + column, min(QUAD, width - column)
        if plan.channels_last:
            for i in range(pixels):
                for f in range(0, count, QUAD):
                    offset = 4 * ((pixel + i) * plan.filters + first + f)
                    source = sums[f].ctypes.data + (quad * QUAD + i) * 2 * LINE
                    gather(source, SUMS, lanes.ctypes.data, offset, min(QUAD, count - f))
        else:
            for f in range(count):
                offset = 4 * ((first + f) * height * width + pixel)
                source = sums[f].ctypes.data + quad * QUAD * 2 * LINE
                gather(source, 2 * LINE, lanes.ctypes.data, offset, pixels)


@compiled(error_model="numpy")
def _task(x: Array, y: Array, group: int, padding: int, plan: Plan, programs: Any) -> None:
    """All filters for one group of lanes."""
    lanes = plan.lanes[group * LANES : group * LANES + LANES]
    lines = _aligned(plan.channels * plan.channel)
    clear_sides(plan, lines)
    pack_band(x, lanes, plan, padding, lines)
    addresses = np.empty(LANES, np.int64)
    line = 4 * (y.shape[2] * y.shape[3] if plan.channels_last else y.shape[3])
    for lane in range(LANES):
        addresses[lane] = y[lanes[lane, 0]].ctypes.data + lanes[lane, 1] * line
    sums = _aligned((FILTERS + 1) * SUMS).reshape((FILTERS + 1, SUMS))
    sums[FILTERS] = 0
    for place in plan.tiles:
        row = plan.row_step * plan.row
        at = lines.ctypes.data + place[0] * row + place[1] * LINE
        second = (place[2] - place[0]) * row + (place[3] - place[1]) * LINE
        for first in range(0, plan.filters, FILTERS):
            count = min(FILTERS, plan.filters - first)
            _tile_of_filters(at, second, first, count, programs, plan, sums)
            _write(sums, place, first, count, addresses, plan, y)


@compiled(error_model="numpy")
def _empty_programs(plan: Plan, smallest: int) -> Any:
    blocks = -(-plan.offsets.shape[0] // plan.block)
    return (
        np.empty((plan.filters, plan.taps), np.uint8),
        np.empty((plan.filters, plan.taps), np.int32),
        np.empty((plan.filters, blocks, steps_of(plan, smallest), STEP // 4), np.int32),
        np.empty((plan.filters, blocks, 2), np.int64),
    )


@compiled(error_model="numpy")
def _write_programs(
    t: int, shift: Array, sign: Array, smallest: int, plan: Plan, programs: Any, found: Array
) -> None:
    """The programs of filter t; found[t]: its Σ2^(p − pmin), or −1 if a code is out of range."""
    kinds, taps, steps, ends = programs
    found[t] = -1
    if not kinds_of(shift[t], sign[t], smallest, kinds[t]):
        return
    found[t] = 0
    in_block = plan.block * (plan.taps // plan.offsets.shape[0])
    offsets = plan.offsets.reshape(plan.offsets.size)
    for block in range(ends.shape[1]):
        part = slice(block * in_block, min(plan.taps, (block + 1) * in_block))
        n, last, units = write_program(
            kinds[t, part], offsets[part], smallest, taps[t, part], steps[t, block]
        )
        ends[t, block, 0], ends[t, block, 1] = n, last
        found[t] += units


@compiled(nogil=True)
def shift_i8_serial(
    x: Array, shift: Array, sign: Array, y: Array, padding: int, smallest: int, plan: Plan,
    most: int, found: Array,
) -> None:  # fmt: skip
    """Y = Σ sign·(x << (p − pmin)) on the calling thread.

    x: int8, the bytes of the images; shift, sign: int8 [T, taps]; y: int32 [B, T, H', W'], or with
    the channels last [B, H', W', T]; padding: rows. found: int64 [T], Σ2^(p − pmin) of each filter,
    or −1 where a code is out of range; one that is, or a sum above ``most``, leaves y as it was.
    """
    programs = _empty_programs(plan, smallest)
    for t in range(plan.filters):
        _write_programs(t, shift, sign, smallest, plan, programs, found)
    if found.min() >= 0 and found.max() <= most:
        for group in range(len(plan.lanes) // LANES):
            _task(x, y, group, padding, plan, programs)


@compiled(nogil=True, parallel=True)
def shift_i8_parallel(
    x: Array, shift: Array, sign: Array, y: Array, padding: int, smallest: int, plan: Plan,
    most: int, found: Array,
) -> None:  # fmt: skip
    """As :func:`shift_i8_serial`, groups of lanes shared out among threads; the same bits."""
    programs = _empty_programs(plan, smallest)
    for t in prange(plan.filters):
        _write_programs(t, shift, sign, smallest, plan, programs, found)
    if found.min() >= 0 and found.max() <= most:
        for group in prange(len(plan.lanes) // LANES):
            _task(x, y, group, padding, plan, programs)
