"""Grids, soft rounding, learned steps: each part alone."""

import pytest
import torch
from torch import Tensor

from saa_lite.quantize.quantizers import (
    InputQuantizer,
    InputSample,
    WeightQuantizer,
    annealed_beta,
    inverse_rectified_sigmoid,
    rectified_sigmoid,
    regulariser,
)
from saa_lite.quantize.uniform import Grid, range_grid, search_grid, unsigned_codes


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def powered_error(rows: Tensor, grid: Grid) -> Tensor:
    return (grid.nearest(rows) - rows).abs().pow(2.4).sum(1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_searched_grid_is_the_best_of_the_shrunken_ranges(bits: int) -> None:
    rows = torch.randn(5, 200)
    found = powered_error(rows, search_grid(rows, bits, per_filter=True))
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    tried = [
        powered_error(rows, range_grid(low * (1 - i / 100), high * (1 - i / 100), bits))
        for i in range(80)
    ]
    torch.testing.assert_close(found, torch.stack(tried).amin(0))
    assert bits == 8 or (found < tried[0]).all()  # some clipping pays at few bits


@pytest.mark.parametrize(
    "rows", [torch.rand(3, 50) + 1, -torch.rand(3, 50) - 1, torch.randn(3, 50)]
)
def test_zero_is_always_a_code(rows: Tensor) -> None:
    grid = search_grid(rows, 3, per_filter=True)
    assert ((grid.zero >= 0) & (grid.zero <= 7)).all()
    assert (grid.nearest(torch.zeros_like(rows)) == 0).all()


def test_constant_rows_do_not_divide_by_zero() -> None:
    grid = search_grid(torch.zeros(2, 4), 4, per_filter=True)
    assert torch.equal(grid.nearest(torch.zeros(2, 4)), torch.zeros(2, 4))


def test_range_of_a_sample_can_be_given() -> None:
    """A uniform distribution is best covered in full, of which the sample knows a half."""
    sample = torch.linspace(0, 1, 1000)
    ends = torch.tensor(0.0), torch.tensor(2.0)
    alone, given = search_grid(sample, 4), search_grid(sample, 4, ends=ends)
    assert float(alone.step) == pytest.approx(1 / 15, rel=0.05)
    assert float(given.step) == pytest.approx(1 / 15, rel=0.1)  # found by shrinking
    assert float(search_grid(sample, 4, ends=ends, tries=1).step) == pytest.approx(2 / 15)


def test_rectified_sigmoid_reaches_both_ends_and_inverts() -> None:
    h = torch.linspace(0, 1, 101)
    torch.testing.assert_close(rectified_sigmoid(inverse_rectified_sigmoid(h)), h)
    assert rectified_sigmoid(torch.tensor([-3.0, 0.0, 3.0])).tolist() == pytest.approx([0, 0.5, 1])


def test_regulariser_values() -> None:
    h = torch.tensor([0.0, 1.0, 0.5, 0.75])
    assert float(regulariser(h, 2)) == pytest.approx(1 + 0.75)  # 1 − |2·0.75 − 1|² = 0.75
    assert float(regulariser(h, 20)) == pytest.approx(2, abs=1e-5)


def test_beta_is_annealed_after_the_warm_up() -> None:
    betas = [annealed_beta(i, 100) for i in range(100)]
    assert betas[:20] == [None] * 20
    assert betas[20] == 20
    assert betas[99] == 2
    assert betas[20:] == pytest.approx([20 - 18 * i / 79 for i in range(80)])


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_soft_rounding_starts_at_the_weight_and_ends_on_a_neighbour(bits: int) -> None:
    weight = torch.randn(6, 4, 3, 3)
    quantizer = WeightQuantizer(weight, bits)
    step, zero = quantizer.step, quantizer.zero
    v = quantizer.soften(weight)
    inside = weight.clamp(-zero * step, (2**bits - 1 - zero) * step)
    torch.testing.assert_close(quantizer(weight), inside, atol=1e-5, rtol=0)
    v.data.normal_(0, 3)
    soft = quantizer(weight)
    quantizer.harden()
    codes, lower = quantizer.codes.float(), (weight / step).floor() + zero
    neighbours = [bound.clamp(0, 2**bits - 1) for bound in (lower, lower + 1)]
    assert ((codes == neighbours[0]) | (codes == neighbours[1])).all()
    assert ((soft / step + zero - codes).abs() <= 0.5 + 1e-4).all()  # the nearer of the two
    assert torch.equal(quantizer(weight), (codes - zero) * step)
    assert (codes != quantizer.grid.codes(weight)).any()  # not simply nearest


def test_nearest_is_what_it_starts_with() -> None:
    weight = torch.randn(3, 10)
    quantizer = WeightQuantizer(weight, 4)
    assert ((quantizer(weight) - weight).abs() <= quantizer.step / 2 + 1e-6)[
        (quantizer.codes > 0) & (quantizer.codes < 15)
    ].all()


def test_step_gradient_is_that_of_lsq() -> None:
    """LSQ, eq. 3: round(x/s) − x/s inside, the end's code outside."""
    quantizer = InputQuantizer(Grid(torch.tensor(0.5), torch.tensor(2.0), *unsigned_codes(3)))
    quantizer.scale.requires_grad_()
    x = torch.tensor([-4.0, -0.3, 0.1, 1.2, 9.0], requires_grad=True)
    assert quantizer(x).tolist() == [-1.0, -0.5, 0.0, 1.0, 2.5]
    expected = [-2, -1 + 0.6, 0 - 0.2, 2 - 2.4, 5]
    for i, value in enumerate(expected):
        (gradient,) = torch.autograd.grad(quantizer(x)[i], quantizer.scale)
        assert float(gradient) == pytest.approx(0.5 * value)  # scale is relative to the step 0.5
    (gradient,) = torch.autograd.grad(quantizer(x).sum(), x)
    assert gradient.tolist() == [0, 1, 1, 1, 0]


def test_dropping_keeps_each_element_with_its_probability() -> None:
    quantizer = InputQuantizer(Grid(torch.tensor(1.0), torch.tensor(0.0), *unsigned_codes(4)))
    x = torch.rand(20_000) * 10 + 0.01
    quantizer.keep = 0.5
    given = quantizer(x)
    dropped = given == x
    assert ((given == x.round()) | dropped).all()
    assert float(dropped.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_sampled_inputs_cover_the_whole_range() -> None:
    sample = InputSample()
    for _ in range(3):
        sample.add(torch.rand(4, 5000))
    sample.add(torch.full((2, 2), -0.25))
    quantizer = sample.quantizer(8)
    assert float(quantizer.step) == pytest.approx(1.25 / 255, rel=0.05)
    assert float(quantizer.zero) == pytest.approx(51, abs=2)
