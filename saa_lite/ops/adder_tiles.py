"""Which tile of the Triton kernels covers a task soonest, worked out without Triton or a GPU."""

import functools
import math
from collections import defaultdict
from typing import NamedTuple

TOLERATED = 1.5  # times the expected time, before a tile is worth seconds of compiling
LEAST_LINES = 16  # of output in one partial sum of a weight gradient

# Per task and TM, from the code compiled for sm_90: instructions that a warp issues for 4 channels,
# and blocks resident on a multiprocessor. Larger tiles of narrow groups spill registers. A load
# that misses L1 takes about 300 cycles.
COST = {
    "forward": {8: (579, 2), 4: (302, 4), 2: (165, 7)},
    "gradient": {4: (329, 3), 2: (173, 4)},
    "narrow forward": {2: (444, 8)},
    "narrow gradient": {2: (920, 3)},
}
LATENCY = 300
THREADS = 128


class Tile(NamedTuple):
    """One block's share of the output: TM·PM pixels × TN·PN·4 filters, PM·PN = 128 threads."""

    TM: int
    TN: int
    PM: int
    PN: int

    @property
    def filters(self) -> int:
        return self.TN * self.PN * 4

    def blocks(self, pixels: int, filters: int) -> tuple[int, int]:
        """How many tiles cover the pixels and the filters."""
        return -(-pixels // (self.TM * self.PM)), -(-filters // self.filters)


_IN_USE = defaultdict[tuple[int, str], list[Tile]](list)  # by PN and task: compiled, or about to be


@functools.lru_cache(1024)
def choose_tile(pixels: int, filters: int, groups: int, multiprocessors: int, task: str) -> Tile:
    """The tile with the least expected time, by counting issued instructions and latency.

    Larger tiles issue fewer instructions per |x − w|, smaller ones fill more multiprocessors.
    All add in the same order, so the choice changes no result. A tile in use stays so for other
    numbers of pixels unless it is expected to take ``TOLERATED`` times as long: a training does
    not stop to compile for the short batch at the end of an epoch.

    Args:
        pixels: output pixels of all images, input pixels for gradients.
        filters: per group; channels per group for gradients; of all groups if these are narrow.
        task: of ``COST``.
    """
    cost, found = COST[task], tiles(filters, task)

    def cycles(tile: Tile) -> int:
        issued, resident = cost[tile.TM]
        share = -(-math.prod(tile.blocks(pixels, filters)) * groups // multiprocessors)
        at_once = min(share, resident)
        return -(-share // at_once) * max(at_once * issued, issued + LATENCY)

    best = min(found, key=cycles)
    in_use = _IN_USE[best.PN, task]
    near = [tile for tile in in_use if cycles(tile) <= TOLERATED * cycles(best)]
    if not near:
        in_use.append(best)
    return min(near or [best], key=cycles)


def tiles(filters: int, task: str) -> list[Tile]:
    """All tiles of a task, as wide as wastes the fewest lanes."""
    PN = min((8, 4, 2), key=lambda width: -(-filters // (8 * width)) * width)
    return [Tile(TM, 2, THREADS // PN, PN) for TM in COST[task]]


def weight_tile(taps: int, filters: int) -> Tile:
    """The tile of a weight gradient, taps × filters, that leaves the fewest lanes without work."""
    found = [Tile(TM, 2, THREADS // PN, PN) for TM in (4, 2) for PN in (8, 4, 2)]
    return min(found, key=lambda tile: math.prod(tile.blocks(taps, filters)) * tile.TM)


def choose_chunks(lines: int, tiles: int, multiprocessors: int) -> int:
    """Partial sums over lines of output: enough programs for the GPU, enough work for each."""
    wanted = -(-4 * multiprocessors // tiles)
    return max(1, min(wanted, lines // LEAST_LINES))
