"""Walking over images in explicit vectors: the adder's forward pass, its input gradient, its bytes.

A task is a band of rows of one image. Within it a block of results stays put while tiles of a few
pixels pass, so that a block's weights stay in the nearest cache. Which tile runs where is written
in the plan (:mod:`.plan`); sums run in the order of the taps, one accumulator for each result,
whatever the thread count.
"""

from typing import Any

import numpy as np
from numba import prange

from saa_lite.kernels import plan as at
from saa_lite.kernels.bands import (
    address_of,
    blocks_of,
    keep,
    load_band,
    load_row,
    new_bytes,
    pack,
    store_band,
)
from saa_lite.kernels.compile import compiled, drivers
from saa_lite.kernels.moves import (
    BYTES,
    FLOAT,
    LANES,
    add_run,
    call,
    copy_bytes,
    fill_bytes,
    sum_runs,
)

Array = Any


@compiled()
def _patch_sums(band: int, plan: Array, seen: int, rows: int, scratch: int) -> int:
    """Σx of every patch, for a corner at every column of a band: address of [rows, PITCH].

    ``band``: address of the group's first channel. Where a row is too short for a patch, the sums
    hold nothing of use.
    """
    columns, pixel = plan[at.PITCH], plan[at.PIXEL]
    row, pixels = columns * FLOAT, seen * columns
    for i in range(0, pixels, LANES):  # of a group's channels, for every pixel
        count = min(LANES, pixels - i)
        sum_runs(band + i * pixel, pixel, plan[at.RUN], count, scratch + i * FLOAT)
    down = scratch + pixels * FLOAT
    result = down + rows * row
    for r in range(rows):
        first = scratch + r * plan[at.STRIDE_ROWS] * row
        copy_bytes(first, down + r * row, row)
        for kh in range(1, plan[at.KERNEL_ROWS]):
            add_run(first + kh * plan[at.DILATION_ROWS] * row, down + r * row, columns)
    copy_bytes(down, result, rows * row)
    for kw in range(1, plan[at.KERNEL_COLUMNS]):
        shift = kw * plan[at.DILATION_COLUMNS]
        add_run(down + shift * FLOAT, result, rows * columns - shift)
    return result


