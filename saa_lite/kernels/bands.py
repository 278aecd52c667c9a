"""Bands of images: rows between which a kernel's window fits, padded, channels side by side.

A band is copied when its turn comes, into memory that stays in the processor's cache; images that
lie in memory as a band would are read where they lie. Memory is named by byte addresses (int64),
since views of arrays cost as much here as a small tile.

**Weights** are packed as tiles read them: blocks of lanes, the weights of one tap side by side.
They are packed anew in every call, inside the compiled kernel: it takes microseconds, and a cache
would have to notice every way in which a tensor can change.
"""

from typing import Any

import numpy as np

from saa_lite.kernels import plan as at
from saa_lite.kernels.adder_u8 import TAPS
from saa_lite.kernels.compile import compiled
from saa_lite.kernels.moves import (
    BYTES,
    FLOAT,
    LANES,
    copy_bytes,
    fill_bytes,
    interleave,
    move_run,
    sum_vectors,
    transpose_tile,
)

Array = Any


@compiled()
def new_bytes(count: int) -> Array:
    """Memory, undefined, with room to start at a multiple of 64 bytes."""
    return np.empty(count + BYTES, np.uint8)


@compiled()
def address_of(memory: Array) -> int:
    """Where :func:`new_bytes` starts: no vector then lies across two cache lines."""
    return -(-memory.ctypes.data // BYTES) * BYTES


@compiled()
def keep(memory: Array) -> int:
    """Call this behind the last use of an address: Numba frees what is not named again."""
    return memory.size


@compiled()
def load_band(image: int, value: int, plan: Array, first_row: int, rows: int, band: int) -> None:
    """Rows from ``first_row`` of an image that taps read into a band [rows, PITCH, C].

    Every byte is ``value`` where the image has no pixel, or a group of bytes fills no word.
    """
    height, width, pixel = plan[at.HEIGHT], plan[at.WIDTH], plan[at.PIXEL]
    left, columns = plan[at.LEFT], plan[at.PITCH]
    inside = min(width, columns - left)
    for r in range(rows):
        row, target = first_row + r, band + r * columns * pixel
        if row < 0 or row >= height:
            fill_bytes(target, value, columns * pixel)
            continue
        fill_bytes(target, value, left * pixel)
        fill_bytes(target + (left + inside) * pixel, value, (columns - left - inside) * pixel)
        target += left * pixel
        if plan[at.KIND] == at.WORDS:
            _load_words(image, value, plan, row, target)
        else:
            load_row(image, plan[at.PLANAR], plan[at.CHANNELS], height, row, width, target)


@compiled()
def load_row(
    image: int, planar: int, channels: int, height: int, row: int, width: int, target: int
) -> None:
    """One row of floats to [W, C]; the image is [C, H, W] if ``planar``, else [H, W, C]."""
    pixel = channels * FLOAT
    if planar:
        source = image + row * width * FLOAT
        transpose(source, height * width * FLOAT, channels, width, target, pixel)
    else:
        copy_bytes(image + row * width * pixel, target, width * pixel)


@compiled()
def _load_words(image: int, value: int, plan: Array, row: int, target: int) -> None:
    """One row of bytes to words, [W, groups, words]."""
    channels, width, pixel = plan[at.CHANNELS], plan[at.WIDTH], plan[at.PIXEL]
    groups = plan[at.GROUPS]
    run, part, plane = channels // groups, pixel // groups, plan[at.HEIGHT] * width
    if run < part:
        fill_bytes(target, value, width * pixel)
    if plan[at.PLANAR]:
        for group in range(groups):
            for c in range(0, run, TAPS):
                source = image + (group * run + c) * plane + row * width
                there = target + group * part + c
                interleave_row(source, plane, min(TAPS, run - c), width, there, pixel)
        return
    source = image + row * width * channels
    if run == part:  # nothing to fill up: a whole row at once
        run = part = width * channels
    for i in range(width * channels // run):
        copy_bytes(source + i * run, target + i * part, run)


@compiled()
def interleave_row(
    source: int, step: int, count: int, width: int, target: int, target_step: int
) -> None:
    """``width`` bytes from each of ``count`` ≤ 8 rows, ``step`` apart, to as many words."""
    if count == TAPS and width >= TAPS:
        for block in range(0, width, TAPS):
            column = min(block, width - TAPS)  # the last one goes back over columns already done
            interleave(source + column, step, target + column * target_step, target_step)
    else:
        for column in range(width):
            for c in range(count):
                copy_bytes(source + c * step + column, target + column * target_step + c, 1)


@compiled()
def store_band(image: int, plan: Array, first_row: int, band: int, rows: int) -> None:
    """A band [rows, W, C] into rows from ``first_row`` of a written image that is [C, H, W]."""
    channels, width = plan[at.RESULTS], plan[at.COLUMNS]
    plane = plan[at.ROWS] * width * FLOAT
    for r in range(rows):
        target = image + (first_row + r) * width * FLOAT
        source = band + r * width * channels * FLOAT
        transpose(source, channels * FLOAT, width, channels, target, plane)


@compiled()
def transpose(
    source: int, source_step: int, rows: int, columns: int, target: int, target_step: int
) -> None:
    """rows × columns floats, neighbours in a row side by side, to columns × rows."""
    for i in range(0, rows, LANES):
        for j in range(0, columns, LANES):
            transpose_tile(
                source + i * source_step + j * FLOAT, source_step,
                min(LANES, rows - i), min(LANES, columns - j),
                target + j * target_step + i * FLOAT, target_step,
            )  # fmt: skip


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
