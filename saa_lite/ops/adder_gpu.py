"""When the Triton kernels run, and in which tiles: everything about them that needs no Triton."""

import functools
import math
import os
import subprocess
import warnings
from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.uint8)
LARGEST_INDEX = 1 << 30  # pixels and weights are counted in 32 bits, addresses in 64
TOLERATED = 1.5  # times the expected time, before a tile is worth seconds of compiling
LEAST_LINES = 16  # of output in one partial sum of a weight gradient
OLDEST = (8, 0)  # compute capability: Ampere

NOT_STARTED = (
    "the adder's GPU kernels are switched off, and torch's operations are in their place, because "
    "Triton could not start: it needs a C compiler (gcc or clang) and Python's header files"
)

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


def kernels(input: Tensor, weight: Tensor, output: Sequence[int]) -> ModuleType | None:
    """:mod:`~saa_lite.ops.adder_triton` where it applies, else None: plain torch operations.

    It applies on NVIDIA GPUs from Ampere on, where Triton is installed and works, to all tensors
    but float64, empty ones, and sizes beyond the 32-bit counters. ``SAA_TRITON=0`` in the
    environment switches it off.

    Args:
        output: its shape.
    """
    if not input.is_cuda or os.environ.get("SAA_TRITON") == "0":
        return None
    if torch.cuda.get_device_capability(input.device) < OLDEST:
        return None
    return _triton_module() if fits(input, weight, output) else None


@functools.cache
def _triton_module() -> ModuleType | None:
    if torch.version.cuda is None:
        return None
    try:
        from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton, which may be absent
    except ImportError:
        return None
    try:
        adder_triton.start()
    except (ImportError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        warnings.warn(f"{NOT_STARTED} ({type(error).__name__}: {error})", stacklevel=2)
        return None
    return adder_triton


def fits(input: Tensor, weight: Tensor, output: Sequence[int]) -> bool:
    """Whether the kernels take tensors of this dtype and these sizes."""
    pixels = max(batch * rows * columns for batch, _, rows, columns in (input.shape, output))
    empty = input.numel() == 0 or weight.numel() == 0
    small = max(pixels, 16 * weight.numel()) < LARGEST_INDEX  # lanes are padded, 16-fold at most
    return input.dtype in DTYPES and small and not empty


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
