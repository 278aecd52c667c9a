"""Weights as the vector kernels read them: blocks of sixteen lanes, lane by lane side by side.

They are packed anew in every call, inside the compiled kernel: it takes microseconds, and a cache
would have to notice every way in which a tensor can change.
"""

from typing import Any

import numpy as np

from saa_lite.ops import adder_plan as at
from saa_lite.ops._compile import compiled
from saa_lite.ops.bands import address_of, keep, new_floats, transpose
from saa_lite.ops.vector_ir import BYTES, FLOAT, LANES
from saa_lite.ops.vector_moves import gather_run, move_run

Array = Any


@compiled()
def blocks_of(lanes: int) -> int:
    """Blocks that hold ``lanes`` lanes."""
    return -(-lanes // LANES)


@compiled()
def pack_filters(w: int, plan: Array) -> Any:
    """Lanes are filters: [groups, blocks, kh, kw, C / groups, 16], and Σw [groups·blocks, 16].

    ``w``: address of [T, C / groups, kh, kw].
    """
    groups, area = plan[at.GROUPS], plan[at.KERNEL_ROWS] * plan[at.KERNEL_COLUMNS]
    per_group, run = plan[at.FILTERS] // groups, plan[at.CHANNELS] // groups
    taps, blocks = area * run, blocks_of(per_group)
    packed, turned = new_floats(groups * blocks * taps * LANES), new_floats(taps * LANES)
    sums = np.zeros((groups * blocks, LANES), np.float32)
    channel, tap = plan[at.CHANNEL_STEP] * BYTES, plan[at.TAP_STEP] * BYTES
    for index in range(groups * blocks):
        first = index % blocks * LANES
        source = w + (index // blocks * per_group + first) * taps * FLOAT
        lanes, total = min(LANES, per_group - first), sums[index].ctypes.data
        transpose(source, taps * FLOAT, lanes, taps, address_of(turned), BYTES)
        target = address_of(packed) + index * taps * BYTES
        for k in range(area):  # into the order of the input: channels nearest to each other
            here = address_of(turned) + k * tap
            move_run(here, lanes, channel, run, target + k * run * BYTES, total)
    keep(turned)
    return packed, sums


@compiled()
def pack_channels(w: int, plan: Array) -> Any:
    """Lanes are channels: [groups, blocks, kh, kw, T / groups, 16], the columns kw in reverse.

    In reverse, because windows that reach a pixel lie the other way round than its taps. Also sums
    over all taps, [groups·blocks, 16]: finite where all weights are, if they are of sensible size.
    """
    groups, rows, columns = plan[at.GROUPS], plan[at.KERNEL_ROWS], plan[at.KERNEL_COLUMNS]
    per_group, run = plan[at.CHANNELS] // groups, plan[at.FILTERS] // groups
    area, blocks = rows * columns, blocks_of(per_group)
    packed = new_floats(groups * blocks * area * run * LANES)
    sums = np.zeros((groups * blocks, LANES), np.float32)
    channel, tap = plan[at.CHANNEL_STEP] * FLOAT, plan[at.TAP_STEP] * FLOAT
    filter_ = per_group * area * FLOAT
    for index in range(groups * blocks):
        first = index % blocks * LANES
        source = w + index // blocks * run * filter_ + first * channel
        target = address_of(packed) + index * area * run * BYTES
        lanes, total = min(LANES, per_group - first), sums[index].ctypes.data
        for k in range(area):
            mirrored = k // columns * columns + columns - 1 - k % columns
            here, there = source + k * tap, target + mirrored * run * BYTES
            if channel == FLOAT:
                move_run(here, lanes, filter_, run, there, total)
            else:
                gather_run(here, channel, lanes, filter_, run, there, total)
    return packed, sums
