"""Binary activations and weights: values, gradients as printed in the papers, bad inputs."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from ops_samples import CALM, DTYPES, numbers, same
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.ops.binary import binary_sign, binary_weight

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_golden_values(dtype: torch.dtype) -> None:
    x = torch.tensor([-2.0, -1e-7, -0.0, 0.0, 1e-7, 3.0, INF, -INF, NAN], dtype=dtype)
    expected = torch.tensor([-1.0, -1, 1, 1, 1, 1, 1, -1, NAN], dtype=dtype)
    same(binary_sign(x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_gradient_passes_up_to_one_and_no_further(dtype: torch.dtype) -> None:
    beyond = torch.tensor(1.0, dtype=dtype).nextafter(torch.tensor(2.0, dtype=dtype)).item()
    x = torch.tensor([0.0, -0.5, 1, -1, beyond, -beyond, INF, NAN], dtype=dtype, requires_grad=True)
    above = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8], dtype=dtype)
    binary_sign(x).backward(above)
    same(x.grad, torch.tensor([1.0, 2, 3, 4, 0, 0, 0, 8], dtype=dtype))


def test_weight_golden_values() -> None:
    weight = torch.tensor([[1.0, -3.0, 0.0, 4.0], [-0.5, -0.5, 0.25, -0.75]])
    expected = torch.tensor([[2.0, -2.0, 2.0, 2.0], [-0.5, -0.5, 0.5, -0.5]])
    same(binary_weight(weight), expected)
    same(binary_weight(weight.reshape(2, 1, 2, 2)), expected.reshape(2, 1, 2, 2))


def test_weight_propagates_nan_and_inf_within_a_filter_only() -> None:
    weight = torch.tensor([[NAN, 1.0], [INF, -1.0], [1.0, -2.0]])
    same(binary_weight(weight), torch.tensor([[NAN, NAN], [INF, -INF], [1.5, -1.5]]))


@CALM
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
)
def test_weight_equals_the_formula(
    filters: int, channels: int, kernel: int, dtype: torch.dtype, seed: int
) -> None:
    weight = numbers(filters, channels, kernel, kernel, dtype=dtype, seed=seed)
    expected = torch.stack(
        [f.abs().double().mean() * torch.where(f < 0, -1.0, 1.0).double() for f in weight]
    )
    torch.testing.assert_close(binary_weight(weight), expected.to(dtype))


def test_one_scale_per_filter_to_the_last_bit() -> None:
    """What ``w + (b(w) - w).detach()`` would not keep, hence the custom operator."""
    weight = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    result = binary_weight(weight)
    assert [len(row.abs().unique()) for row in result] == [1] * 8
    composed = weight + (result - weight)
    assert max(len(row.abs().unique()) for row in composed) > 1


def test_weight_scale_is_the_best_one() -> None:
    """XNOR-Net eq. 6: no other α puts α·sgn(w) nearer to w."""
    weight = numbers(3, 8, dtype=torch.float64)
    best = (binary_weight(weight) - weight).square().sum(1)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert bool(((factor * binary_weight(weight) - weight).square().sum(1) > best).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weight_gradient_is_the_printed_one(dtype: torch.dtype) -> None:
    """g·(1/n + α·1[|w| ≤ 1]), XNOR-Net §3.1."""
    weight = torch.tensor([[0.5, -1.0, 1.5, -3.0], [0.1, 0.2, -0.3, 0.0]], dtype=dtype)
    weight.requires_grad_()
    above = torch.tensor([[1.0, 2, 3, 4], [-1, -2, -3, -4]], dtype=dtype)
    binary_weight(weight).backward(above)
    slope = torch.tensor(
        [[0.25 + 1.5, 0.25 + 1.5, 0.25, 0.25], [0.25 + 0.15, 0.25 + 0.15, 0.25 + 0.15, 0.4]],
        dtype=dtype,
    )
    torch.testing.assert_close(weight.grad, above * slope)


def test_omitted_term_of_the_gradient_is_zero_under_batch_norm() -> None:
    """The reason given for the printed gradient: after batch norm no loss depends on α."""
    x = numbers(8, 3, 6, 6, dtype=torch.float64)
    binary = binary_weight(numbers(4, 3, 3, 3, dtype=torch.float64, seed=1)).requires_grad_()

    def omitted(normalise: bool) -> Tensor:
        y = F.conv2d(x, binary)
        if normalise:
            y = F.batch_norm(y, None, None, training=True, eps=1e-30)
        (g,) = torch.autograd.grad((y * numbers(*y.shape, dtype=y.dtype, seed=2)).sum(), binary)
        return (g * binary.sign()).sum((1, 2, 3)) / g.abs().sum((1, 2, 3))

    assert omitted(normalise=True).abs().max() < 1e-12
    assert omitted(normalise=False).abs().max() > 1e-3


def test_gradcheck_fails_on_both_surrogates() -> None:
    """Straight-through gradients are not derivatives; a pass would mean they were lost."""
    for function in (binary_sign, binary_weight):
        x = torch.tensor([[0.3, -0.6, 0.9]], dtype=torch.float64, requires_grad=True)
        assert not torch.autograd.gradcheck(function, x, raise_exception=False)


BAD = [
    (lambda: binary_sign(torch.ones(3).int()), TypeError, "x must be float32.*got torch.int32"),
    (lambda: binary_sign(torch.ones(3).bool()), TypeError, "got torch.bool"),
    (lambda: binary_sign(torch.ones(3).cfloat()), TypeError, "got torch.complex64"),
    (lambda: binary_sign(0.5), TypeError, "x must be a torch.Tensor; got float"),  # type: ignore[arg-type]
    (lambda: binary_weight(torch.ones(3, 3).int()), TypeError, "weight must be float32"),
    (lambda: binary_weight(torch.ones(3)), UsageError, r"at least 2 dimensions.*got \(3,\)"),
    (lambda: binary_weight(torch.tensor(1.0)), UsageError, r"got \(\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_inputs(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
