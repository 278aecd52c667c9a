"""Every remapping behind one interface: identities, gradients, learned parameters, errors."""

import math

import pytest
import torch
from torch import Tensor

from saa_lite.augment.remap import REMAPS, gaussian_to_laplace, make_remap
from saa_lite.augment.remap_bins import BinsRemap
from saa_lite.augment.remap_modules import (
    binned_kl_to_laplace,
    entropy,
    kl_to_gaussian,
    kl_to_laplace,
)
from saa_lite.ops.shift import shift_quantize

FIXED = {"mean": 0.01, "std": 0.06}
OPTIONS = {"matrix": {"kernel_size": 3}}
SMOOTH = [name for name in REMAPS if name != "shift"]


def weight(dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.01 + 0.06 * torch.randn(8, 4, 3, 3, generator=generator)).to(dtype)


def made(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return make_remap(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", REMAPS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_shape_and_dtype_stay(name: str, dtype: torch.dtype) -> None:
    w = weight(dtype).requires_grad_()
    mapped = made(name)(w)
    assert (mapped.shape, mapped.dtype) == (w.shape, w.dtype)
    mapped.float().square().sum().backward()
    assert w.grad is not None
    assert bool(w.grad.isfinite().all())


@pytest.mark.parametrize("name", ["analytic", "affine-z", "affine-logit", "matrix"])
def test_learned_forms_start_as_the_analytic_curve(name: str) -> None:
    w = weight()
    expected = gaussian_to_laplace(w, mean=w.mean(), std=w.std(correction=0))
    torch.testing.assert_close(made(name)(w), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["affine-z", "affine-logit"])
def test_learned_numbers_act_where_they_say(name: str) -> None:
    w, remap = weight(), made(name)
    with torch.no_grad():
        remap.gain.fill_(1.3)
        remap.offset.fill_(-0.4)
    z = (w - FIXED["mean"]) / FIXED["std"]
    if name == "affine-z":
        u = torch.special.ndtr(1.3 * z - 0.4)
    else:
        u = torch.sigmoid(1.3 * torch.logit(torch.special.ndtr(z)) - 0.4)
    laplace = torch.distributions.Laplace(torch.zeros((), dtype=torch.float64), math.sqrt(0.5))
    torch.testing.assert_close(remap(w, **FIXED), laplace.icdf(u), rtol=1e-6, atol=1e-7)


def test_matrix_mixes_the_taps_of_a_kernel() -> None:
    w, remap = weight(), made("matrix")
    with torch.no_grad():
        remap.matrix.copy_(torch.eye(9).roll(1, 0))  # every tap reads its neighbour
    moved = w.flatten(-2).roll(1, -1).reshape(w.shape)
    torch.testing.assert_close(remap(w, **FIXED), made("analytic")(moved, **FIXED))
    with pytest.raises(ValueError, match=r"must end in the kernel size \[3, 3\]; got \[2, 5, 5\]"):
        remap(torch.zeros(2, 5, 5))


@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck_in_the_weight_and_everything_learned(name: str) -> None:
    remap = made(name).double()
    w = weight()[:2, :2].clone()
    if name == "bins":  # a step of the check must not move the ends, which place the bins
        low, high = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        remap._index = lambda v: ((v.detach() - low) / (high - low) * 30).long()
    assert torch.autograd.gradcheck(
        lambda w, *_: remap(w, **FIXED), (w.requires_grad_(), *remap.parameters())
    )


def test_affine_maps_have_a_gradient_at_the_mean() -> None:
    """The same trap as in the analytic curve, and in the logit's way back once more."""
    for name in ("affine-z", "affine-logit"):
        w = torch.tensor([FIXED["mean"]], dtype=torch.float64, requires_grad=True)
        (got,) = torch.autograd.grad(made(name)(w, **FIXED), w)
        assert float(got) == pytest.approx(math.sqrt(1 / math.pi) / FIXED["std"], rel=1e-6)


@pytest.mark.parametrize("name", REMAPS)
def test_finite_to_thirty_standard_deviations_in_float32(name: str) -> None:
    z = torch.linspace(-30, 30, 6_003).reshape(667, 3, 3).requires_grad_()
    y = made(name)(z, mean=0.0, std=1.0)
    y.sum().backward()
    assert z.grad is not None
    assert bool((y.isfinite() & z.grad.isfinite()).all())


def test_shift_keeps_the_spread_rounds_and_is_straight_through() -> None:
    w = weight().requires_grad_()
    smooth = gaussian_to_laplace(w, **FIXED, scale=FIXED["std"] / math.sqrt(2))
    rounded = make_remap("shift", bits=4)(w, **FIXED)
    assert torch.equal(rounded, shift_quantize(smooth, 4))
    mantissa = torch.frexp(rounded.detach().abs()).mantissa
    assert bool((mantissa == 0.5).all())
    above = weight(seed=1)
    expected, got = (torch.autograd.grad(y, w, above)[0] for y in (smooth, rounded))
    assert torch.equal(got, expected)
    sample = 0.01 + 0.06 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    unrounded = gaussian_to_laplace(sample, **FIXED, scale=FIXED["std"] / math.sqrt(2))
    assert float(unrounded.std()) == pytest.approx(FIXED["std"], rel=0.02)


@pytest.mark.parametrize("name", ["rescale", "analytic", "affine-z", "affine-logit", "matrix"])
def test_scale_is_learned_and_stays_positive(name: str) -> None:
    remap = made(name)
    assert remap.scale.item() == pytest.approx(1 / math.sqrt(2))
    remap(weight()).square().sum().backward()
    (torch.optim.SGD(remap.parameters(), lr=0.1)).step()
    assert 0 < remap.scale.item() < 0.7
    fixed = make_remap(name, scale=2.0, learn_scale=False, **OPTIONS.get(name, {}))
    assert fixed.scale.item() == pytest.approx(2.0)
    assert not fixed.log_scale.requires_grad


@pytest.mark.parametrize("name", ["analytic", "rescale"])
def test_statistics_are_detached(name: str) -> None:
    """The weight's gradient treats mean and std as constants."""
    w = weight().requires_grad_()
    given = {"mean": w.detach().mean(), "std": w.detach().std(correction=0)}
    above = weight(seed=1)
    measured, fixed = (torch.autograd.grad(made(name)(w, **k), w, above)[0] for k in ({}, given))
    assert torch.equal(measured, fixed)


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("name", REMAPS)
def test_equal_weights_map_to_numbers(name: str, value: float) -> None:
    w = torch.full((4, 2, 3, 3), value, requires_grad=True)
    y = made(name)(w)
    y.sum().backward()
    assert bool(y.isfinite().all())
    assert w.grad is not None
    assert bool(w.grad.isfinite().all())


def test_bins_multiply_and_the_largest_weight_is_not_lost() -> None:
    remap = BinsRemap(bins=4)
    w = torch.tensor([-1.0, -0.3, 0.2, 0.6, 1.0])
    c = remap.coefficients
    assert torch.equal(remap(w), w * c[[0, 1, 2, 3, 3]])
    assert torch.equal(BinsRemap(start="ones")(w), w)
    assert BinsRemap().coefficients.numel() == 30


def test_bins_can_be_fitted_to_the_curve() -> None:
    w = weight(torch.float32).flatten()
    target = make_remap("analytic")(w)
    fitted = BinsRemap().fit(w, target)
    error = (fitted(w) - target).square().mean().sqrt()
    assert 0.01 < error.item() < 0.1  # near, and never exact: lines through the origin
    again = BinsRemap(bins=3).fit(w, 2 * w)
    torch.testing.assert_close(again.coefficients.detach(), torch.full((3,), 2.0))


def test_only_bins_add_to_the_loss_and_descent_lowers_it() -> None:
    w = weight(torch.float32).requires_grad_()
    assert float(make_remap("analytic").penalty(w)) == 0
    remap = BinsRemap(start="ones")
    optimizer = torch.optim.Adam(remap.parameters(), lr=0.3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = remap.penalty(w)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.5  # σ = 0.06 against b = 0.7
    assert losses[-1] < 0.25
    assert w.grad is not None
    assert bool(w.grad.isfinite().all())


def test_penalty_passes_gradcheck() -> None:
    remap = BinsRemap(bins=3, start="ones").double()
    w = weight()[:4, :2].clone().requires_grad_()
    fixed = remap._index(w)
    remap._index = lambda _: fixed
    assert torch.autograd.gradcheck(lambda w, _: remap.penalty(w, **FIXED), (w, remap.coefficients))


def sample(kind: str, n: int = 20_000, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, dtype=torch.float64, generator=generator)
    return z if kind == "normal" else gaussian_to_laplace(z, scale=1.0)


def test_divergences_have_their_known_values() -> None:
    """KL of the distribution itself is 0; of a normal from the Laplace of best b, 0.048 nats."""
    assert float(entropy(sample("normal"))) == pytest.approx(
        0.5 * math.log(2 * math.pi * math.e), abs=0.02
    )
    assert abs(float(kl_to_gaussian(sample("normal"), 0.0, 1.0))) < 0.006
    assert abs(float(kl_to_laplace(sample("laplace"), 1.0))) < 0.006
    best = math.sqrt(2 / math.pi)
    known = math.log(2 * math.e * best) - 0.5 * math.log(2 * math.pi * math.e)
    assert float(kl_to_laplace(sample("normal"), best)) == pytest.approx(known, abs=0.006)
    assert binned_kl_to_laplace(sample("laplace"), 1.0) == pytest.approx(63 / 40_000, rel=0.6)
    assert binned_kl_to_laplace(sample("normal"), best) == pytest.approx(known, abs=0.006)
    assert binned_kl_to_laplace(torch.zeros(9), 1.0) == pytest.approx(math.log(64))


def test_unknown_names_and_options_are_named() -> None:
    with pytest.raises(ValueError, match="name must be one of 'none', 'rescale', 'analytic'"):
        make_remap("analytical")
    with pytest.raises(ValueError, match="'analytic' takes scale, learn_scale; got 'bits'"):
        make_remap("analytic", bits=3)
    with pytest.raises(ValueError, match="'none' takes no options; got 'scale'"):
        make_remap("none", scale=1.0)
    with pytest.raises(ValueError, match="'matrix' needs kernel_size"):
        make_remap("matrix")
    with pytest.raises(ValueError, match="bits must be an integer from 2 to 6; got 9"):
        make_remap("shift", bits=9)
    with pytest.raises(ValueError, match="scale must be positive and finite; got 0"):
        make_remap("affine-z", scale=0.0)
    with pytest.raises(ValueError, match="bins must be an integer above 0; got True"):
        make_remap("bins", bins=True)
    with pytest.raises(ValueError, match="at least 5 weights; got 3"):
        entropy(torch.randn(3))
