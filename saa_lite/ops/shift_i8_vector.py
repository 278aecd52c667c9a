"""The int8 shift convolution on a CPU, 64 lanes at a time: shifts, additions, subtractions.

A task is one group of 64 lanes (see :mod:`.shift_i8_plan`) and some filters: it packs its input,
then runs these filters' programs over every tile of pixels and writes the sums where they belong.
Channels go in blocks that fit the first-level cache under a tile; a few filters at a time pass
over all blocks, so that their sums stay in the cache too.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.ops._compile import compiled
from saa_lite.ops.shift_i8_pack import (
    clear_sides,
    find_kinds,
    in_range,
    pack_band,
    sort_taps,
    steps_of,
    write_steps,
)
from saa_lite.ops.shift_i8_plan import Plan
from saa_lite.ops.shift_ir import LANES, LINE, PIXELS, SUMS, clear_bytes, gather, tile

Array = Any
TOGETHER = 16  # filters whose programs one task writes
LONGEST = 16  # run of integers that is written at once


@compiled(error_model="numpy")
def _aligned(size: int) -> Array:
    """So many bytes from a 64-byte boundary on, as lines."""
    memory = np.empty(size + LINE, np.int8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].reshape((size // LINE, LINE))


@compiled(error_model="numpy")
def _add_filters(
    at: int, first: int, count: int, programs: Any, plan: Plan, y: int, step: int
) -> None:
    """Filters first … first + count − 1 at one tile, whose first line is at ``at``.

    ``y``: address of the sums of the first one, and bytes to the next one's.
    """
    kinds, taps, steps, ends = programs
    per_group, channels = plan.filters // plan.groups, plan.offsets.shape[0]
    in_block = plan.block * (plan.taps // channels)
    taps_at, steps_at, quads = taps.ctypes.data, steps.ctypes.data, plan.quads.ctypes.data
    blocks = ends.shape[1]
    for block in range(blocks):
        for i in range(count):
            t = first + i
            x = at + (t // per_group * channels + block * plan.block) * plan.channel
            tile(
                x, quads, steps_at + (t * blocks + block) * 8 * steps.shape[2], ends[t, block],
                taps_at + 4 * (t * taps.shape[1] + block * in_block), y + i * step,
            )  # fmt: skip


@compiled(error_model="numpy")
def _write(
    sums: Array, runs: Array, first: int, count: int, lanes: Array, plan: Plan, y: Array
) -> None:
    """Sums of a patch to their output; ``lanes``: addresses of each lane's first output row."""
    source, step = sums.ctypes.data, sums.shape[1]
    filters = np.minimum(np.arange(LONGEST), count - 1) * step
    for lane in range(0, LANES, LONGEST):
        at, to = source + 4 * lane, lanes[lane:].ctypes.data
        for run in runs:
            pixel, pixels, offsets = run[0], run[1], run[2:]
            if plan.channels_last:
                for i in range(pixels):
                    target = 4 * ((pixel + i) * plan.filters + first)
                    gather(at + offsets[i], filters.ctypes.data, to, target, count)
            elif pixels:
                plane = y.shape[2] * y.shape[3]
                for f in range(count):
                    target = 4 * ((first + f) * plane + pixel)
                    gather(at + f * step, offsets.ctypes.data, to, target, pixels)


@compiled(error_model="numpy")
def _task(
    x: Array, y: Array, index: int, parts: int, padding: int, plan: Plan, programs: Any
) -> None:
    """One of ``parts`` equal parts of the filters for one group of lanes."""
    group, part = index // parts, index % parts
    lanes = plan.lanes[group * LANES : group * LANES + LANES]
    lines = _aligned(plan.channels * plan.channel)
    clear_sides(plan, lines)
    pack_band(x, lanes, plan, padding, lines)
    addresses = np.empty(LANES, np.int64)
    line = 4 * (y.shape[2] * y.shape[3] if plan.channels_last else y.shape[3])
    for lane in range(LANES):
        addresses[lane] = y[lanes[lane, 0]].ctypes.data + lanes[lane, 1] * line
    first, last = part * plan.filters // parts, (part + 1) * plan.filters // parts
    _patches(lines, first, last, addresses, y, plan, programs)


