"""The int8 shift convolution on a CPU, 64 lanes at a time: shifts, additions, subtractions.

A task is one group of 64 lanes (see :mod:`.shift_i8_plan`) and some filters: it packs its input,
then runs these filters' programs over every tile of pixels and writes the sums where they belong.
Channels go in blocks that fit the first-level cache under a tile; a few filters at a time pass
over all blocks, so that their sums stay in the cache too.
"""

from typing import Any

import numpy as np
from numba import carray, prange

from saa_lite.ops._compile import compiled, drivers
from saa_lite.ops.shift_i8_pack import (
    clear_sides,
    find_kinds,
    in_range,
    pack_band,
    sort_taps,
    steps_of,
    write_steps,
)
from saa_lite.ops.shift_i8_plan import Plan, plan_from
from saa_lite.ops.shift_ir import (
    LANES,
    LINE,
    PIXELS,
    SUMS,
    bytes_at,
    gather,
    tile,
)
from saa_lite.ops.vector_moves import clear_bytes

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
    _, taps, steps, ends = programs
    per_group, channels = plan.filters // plan.groups, plan.channels // plan.groups
    in_block = plan.block * plan.kernel
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
def _write(sums: Array, runs: Array, first: int, count: int, lanes: Array, plan: Plan) -> None:
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
                for f in range(count):
                    target = 4 * ((first + f) * plan.area + pixel)
                    gather(at + f * step, offsets.ctypes.data, to, target, pixels)


@compiled(error_model="numpy")
def _task(x: int, y: int, index: int, parts: int, programs: Any, arrays: Any) -> None:
    """One of ``parts`` equal parts of the filters for one group of lanes; addresses x and y."""
    plan = plan_from(*arrays)
    group, part = index // parts, index % parts
    lanes = plan.lanes[group * LANES : group * LANES + LANES]
    lines = _aligned(plan.channels * plan.channel)
    clear_sides(plan, lines)
    pack_band(x, lanes, plan, lines)
    addresses = np.empty(LANES, np.int64)
    line = plan.output_width * (plan.filters if plan.channels_last else 1)
    for lane in range(LANES):
        origin = lanes[lane, 0] * plan.area * plan.filters + lanes[lane, 1] * line
        addresses[lane] = y + 4 * origin
    first, last = part * plan.filters // parts, (part + 1) * plan.filters // parts
    _patches(lines, first, last, addresses, plan, programs)


@compiled(error_model="numpy")
def _patches(
    lines: Array, first: int, last: int, addresses: Array, plan: Plan, programs: Any
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
            _write(sums, plan.runs[patch], t, count, addresses, plan)


@compiled(error_model="numpy")
def _empty_programs(smallest: int, arrays: Any) -> Any:
    """Kinds and sorted offsets of all taps; steps of each filter and block, and how many."""
    plan = plan_from(*arrays)
    taps = plan.offsets.size
    blocks = -(-taps // (plan.block * plan.kernel))
    return (
        np.empty((plan.filters, taps), np.uint8),
        np.empty((plan.filters, taps + 2), np.int32),
        np.empty((plan.filters, blocks, steps_of(plan.block * plan.kernel, smallest)), np.int64),
        np.empty((plan.filters, blocks), np.int64),
    )


@compiled(error_model="numpy")
def _write_programs(
    first: int, last: int, shift: Array, sign: Array, smallest: int, programs: Any, found: Array,
    arrays: Any,
) -> None:  # fmt: skip
    """The programs of filters first … last − 1, and their ``found``."""
    plan = plan_from(*arrays)
    kinds, taps, steps, ends = programs
    found[first:last] = -1
    p, s = shift[first:last].reshape(-1), sign[first:last].reshape(-1)
    if not in_range(p, s, smallest):
        return
    found[first:last] = 0
    find_kinds(p, s, 1 - smallest, kinds[first:last].reshape(-1))
    scratch = np.empty((2, 4 * (1 - smallest)), np.uint32)
    in_block = plan.block * plan.kernel
    for t in range(first, last):
        for block in range(ends.shape[1]):
            part = slice(block * in_block, min(plan.offsets.size, (block + 1) * in_block))
            sort_taps(kinds[t, part], plan.offsets[part], taps[t, part], scratch[0], scratch[1])
            ends[t, block], units = write_steps(scratch[0], smallest, steps[t, block])
            found[t] += units


@compiled(error_model="numpy")
def _codes(shift: int, sign: int, arrays: Any) -> Any:
    """The codes at two addresses as int8 [T, C/groups·kh·kw]."""
    plan = plan_from(*arrays)
    shape = (plan.filters, plan.offsets.size)
    return carray(bytes_at(shift), shape), carray(bytes_at(sign), shape)


@drivers(nogil=True)
def shift_i8(
    x: int, shift: int, sign: int, y: int, smallest: int, parts: int, most: int, *arrays: Array
) -> bool:
    """Y = Σ sign·(x << (p − pmin)); the same bits on one thread and on many, which share out tasks.

    Addresses, which cost a call less than arrays do: x int8 [B, C, H, W] and y int32 [B, T, H',
    W'], or both with the channels last; shift, sign int8 [T, C/groups, kh, kw]. A task takes one
    of ``parts`` of the filters. ``arrays``: :func:`.shift_i8_plan.plan_arrays`.

    Returns:
        Whether all codes are in range, and Σ2^(p − pmin) of no filter is above ``most``; if not,
        y is as it was.
    """
    p, s = _codes(shift, sign, arrays)
    programs, found = _empty_programs(smallest, arrays), np.empty(len(p), np.int64)
    for i in prange(-(-len(p) // TOGETHER)):
        first = np.int64(i) * TOGETHER  # prange counts in uint64
        last = min(len(p), first + TOGETHER)
        _write_programs(first, last, p, s, smallest, programs, found, arrays)
    if found.min() < 0 or found.max() > most:
        return False
    for index in prange(parts * (len(arrays[1]) // LANES)):
        _task(x, y, np.int64(index), parts, programs, arrays)
    return True
