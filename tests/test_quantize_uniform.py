"""Grids, rounding with straight-through gradients, and the search of a range."""

import pytest
import torch

from saa_lite.errors import UsageError
from saa_lite.quantize.uniform import (
    Grid,
    check_bits,
    min_max_grid,
    replace_straight,
    round_straight,
    search_grid,
)


def samples() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, 3, 3, generator=generator) ** 3  # long tails


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("per_filter", [False, True])
def test_min_max_grid_reaches_every_value(bits: int, per_filter: bool) -> None:
    values = samples()
    grid = min_max_grid(values, bits, per_filter=per_filter)
    assert ((grid.nearest(values) - values).abs() <= 0.5 * grid.step * (1 + 1e-4)).all()
    assert torch.equal(grid.nearest(torch.zeros_like(values)), torch.zeros_like(values))
    codes = grid.codes(values)
    assert codes.min() == 0
    assert codes.max() == 2**bits - 1
    assert torch.equal(grid.codes(grid.values(codes)), codes)


def test_searched_range_errs_less() -> None:
    values = samples()
    for per_filter in (False, True):
        errors = [
            (make(values, 3, per_filter=per_filter).nearest(values) - values).abs() ** 2.4
            for make in (search_grid, min_max_grid)
        ]
        searched, full = (error.flatten(1).sum(1) for error in errors)
        assert searched.sum() < 0.98 * full.sum()
        if per_filter:
            assert (searched <= full).all()


def test_values_that_are_all_zero_have_a_grid() -> None:
    for make in (min_max_grid, search_grid):
        assert torch.equal(make(torch.zeros(4), 4).nearest(torch.zeros(4)), torch.zeros(4))


def test_straight_gradient_stops_at_the_clamp() -> None:
    grid = Grid(torch.tensor(0.5), torch.tensor(1.0), 0, 3)  # −0.5, 0, 0.5, 1
    x = torch.tensor([-2.0, -0.4, 0.3, 0.9, 2.0], requires_grad=True)
    y = grid.straight(x)
    assert torch.equal(y, grid.nearest(x))
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_step_gets_the_gradient_of_lsq() -> None:
    """Esser et al. (2020), eq. 3: round(x/s) − x/s within the grid, its ends beyond."""
    x, step = torch.tensor([0.26, 0.7, 5.0, -5.0]), torch.tensor(0.2, requires_grad=True)
    grid = Grid(step, torch.tensor(0.0), -4, 3)
    for value, expected in zip(x, (1 - 1.3, 3.0, 3.0, -4.0), strict=True):
        (gradient,) = torch.autograd.grad(grid.straight(value), step)
        assert gradient.item() == pytest.approx(expected, abs=1e-5)


def test_straight_rounding_and_replacement() -> None:
    x = torch.tensor([0.5, 1.5, -0.2], requires_grad=True)
    y = round_straight(x)
    assert y.tolist() == [0, 2, 0]
    (3 * y).sum().backward()
    assert x.grad.tolist() == [3, 3, 3]
    other = torch.tensor([7.0, 8.0, 9.0])
    z = replace_straight(x, other)
    assert torch.equal(z, other)
    assert torch.autograd.grad(z.sum(), x)[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("bits", [1, 9, 4.0, True, "4", None])
def test_bits_out_of_range(bits: object) -> None:
    with pytest.raises(UsageError, match="bits must be an integer from 2 to 8; got"):
        check_bits("bits", bits)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_forward_mode_is_straight_through_as_well() -> None:
    """1 between the ends of the grid, 0 beyond, as in reverse mode; rounding is not seen."""
    grid = Grid(torch.tensor(0.5), torch.tensor(0.0), -2, 1)
    x, along = torch.tensor([-1.3, -0.6, 0.1, 0.7]), torch.tensor([2.0, 3.0, 4.0, 5.0])
    values, slopes = torch.func.jvp(grid.straight, (x,), (along,))
    assert values.tolist() == [-1, -0.5, 0, 0.5]
    assert slopes.tolist() == [0, 3, 4, 0]
    latent = torch.tensor([1.5, 2.5])
    _, slope = torch.func.jvp(lambda w: replace_straight(w, w * 0) * w, (latent,), (latent,))
    assert slope.tolist() == [1.5**2, 2.5**2]
