"""The curve from normal to Laplace weights: values, way back, derivative, far tails."""

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from saa_lite.augment.remap import SCALE, gaussian_to_laplace, laplace_to_gaussian
from saa_lite.augment.remap_curve import hazard

STD, B = 0.05, 0.7
PLACE = {"mean": 0.013, "std": STD, "scale": B}
TAILS = torch.linspace(-30, 30, 60_001, dtype=torch.float64)


def normal(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exact(z: Tensor) -> np.ndarray:
    """R of N(0, 1) for b = 1 by scipy's log of the normal distribution function."""
    z = z.double().numpy()
    return -np.sign(z) * (math.log(2) + special.log_ndtr(-np.abs(z)))


def test_it_is_the_composition_of_the_two_distribution_functions() -> None:
    w = torch.linspace(-0.2, 0.25, 91, dtype=torch.float64)
    u = stats.norm.cdf(w.numpy(), PLACE["mean"], STD)
    expected = stats.laplace.ppf(u, scale=B)
    assert np.allclose(gaussian_to_laplace(w, **PLACE).numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.float16, 2e-3)]
)
def test_values_to_the_far_tails(dtype: torch.dtype, bound: float) -> None:
    z = TAILS.to(dtype)
    got = gaussian_to_laplace(z, scale=1.0)
    assert got.dtype == dtype
    assert np.abs(got.double().numpy() - exact(z)).max() <= bound * 453
    near = z.abs() <= 3
    np.testing.assert_allclose(got[near].double().numpy(), exact(z[near]), rtol=bound, atol=1e-13)


def test_small_weights_keep_their_relative_precision() -> None:
    z = torch.tensor([1e-7, -1e-4, 3e-3])
    slope = gaussian_to_laplace(z, scale=1.0) / z
    expected = exact(z[1:].double()) / z[1:].double().numpy()
    np.testing.assert_allclose(slope[1:].numpy(), expected, rtol=1e-6)
    assert float(slope[0]) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_normal_samples_become_laplacian(seed: int) -> None:
    """Kolmogorov-Smirnov at n = 100,000; the same sample left normal fails it by far."""
    z = normal(100_000, seed)
    mapped = gaussian_to_laplace(PLACE["mean"] + STD * z, **PLACE).numpy()
    assert stats.kstest(mapped, stats.laplace(scale=B).cdf).pvalue > 0.01
    rescaled = (math.sqrt(2) * B * z).numpy()  # the right variance, the wrong shape
    assert stats.kstest(rescaled, stats.laplace(scale=B).cdf).pvalue < 1e-10


