"""The adder convolution against the float64 equations: every kernel, every axis."""

import itertools
from typing import Any

import pytest
import torch
from adder_samples import ALL_LAYOUTS, KINDS, TOLERANCE, Case, check, error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from saa_lite.ops import adder_conv2d, adder_linear, adder_torch, adder_vector, reference

GEOMETRIES = [
    ((1, 1), (0, 0), (1, 1)),
    ((1, 1), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((1, 3), (2, 0), (1, 1)),
    ((2, 1), (1, 3), (2, 1)),
    ((3, 2), (2, 2), (1, 2)),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ALL_LAYOUTS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("channels", "filters", "groups"), [(3, 5, 1), (3, 2, 2), (1, 2, 4)])
def test_plain_kernel(
    dtype: torch.dtype, layout: str, geometry: Any, channels: int, filters: int, groups: int
) -> None:
    case = Case(channels, filters, (9, 7), (3, 2), *geometry, groups=groups)
    for kinds in KINDS:
        check(case, dtype, layout, kinds)


@pytest.mark.parametrize("layout", ALL_LAYOUTS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("channels", "filters", "groups"), [(16, 16, 1), (8, 40, 1), (23, 17, 1), (16, 12, 2)]
)
@pytest.mark.parametrize("size", [(9, 7), (6, 17)])
def test_vector_kernel(
    layout: str, geometry: Any, channels: int, filters: int, groups: int, size: tuple[int, int]
) -> None:
    case = Case(channels, filters, size, (3, 2), *geometry, groups=groups)
    assert adder_vector.applies(*case.tensors(torch.float32, layout), groups)
    check(case, torch.float32, layout, ("full", "clip"))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("filters_at_once", [1, 1 << 24])
def test_torch_path(
    geometry: Any, groups: int, filters_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adder_torch, "LARGEST_TEMPORARY", filters_at_once)
    case = Case(4 // groups, 6 // groups, (9, 7), (3, 2), *geometry, groups=groups)
    x, w = case.tensors(torch.float64)
    args = x, w, *case.geometry
    y = adder_torch.forward(x, w, case.geometry)
    grad = torch.randn_like(y)
    assert error(y, reference.adder_conv2d(*args)) <= 1e-12
    for sign_only, kind in ((False, "clip"), (True, "sign")):
        got = adder_torch.input_gradient(grad, x, w, case.geometry, sign_only=sign_only)
        assert error(got, reference.adder_input_gradient(grad, *args, kind)) <= 1e-12
    got = adder_torch.weight_sign_gradient(grad, x, w, case.geometry)
    assert error(got, reference.adder_weight_gradient(grad, *args, "sign")) <= 1e-12


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    batch=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_any_configuration(
    batch: int, per_group: Any, groups: int, kernel: Any, stride: Any, padding: Any,
    dilation: Any, extra: Any,
) -> None:  # fmt: skip
    size = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) + extra[i] for i in (0, 1)]
    case = Case(
        *per_group, (size[0], size[1]), kernel, stride, padding, dilation, groups, batch=batch
    )
    check(case, torch.float32, "contiguous", ("full", "clip"))


def test_an_independent_evaluation_agrees() -> None:
    """The reference itself, against plain Python sums over indices."""
    x, w = Case(2, 3, (4, 3), (2, 2), batch=1).tensors(torch.float64)
    got = reference.adder_conv2d(x, w, (1, 1), (0, 0), (1, 1), 1)
    for t, i, j in itertools.product(range(3), range(3), range(2)):
        taps = itertools.product(range(2), range(2), range(2))
        expected = -sum(
            abs(x[0, c, i + a, j + b].item() - w[t, c, a, b].item()) for c, a, b in taps
        )
        assert got[0, t, i, j].item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("channels", [3, 16])
def test_empty_batch(channels: int) -> None:
    x = torch.zeros(0, channels, 5, 5, requires_grad=True)
    w = torch.ones(16, channels, 3, 3, requires_grad=True)
    y = adder_conv2d(x, w)
    y.sum().backward()
    assert y.shape == (0, 16, 3, 3)
    assert x.grad is not None
    assert w.grad is not None
    assert x.grad.shape == x.shape
    assert not w.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["input", "weight", "gradient"])
@pytest.mark.parametrize("channels", [2, 16])
def test_nan_and_inf_propagate(bad: float, where: str, channels: int) -> None:
    x, w = Case(channels, 16, (6, 6), (3, 3), batch=1).tensors(torch.float32)
    grad = torch.randn(1, 16, 6, 6)
    {"input": x, "weight": w, "gradient": grad}[where].view(-1)[5] = bad
    geometry, groups = ((1, 1), (1, 1), (1, 1)), 1
    x.requires_grad_()
    y = adder_conv2d(x, w, *geometry, groups)
    (dx,) = torch.autograd.grad(y, x, grad)
    args = (x.detach(), w, *geometry, groups)
    for got, expected in (
        (y, reference.adder_conv2d(*args)),
        (dx, reference.adder_input_gradient(grad, *args)),
    ):
        assert torch.equal(got.isnan(), expected.isnan())
        assert torch.equal(got.isinf(), expected.float().isinf())


def test_only_the_sign_gradients_are_derivatives() -> None:
    x, w = Case(2, 2, (4, 4), (3, 3), batch=1).tensors(torch.float64)
    inputs = (x.requires_grad_(), w.requires_grad_())

    def true(a: Tensor, b: Tensor) -> Tensor:
        return adder_conv2d(a, b, weight_gradient="sign", input_gradient="sign")

    assert torch.autograd.gradcheck(true, inputs)
    assert not torch.autograd.gradcheck(adder_conv2d, inputs, raise_exception=False)


@pytest.mark.parametrize("channels", [3, 16])
def test_relations_that_need_no_reference(channels: int) -> None:
    x, w = Case(channels, 16, (6, 5), (3, 3)).tensors(torch.float32)
    y = adder_conv2d(x, w)
    assert y.max() <= 0
    torch.testing.assert_close(adder_conv2d(x + 0.5, w + 0.5), y, rtol=1e-5, atol=1e-4)
    order = torch.randperm(16)
    assert torch.equal(adder_conv2d(x, w[order]), y[:, order])
    padded = F.pad(x, (2, 2, 1, 1))
    assert torch.equal(adder_conv2d(x, w, padding=(1, 2)), adder_conv2d(padded, w))
    both = adder_conv2d(torch.cat([x, x], 1), torch.cat([w, w]), groups=2)
    assert torch.equal(both, torch.cat([y, y], 1))


def test_linear_is_minus_the_l1_distance() -> None:
    x, w = torch.randn(2, 3, 20, dtype=torch.float64), torch.randn(7, 20, dtype=torch.float64)
    expected = -torch.cdist(x.flatten(0, 1), w, p=1).reshape(2, 3, 7)
    torch.testing.assert_close(adder_linear(x, w), expected, rtol=1e-12, atol=0)
    assert adder_linear(x[0, 0], w).shape == (7,)
