"""Weights as tiles read them: blocks of lanes, the weights of one tap side by side.

They are packed anew in every call, inside the compiled kernel: it takes microseconds, and a cache
would have to notice every way in which a tensor can change.
"""

from typing import Any

import numpy as np

from saa_lite.kernels import plan as at
from saa_lite.kernels.adder_u8 import TAPS
from saa_lite.kernels.bands import address_of, interleave_row, new_bytes, transpose
from saa_lite.kernels.compile import compiled
from saa_lite.kernels.moves import BYTES, FLOAT, fill_bytes, move_run, sum_vectors

Array = Any


@compiled()
def blocks_of(plan: Array) -> int:
    """Blocks that hold the results of a group."""
    return -(-(plan[at.RESULTS] // plan[at.GROUPS]) // plan[at.LANES])


@compiled()
def pack(w: int, value: int, plan: Array) -> Any:
    """Packed weights, [groups, blocks, WEIGHT_BYTES], and, where asked for, each lane's sum.

    ``w``: address of the weights; ``value``: that bytes beyond the channels of a group have.
    """
    groups, blocks, lanes = plan[at.GROUPS], blocks_of(plan), plan[at.LANES]
    per_group, size = plan[at.RESULTS] // groups, plan[at.WEIGHT_BYTES]
    packed = new_bytes(groups * blocks * size)
    sums = np.zeros((groups * blocks, lanes), np.float32)
    for index in range(groups * blocks):
        group, first = index // blocks, index % blocks * lanes
        target, used = address_of(packed) + index * size, min(lanes, per_group - first)
        if plan[at.KIND] == at.WORDS:
            _pack_words(w, value, plan, group * per_group + first, used, target)
        else:
            source = w + group * plan[at.GROUP_STEP] + first * plan[at.LANE_STEP]
            _pack_floats(source, plan, used, target)
            if plan[at.SUMMED] or plan[at.KIND] == at.CLIPPED:
                sum_vectors(target, size // BYTES, sums[index].ctypes.data)
    return packed, sums


@compiled()
def _pack_floats(source: int, plan: Array, used: int, target: int) -> None:
    """One block to [kh, kw, RUN, 16], taps in reverse where windows are looked at from a pixel.

    Whichever neighbours there are in memory are moved together: lanes, a run, or the taps.
    """
    area, run = plan[at.AREA], plan[at.RUN]
    lane, along, tap = plan[at.LANE_STEP], plan[at.RUN_STEP], plan[at.TAP_STEP]
    first, step = target, run * BYTES
    if plan[at.KIND] == at.CLIPPED:
        first, step = target + (area - 1) * step, -step
    if used < plan[at.LANES]:
        fill_bytes(target, 0, plan[at.WEIGHT_BYTES])
    if lane == FLOAT:
        for k in range(area):
            move_run(source + k * tap, along, used, run, first + k * step)
    elif along == FLOAT:
        for k in range(area):
            transpose(source + k * tap, lane, used, run, first + k * step, BYTES)
    else:
        for i in range(run):
            transpose(source + i * along, lane, used, area, first + i * BYTES, step)


@compiled()
def _pack_words(w: int, value: int, plan: Array, first: int, used: int, target: int) -> None:
    """One block of bytes [T, RUN, kh, kw] from a filter on, to [words, kh, kw, lanes]."""
    area, run, lanes = plan[at.AREA], plan[at.RUN], plan[at.LANES]
    fill_bytes(target, value, plan[at.WEIGHT_BYTES])
    for lane in range(used):
        source, there = w + (first + lane) * run * area, target + lane * TAPS
        for c in range(0, run, TAPS):
            to = there + c * area * lanes
            interleave_row(source + c * area, area, min(TAPS, run - c), area, to, lanes * TAPS)