def test_there_and_back() -> None:
    w = PLACE["mean"] + STD * torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    back = laplace_to_gaussian(gaussian_to_laplace(w, **PLACE), **PLACE)
    assert float((back - w).abs().max()) < 1e-6 * STD
    assert float((back - w).abs().max()) < 1e-13  # what it really keeps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_way_back_works_in_the_tails_too(dtype: torch.dtype) -> None:
    z = TAILS.to(dtype)
    back = laplace_to_gaussian(gaussian_to_laplace(z))
    torch.testing.assert_close(back, z, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("function", [gaussian_to_laplace, laplace_to_gaussian])
def test_value_and_gradient_are_finite_in_float32(function: Callable[..., Tensor]) -> None:
    z = torch.cat([TAILS.float(), torch.tensor([0.0, -0.0, 1e-30, 60.0, -60.0])]).requires_grad_()
    y = function(z)
    y.sum().backward()
    assert z.grad is not None
    assert bool((y.isfinite() & z.grad.isfinite() & (z.grad > 0)).all())


def test_gradient_at_the_mean_is_not_zero() -> None:
    w = torch.tensor(PLACE["mean"], dtype=torch.float64, requires_grad=True)
    (got,) = torch.autograd.grad(gaussian_to_laplace(w, **PLACE), w)
    assert float(got) == pytest.approx(math.sqrt(2 / math.pi) * B / STD, rel=1e-12)
    assert float(got) == pytest.approx(0.798 * B / STD, rel=1e-3)
    v = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (back,) = torch.autograd.grad(laplace_to_gaussian(v, **PLACE), v)
    assert float(back) == pytest.approx(1 / float(got), rel=1e-12)


def test_autograd_through_sign_and_absolute_value_would_give_zero_there() -> None:
    """Why the derivative is written down."""
    z = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    naive = -z.sign() * (math.log(2) + torch.special.log_ndtr(-z.abs()))
    assert float(torch.autograd.grad(naive, z)[0]) == 0


def test_slope_is_the_normal_hazard() -> None:
    a = TAILS[TAILS >= 0]
    expected = np.exp(stats.norm.logpdf(a.numpy()) - special.log_ndtr(-a.numpy()))
    np.testing.assert_allclose(hazard(a).numpy(), expected, rtol=1e-11)


@pytest.mark.parametrize("function", [gaussian_to_laplace, laplace_to_gaussian])
def test_gradcheck_in_all_four_arguments(function: Callable[..., Tensor]) -> None:
    w = torch.tensor([-0.3, -0.04, 0.0, 0.011, 0.2], dtype=torch.float64, requires_grad=True)
    mean, std, scale = (
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.01, 0.06, 0.4)
    )
    call = lambda w, m, s, b: function(w, mean=m, std=s, scale=b)  # noqa: E731
    assert torch.autograd.gradcheck(call, (w, mean, std, scale))
    assert torch.autograd.gradgradcheck(call, (w, mean, std, scale))


def test_parameters_broadcast_per_filter() -> None:
    w = normal(24).reshape(4, 6)
    std = torch.tensor([[0.5], [1.0], [2.0], [4.0]], dtype=torch.float64)
    whole = gaussian_to_laplace(w, std=std)
    for row, s in enumerate(std[:, 0].tolist()):
        torch.testing.assert_close(whole[row], gaussian_to_laplace(w[row], std=s))


@pytest.mark.parametrize("function", [gaussian_to_laplace, laplace_to_gaussian])
def test_nan_and_infinity_propagate(function: Callable[..., Tensor]) -> None:
    got = function(torch.tensor([math.nan, math.inf, -math.inf]))
    assert got.isnan().tolist() == [True, False, False]
    assert got[1:].tolist() == [math.inf, -math.inf]


def test_default_scale_gives_variance_one() -> None:
    mapped = gaussian_to_laplace(normal(200_000))
    assert float(mapped.var()) == pytest.approx(2 * SCALE**2, rel=0.03)
    assert pytest.approx(1) == 2 * SCALE**2


@pytest.mark.parametrize(("name", "value"), [("std", 0.0), ("scale", -1.0), ("std", math.inf)])
def test_wrong_numbers_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive and finite; got {value}"):
        gaussian_to_laplace(torch.zeros(2), **{name: value})


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="w must be float32"):
        gaussian_to_laplace(torch.zeros(2, dtype=torch.int64))


def test_compiles_as_one_graph_and_maps_over_batches() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(gaussian_to_laplace, fullgraph=True, backend="aot_eager")
    w, v = (normal(12).reshape(3, 4).requires_grad_() for _ in range(2))
    torch.testing.assert_close(compiled(w), gaussian_to_laplace(v))
    compiled(w).square().sum().backward()
    gaussian_to_laplace(v).square().sum().backward()
    torch.testing.assert_close(w.grad, v.grad)
    torch.testing.assert_close(torch.func.vmap(gaussian_to_laplace)(v), gaussian_to_laplace(v))


def test_importing_it_brings_neither_drawing_nor_the_compiler() -> None:
    """Either takes longer than all the rest, in every process that uses a layer."""
    code = (
        "import sys, saa_lite.augment, saa_lite.nn, saa_lite.ops; "
        "sys.exit(bool({'matplotlib', 'torch._dynamo'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