@compiled(error_model="numpy")
def _patches(
    lines: Array, first: int, last: int, addresses: Array, y: Array, plan: Plan, programs: Any
) -> None:
    """Filters first … last − 1 at all tiles; ``addresses``: of each lane's first output row."""
    step = plan.patch * PIXELS * SUMS + 2 * LINE
    sums = _aligned(plan.chunk * step).reshape((plan.chunk, step))
    for patch in range(len(plan.runs)):
        tiles = plan.tiles[patch * plan.patch : (patch + 1) * plan.patch]
        for t in range(first, last, plan.chunk):
            count = min(plan.chunk, last - t)
            clear_bytes(sums.ctypes.data, count * step)
            for i in range(len(tiles)):
                row = tiles[i, 0] * plan.row_step * plan.row
                at = lines.ctypes.data + row + tiles[i, 1] * LINE
                target = sums.ctypes.data + i * PIXELS * SUMS
                _add_filters(at, t, count, programs, plan, target, step)
            _write(sums, plan.runs[patch], t, count, addresses, plan, y)


@compiled(error_model="numpy")
def _empty_programs(plan: Plan, smallest: int) -> Any:
    """Kinds and sorted offsets of all taps; steps of each filter and block, and how many."""
    blocks = -(-plan.offsets.shape[0] // plan.block)
    in_block = plan.block * (plan.taps // plan.offsets.shape[0])
    return (
        np.empty((plan.filters, plan.taps), np.uint8),
        np.empty((plan.filters, plan.taps + 2), np.int32),
        np.empty((plan.filters, blocks, steps_of(in_block, smallest)), np.int64),
        np.empty((plan.filters, blocks), np.int64),
    )


@compiled(error_model="numpy")
def _write_programs(
    filters: slice, shift: Array, sign: Array, smallest: int, plan: Plan, programs: Any,
    found: Array,
) -> None:  # fmt: skip
    """The programs of some filters; found[t]: Σ2^(p − pmin), or −1 if a code is out of range."""
    kinds, taps, steps, ends = programs
    found[filters] = -1
    if not in_range(shift[filters].reshape(-1), sign[filters].reshape(-1), smallest):
        return
    found[filters] = 0
    some = kinds[filters].reshape(-1)
    find_kinds(shift[filters].reshape(-1), sign[filters].reshape(-1), 1 - smallest, some)
    scratch = np.empty((2, 4 * (1 - smallest)), np.uint32)
    in_block = plan.block * (plan.taps // plan.offsets.shape[0])
    offsets = plan.offsets.reshape(plan.offsets.size)
    for t in range(filters.start, filters.stop):
        for block in range(ends.shape[1]):
            part = slice(block * in_block, min(plan.taps, (block + 1) * in_block))
            sort_taps(kinds[t, part], offsets[part], taps[t, part], scratch[0], scratch[1])
            ends[t, block], units = write_steps(scratch[0], smallest, steps[t, block])
            found[t] += units


@compiled(nogil=True)
def shift_i8_serial(
    x: Array, shift: Array, sign: Array, y: Array, padding: int, smallest: int, plan: Plan,
    parts: int, most: int, found: Array,
) -> None:  # fmt: skip
    """Y = Σ sign·(x << (p − pmin)) on the calling thread.

    x: int8, the bytes of the images; shift, sign: int8 [T, taps]; y: int32 [B, T, H', W'], or with
    the channels last [B, H', W', T]; padding: rows. A task takes one of ``parts`` of the filters.
    found: int64 [T], Σ2^(p − pmin) of each filter, or −1 where a code is out of range; one that is,
    or a sum above ``most``, leaves y as it was.
    """
    programs = _empty_programs(plan, smallest)
    _write_programs(slice(0, plan.filters), shift, sign, smallest, plan, programs, found)
    if found.min() >= 0 and found.max() <= most:
        for index in range(parts * (len(plan.lanes) // LANES)):
            _task(x, y, index, parts, padding, plan, programs)


@compiled(nogil=True, parallel=True)
def shift_i8_parallel(
    x: Array, shift: Array, sign: Array, y: Array, padding: int, smallest: int, plan: Plan,
    parts: int, most: int, found: Array,
) -> None:  # fmt: skip
    """As :func:`shift_i8_serial`, tasks shared out among threads; the same bits."""
    programs = _empty_programs(plan, smallest)
    for i in prange(-(-plan.filters // TOGETHER)):
        first = np.int64(i) * TOGETHER  # prange counts in uint64
        filters = slice(first, min(plan.filters, first + TOGETHER))
        _write_programs(filters, shift, sign, smallest, plan, programs, found)
    if found.min() >= 0 and found.max() <= most:
        for index in prange(parts * (len(plan.lanes) // LANES)):
            _task(x, y, np.int64(index), parts, padding, plan, programs)