@compiled()
def _cover(
    band: int, own: int, result: int, weights: int, sums: int, first: int, rows: int, plan: Array
) -> None:
    """The results of one group in ``rows`` rows, of which ``first`` is the entry in ROW_TABLE.

    Addresses: of the band, of the pixels' own numbers and of the results, all at the group's first
    channel; of the group's packed weights and their sums.
    """
    blocks, lanes, together = blocks_of(plan), plan[at.LANES], plan[at.TOGETHER]
    per_group = plan[at.RESULTS] // plan[at.GROUPS]
    taps = plan.ctypes.data + plan[at.TAP_TABLE] * at.NUMBER
    for chunk in range(-(-rows // together) * blocks):
        block, begin = chunk % blocks, chunk // blocks * together
        w, w_sum = weights + block * plan[at.WEIGHT_BYTES], sums + block * BYTES
        mine, there = own + block * plan[at.OWN_BLOCK], result + block * lanes * FLOAT
        used, last = min(lanes, per_group - block * lanes), block == blocks - 1
        here = plan[at.ROW_TABLE] + (first + begin) * at.ROW + last
        until = here + min(together, rows - begin) * at.ROW
        for index in range(plan[here], plan[until]):
            c = plan[at.CALL_TABLE] + index * at.CALL
            patch = band + plan[c + 1], plan[at.STEP], taps + plan[c + 4], plan[c + 5]
            ours = w, w_sum, mine + plan[c + 2], plan[at.OWN_STEP]
            out = there + plan[c + 3], plan[at.OUT_STEP], plan[c + 6], used
            call(plan[c], (*patch, *ours, *out))


@compiled()
def _bands(
    source: int, own: int, packed: Array, sums: Array, target: int, value: int, plan: Array,
    first_task: int, last_task: int,
) -> None:  # fmt: skip
    """Tasks ``first_task`` … ``last_task`` − 1, one after the other in the same memory."""
    planar, direct = plan[at.PLANAR] == 1, plan[at.DIRECT] == 1
    backward, groups, bands = plan[at.KIND] == at.CLIPPED, plan[at.GROUPS], plan[at.BANDS]
    width, rows_in, columns = plan[at.WIDTH], plan[at.ROWS], plan[at.COLUMNS]
    line, most = columns * plan[at.RESULTS] * FLOAT, plan[at.MOST]
    number = 1 if plan[at.KIND] == at.WORDS else FLOAT
    image = plan[at.CHANNELS] * plan[at.HEIGHT] * width * number
    band = new_bytes(0 if direct else plan[at.SEEN] * plan[at.PITCH] * plan[at.PIXEL])
    mine = new_bytes(most * line if planar and backward else 0)
    out = new_bytes(most * line if planar else 0)
    summed = plan[at.SEEN] + 2 * most if plan[at.SUMMED] else 0
    scratch = new_bytes(summed * plan[at.PITCH] * FLOAT)
    blocks, per_group = blocks_of(plan), plan[at.RESULTS] // groups * FLOAT
    of_group = blocks * plan[at.WEIGHT_BYTES]
    for task in range(first_task, last_task):
        entry = plan[at.BAND_TABLE] + task % bands * at.BAND
        begin, rows, top, seen = plan[entry], plan[entry + 1], plan[entry + 2], plan[entry + 3]
        here, written = source + task // bands * image, task // bands * rows_in * line
        start, ours, result = address_of(band), address_of(mine), address_of(out)
        if direct:
            start = here + top * width * plan[at.PIXEL]
        else:
            load_band(here, value, plan, top, seen, start)
        if not planar:
            ours, result = own + written + begin * line, target + written + begin * line
        elif backward:
            for r in range(rows):
                row = begin + r
                load_row(own + written, 1, plan[at.RESULTS], rows_in, row, columns, ours + r * line)
        if plan[at.BARE]:
            fill_bytes(result, 0, rows * line)
        for group in range(groups):
            patch, numbers = start + group * (plan[at.PIXEL] // groups), ours + group * per_group
            if plan[at.SUMMED]:
                numbers = _patch_sums(patch, plan, seen, rows, address_of(scratch))
            weights, w_sum = address_of(packed) + group * of_group, sums[group * blocks].ctypes.data
            there = result + group * per_group
            _cover(patch, numbers, there, weights, w_sum, plan[entry + 4], rows, plan)
        if planar:
            store_band(target + written, plan, begin, result, rows)
    keep(band)
    keep(mine)
    keep(out)
    keep(scratch)


@drivers(nogil=True)
def sweep(source: int, own: int, w: int, target: int, value: int, plan: Array) -> bool:
    """Write all images; the same bits on one thread and on many, which share out the bands.

    Addresses: of the images that taps read, of the images that are written's own numbers (of the
    input, for its gradient), of the weights and of the images to write, none of them empty and all
    in one layout. ``value``: what bytes beyond the images hold (floats: 0).

    Returns:
        False, and nothing done, where an input gradient's weights do not add up: a padded gradient
        of 0 would meet an infinite or NaN tap, and make a NaN that the equation does not have.
    """
    packed, sums = pack(w, value, plan)
    if plan[at.KIND] == at.CLIPPED and not np.isfinite(sums.sum()):
        return False
    tasks, parts = plan[at.IMAGES] * plan[at.BANDS], plan[at.PARTS]
    for index in prange(parts):
        part = np.int64(index)  # prange counts in uint64, which with int64 becomes a float
        begin, end = part * tasks // parts, (part + 1) * tasks // parts
        _bands(source, own, packed, sums, target, value, plan, begin, end)
    return True
