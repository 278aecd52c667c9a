"""Uniform quantisers: grids of evenly spaced values, rounding to them, and its gradient.

A grid of b bits has 2^b codes, the integers ``low`` … ``high``; code c stands for
(c − zero)·step. ``zero`` is a code itself, so that 0 is always on the grid: zero padding and the
zeros behind a ReLU stay exact. Rounding is half to even, as in torch and in the released code.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.ops._derivatives import is_transformed

LEAST_BITS, MOST_BITS = 2, 8
SMALLEST_STEP = 1e-8  # of values that are all 0


def check_bits(name: str, bits: object) -> None:
    """Raise :class:`UsageError` unless ``bits`` is an integer from 2 to 8."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not LEAST_BITS <= bits <= MOST_BITS:
        raise UsageError(
            f"{name} must be an integer from {LEAST_BITS} to {MOST_BITS}; got {bits!r}"
        )


def round_straight(values: Tensor) -> Tensor:
    """Round half to even; derivatives are as if nothing had been rounded.

    x + (round(x) − x) without gradient would round twice: the sum is not always an integer.
    """
    return replace_straight(values, values.round())


def replace_straight(values: Tensor, replacement: Tensor) -> Tensor:
    """``replacement``, whose derivatives are those of ``values`` (same shape)."""
    function = _ReplaceInForwardMode if is_transformed() else _Replace
    replaced: Tensor = function.apply(values, replacement)
    return replaced


class _Replace(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, replacement: Tensor) -> Tensor:
        return replacement.view_as(replacement)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _ReplaceInForwardMode(_Replace):
    """A class of its own, as the compiler traces none that has a rule for forward mode."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return tangents[0].view_as(tangents[0])  # the output's must be no input's


@dataclass(frozen=True)
class Grid:
    """The values (c − zero)·step for the codes c = low … high.

    Attributes:
        step: positive, one element, or a shape that broadcasts against the values (one step per
            filter: [T, 1, 1, 1]).
        zero: the code of 0, whole numbers in floating point, shaped like ``step``.
        low, high: the first and the last code.
    """

    step: Tensor
    zero: Tensor
    low: int
    high: int

    def codes(self, values: Tensor) -> Tensor:
        """The nearest codes, whole numbers in the dtype of ``values``; what lies beyond is clamped.

        NaN stays NaN.
        """
        return (values / self.step + self.zero).clamp(self.low, self.high).round()

    def values(self, codes: Tensor) -> Tensor:
        """What the codes stand for."""
        return (codes - self.zero) * self.step

    def nearest(self, values: Tensor) -> Tensor:
        """The nearest values of the grid, without gradient of their own."""
        return self.values(self.codes(values))

    def straight(self, values: Tensor) -> Tensor:
        """:meth:`nearest` with a gradient: 1 between the ends of the grid, 0 beyond.

        Autograd gives the step the gradient of LSQ (Esser et al., ICLR 2020, eq. 3) where it is
        a trained parameter, without LSQ's own scale of it.
        """
        within = (values / self.step + self.zero).clamp(self.low, self.high)
        return self.values(round_straight(within))


def signed_codes(bits: int) -> tuple[int, int]:
    """−2^(b−1) … 2^(b−1) − 1."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def unsigned_codes(bits: int) -> tuple[int, int]:
    """0 … 2^b − 1."""
    return 0, 2**bits - 1


def range_grid(least: Tensor, greatest: Tensor, bits: int) -> Grid:
    """Unsigned codes over [``least``, ``greatest``], widened to hold 0."""
    low, high = unsigned_codes(bits)
    least, greatest = least.clamp_max(0), greatest.clamp_min(0)
    step = ((greatest - least) / high).clamp_min(SMALLEST_STEP)
    return Grid(step, (-least / step).round(), low, high)


def min_max_grid(values: Tensor, bits: int, *, per_filter: bool = False) -> Grid:
    """Unsigned codes from the smallest to the greatest of the values, or of each filter.

    Args:
        values: any shape, not empty; filters first where ``per_filter``.
    """
    return range_grid(*_ends(values.detach(), per_filter), bits)


def search_grid(
    values: Tensor,
    bits: int,
    *,
    per_filter: bool = False,
    ends: tuple[Tensor, Tensor] | None = None,
    power: float = 2.4,
    tries: int = 80,
) -> Grid:
    """:func:`min_max_grid` with the range shrunk to where Σ|error|^power is least.

    BRECQ's and QDrop's official code: ranges of 1.00, 0.99, … 0.21 times the full one, p = 2.4;
    the first of equals. Ranges hold 0, as in QDrop's code (BRECQ's need not).

    Args:
        ends: of the full range, least and greatest, if ``values`` is only a sample.
    """
    values = values.detach()
    least, greatest = ends or _ends(values, per_filter)
    best = range_grid(least, greatest, bits)
    kept = _error(values, best, per_filter, power)
    for percent in range(1, tries):
        share = 1 - percent / 100
        grid = range_grid(least * share, greatest * share, bits)
        error = _error(values, grid, per_filter, power)
        better = error < kept
        kept = torch.where(better, error, kept)
        step, zero = (
            torch.where(better, new, old)
            for new, old in ((grid.step, best.step), (grid.zero, best.zero))
        )
        best = Grid(step, zero, grid.low, grid.high)
    return best


def _ends(values: Tensor, per_filter: bool) -> tuple[Tensor, Tensor]:
    """Least and greatest, scalars or [T, 1, …]."""
    rows = values.flatten(1) if per_filter else values.reshape(1, -1)
    shape = (-1, *[1] * (values.dim() - 1)) if per_filter else ()
    return rows.amin(1).reshape(shape), rows.amax(1).reshape(shape)


def _error(values: Tensor, grid: Grid, per_filter: bool, power: float) -> Tensor:
    """Σ|error|^power in the shape of the grid's step."""
    powers = (grid.nearest(values) - values).abs().pow(power)
    return (powers.flatten(1).sum(1) if per_filter else powers.sum()).reshape(grid.step.shape)
