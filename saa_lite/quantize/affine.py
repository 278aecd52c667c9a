"""Uniform codes with an offset: value = (code − zero)·step, code in 0 … 2^b − 1."""

from typing import NamedTuple

import torch
from torch import Tensor

POWER = 2.4  # of the error that a range is chosen by (LAPQ; BRECQ's and QDrop's released code)
SHRINKS = 80  # ranges tried: 100 %, 99 %, … 21 % of the full one (BRECQ's released code)
SMALLEST = 1e-8  # step of values that are all 0


class Grid(NamedTuple):
    """Step and offset, each [T, 1] or a scalar; the offset is a whole number, itself a code."""

    step: Tensor
    zero: Tensor


def encode(values: Tensor, grid: Grid, bits: int) -> Tensor:
    """Nearest codes, as floats."""
    return (torch.round(values / grid.step) + grid.zero).clamp(0, 2**bits - 1)


def decode(codes: Tensor, grid: Grid) -> Tensor:
    return (codes - grid.zero) * grid.step


def grid_between(low: Tensor, high: Tensor, bits: int) -> Grid:
    """The grid from ``low`` ≤ 0 to ``high`` ≥ 0, moved so that 0 is a code."""
    step = ((high - low) / (2**bits - 1)).clamp_min(SMALLEST)
    return Grid(step, torch.round(-low / step))


@torch.no_grad()
def search_grid(
    rows: Tensor, bits: int, low: Tensor | None = None, high: Tensor | None = None
) -> Grid:
    """For each row of ``rows`` [T, n] the grid of the least mean |error|^2.4, each [T, 1].

    The ranges tried are shrunken copies of [min, max], widened to hold 0 (as QDrop's code does;
    BRECQ's does not), so that zeros and padding stay exact.

    Args:
        low, high: ends of the full range [T, 1], if ``rows`` is only a sample.
    """
    low = (rows.amin(1, keepdim=True) if low is None else low).clamp_max(0)
    high = (rows.amax(1, keepdim=True) if high is None else high).clamp_min(0)
    best = grid_between(low, high, bits)
    least = _error(rows, best, bits)
    for i in range(1, SHRINKS):
        kept = 1 - 0.01 * i
        grid = grid_between(low * kept, high * kept, bits)
        error = _error(rows, grid, bits)
        better = error < least
        best = Grid(*(torch.where(better, new, old) for new, old in zip(grid, best, strict=True)))
        least = torch.where(better, error, least)
    return best


def _error(rows: Tensor, grid: Grid, bits: int) -> Tensor:
    """[T, 1]."""
    deviation = decode(encode(rows, grid, bits), grid) - rows
    return deviation.abs().pow(POWER).mean(1, keepdim=True)
