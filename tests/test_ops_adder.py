"""The adder convolution against the float64 equations: every kernel, every axis."""

import itertools
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from saa_lite.ops import adder, adder_conv2d, adder_linear, adder_pack, adder_torch, reference

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
WEIGHT_KINDS, INPUT_KINDS = ("full", "sign"), ("clip", "full", "sign")
GEOMETRIES = [
    ((1, 1), (0, 0), (1, 1)),
    ((1, 1), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((1, 3), (2, 0), (1, 1)),
    ((2, 1), (1, 3), (2, 1)),
    ((3, 2), (2, 2), (1, 2)),
]


def error(got: Tensor, expected: Tensor) -> float:
    """max|a − b| / max|b|."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    difference = (got.double() - expected).abs().max().item() if expected.numel() else 0.0
    return difference / scale if scale else difference


def sample(
    shape: tuple[int, ...], weight: tuple[int, ...], dtype: torch.dtype, layout: str = "plain"
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + 7 * sum(weight))
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "sliced":
        wide = torch.zeros(*shape[:3], 2 * shape[3], dtype=dtype)
        wide[..., ::2] = x
        x = wide[..., ::2]
    return x, torch.randn(weight, generator=generator, dtype=torch.float64).to(dtype)


def check(x: Tensor, w: Tensor, geometry: Any, groups: int, kinds: tuple[str, str]) -> None:
    """Output and both gradients of the operator, compared with the equations."""
    weight_kind, input_kind = kinds
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = adder_conv2d(
        x, w, *geometry, groups, weight_gradient=weight_kind, input_gradient=input_kind
    )
    grad = torch.randn_like(y)
    dx, dw = torch.autograd.grad(y, (x, w), grad)
    args = (x.detach(), w.detach(), *geometry, groups)
    bound = TOLERANCE[x.dtype]
    assert error(y, reference.adder_conv2d(*args)) <= bound
    assert error(dx, reference.adder_input_gradient(grad, *args, input_kind)) <= bound
    assert error(dw, reference.adder_weight_gradient(grad, *args, weight_kind)) <= bound
    assert (y.dtype, dx.shape, dw.shape) == (x.dtype, x.shape, w.shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("layout", ["plain", "channels_last", "sliced"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("channels", "filters", "groups"), [(3, 5, 1), (6, 4, 2), (4, 8, 4)])
def test_plain_kernel(
    dtype: torch.dtype, layout: str, geometry: Any, channels: int, filters: int, groups: int
) -> None:
    x, w = sample((2, channels, 9, 7), (filters, channels // groups, 3, 2), dtype, layout)
    for kinds in itertools.product(WEIGHT_KINDS, INPUT_KINDS):
        check(x, w, geometry, groups, kinds)


@pytest.mark.parametrize("layout", ["plain", "channels_last", "sliced"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("channels", "filters", "groups"), [(16, 16, 1), (8, 40, 1), (23, 17, 1), (32, 24, 2)]
)
@pytest.mark.parametrize(("height", "width"), [(9, 7), (6, 17)])
def test_vector_kernel(
    layout: str, geometry: Any, channels: int, filters: int, groups: int, height: int, width: int
) -> None:
    shape, weight = (2, channels, height, width), (filters, channels // groups, 3, 2)
    x, w = sample(shape, weight, torch.float32, layout)
    assert adder_pack.applies(x, w, groups)
    check(x, w, geometry, groups, ("full", "clip"))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("filters_at_once", [1, 1 << 24])
def test_torch_path(
    geometry: Any, groups: int, filters_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adder_torch, "LARGEST_TEMPORARY", filters_at_once)
    x, w = sample((2, 4, 9, 7), (6, 4 // groups, 3, 2), torch.float64)
    args = (x, w, *geometry, groups)
    y = adder_torch.forward(*args)
    grad = torch.randn_like(y)
    assert error(y, reference.adder_conv2d(*args)) <= 1e-12
    for sign_only, kind in ((False, "clip"), (True, "sign")):
        got = adder_torch.input_gradient(grad, *args, sign_only=sign_only)
        assert error(got, reference.adder_input_gradient(grad, *args, kind)) <= 1e-12
    got = adder_torch.weight_sign_gradient(grad, *args)
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
    shape = (batch, per_group[0] * groups, *size)
    x, w = sample(shape, (per_group[1] * groups, per_group[0], *kernel), torch.float32)
    check(x, w, (stride, padding, dilation), groups, ("full", "clip"))


def test_an_independent_evaluation_agrees() -> None:
    """The reference itself, against plain Python sums over indices."""
    x, w = sample((1, 2, 4, 3), (3, 2, 2, 2), torch.float64)
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
    x, w = sample((1, channels, 6, 6), (16, channels, 3, 3), torch.float32)
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


@pytest.mark.parametrize("channels", [2, 16])
@pytest.mark.parametrize("kinds", [("full", "clip"), ("sign", "full")])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck's own
def test_registration(channels: int, kinds: tuple[str, str]) -> None:
    x, w = sample((2, channels, 5, 5), (16, channels, 3, 3), torch.float32)
    geometry = ([1, 1], [1, 1], [1, 1])
    args = (x.requires_grad_(), w.requires_grad_(), *geometry, 1)
    torch.library.opcheck(adder._adder, (*args, *kinds))
    grad = torch.randn(2, 16, 5, 5)
    plain = (grad, x.detach(), w.detach(), *geometry, 1)
    torch.library.opcheck(adder._input_gradient, (*plain, kinds[1]))
    torch.library.opcheck(adder._weight_gradient, (*plain, kinds[0]))


def test_compiles_in_one_graph() -> None:
    x, w = sample((2, 16, 6, 6), (16, 16, 3, 3), torch.float32)
    x, w = x.requires_grad_(), w.requires_grad_()
    compiled = torch.compile(adder_conv2d, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(adder_conv2d(x, w).sum(), (x, w))
    got = torch.autograd.grad(compiled(x, w).sum(), (x, w))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_autocast_computes_in_float32() -> None:
    x, w = sample((1, 16, 5, 5), (16, 16, 3, 3), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = adder_conv2d(x.bfloat16(), w)
    assert y.dtype == torch.float32
    assert torch.equal(y, adder_conv2d(x.bfloat16().float(), w))


def test_only_the_sign_gradients_are_derivatives() -> None:
    x, w = sample((1, 2, 4, 4), (2, 2, 3, 3), torch.float64)
    inputs = (x.requires_grad_(), w.requires_grad_())

    def true(a: Tensor, b: Tensor) -> Tensor:
        return adder_conv2d(a, b, weight_gradient="sign", input_gradient="sign")

    assert torch.autograd.gradcheck(true, inputs)
    assert not torch.autograd.gradcheck(adder_conv2d, inputs, raise_exception=False)


@pytest.mark.parametrize("channels", [3, 16])
def test_relations_that_need_no_reference(channels: int) -> None:
    x, w = sample((2, channels, 6, 5), (16, channels, 3, 3), torch.float32)
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


@pytest.mark.parametrize("channels", [3, 16])
def test_thread_count_changes_no_bit(channels: int) -> None:
    x, w = sample((5, channels, 9, 9), (16, channels, 3, 3), torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            a, b = x.clone().requires_grad_(), w.clone()
            y = adder_conv2d(a, b, padding=1)
            results.append((y.detach(), *torch.autograd.grad(y.square().sum(), a)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))


def test_two_threads_at_once() -> None:
    x, w = sample((4, 16, 9, 9), (16, 16, 3, 3), torch.float32)
    expected, got = adder_conv2d(x, w), []
    workers = [
        threading.Thread(target=lambda: got.extend(adder_conv2d(x, w) for _ in range(20)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(got) == 40
    assert all(torch.equal(y, expected) for y in got)


FORKED = """
import os, torch
from saa_lite.ops import adder_conv2d
torch.set_num_threads(2)
x, w = torch.randn(4, 16, 9, 9), torch.randn(16, 16, 3, 3)
expected = adder_conv2d(x, w)
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # torch's own pool does not survive a fork either
    os._exit(0 if torch.equal(adder_conv2d(x, w), expected) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_a_forked_child_computes_too() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=False, timeout=120)
    assert done.returncode == 0


ONES = torch.ones(1, 4, 5, 5)
FILTER = torch.ones(6, 4, 3, 3)


@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (TypeError, "input must be a torch.Tensor; got list", lambda: adder_conv2d([1], FILTER)),
        (TypeError, "must be torch.float32 or", lambda: adder_conv2d(ONES.int(), FILTER.int())),
        (TypeError, "got torch.float16", lambda: adder_conv2d(ONES.half(), FILTER.half())),
        (TypeError, "share a dtype", lambda: adder_conv2d(ONES.double(), FILTER)),
        (ValueError, "on one device", lambda: adder_conv2d(ONES.to("meta"), FILTER)),
        (ValueError, r"input must have shape \[batch", lambda: adder_conv2d(ONES[0], FILTER)),
        (ValueError, r"weight must have shape", lambda: adder_conv2d(ONES, FILTER[0])),
        (ValueError, "must have 3 channels", lambda: adder_conv2d(ONES, FILTER[:, :3])),
        (ValueError, "divisible by groups=4", lambda: adder_conv2d(ONES, FILTER, groups=4)),
        (ValueError, "groups must be an int", lambda: adder_conv2d(ONES, FILTER, groups=0)),
        (ValueError, "must fit into", lambda: adder_conv2d(ONES, torch.ones(6, 4, 7, 7))),
        (ValueError, "stride must be at least 1", lambda: adder_conv2d(ONES, FILTER, 0)),
        (ValueError, "stride must be an int", lambda: adder_conv2d(ONES, FILTER, 1.5)),
        (ValueError, "stride must be an int", lambda: adder_conv2d(ONES, FILTER, True)),
        (ValueError, "padding must be at least 0", lambda: adder_conv2d(ONES, FILTER, 1, -1)),
        (
            ValueError,
            "dilation must be an int",
            lambda: adder_conv2d(ONES, FILTER, 1, 0, (1, 1, 1)),
        ),
        (
            ValueError,
            "weight_gradient must be one of 'full', 'sign'; got 'clip'",
            lambda: adder_conv2d(ONES, FILTER, weight_gradient="clip"),
        ),
        (
            ValueError,
            "input_gradient must be one of 'clip', 'full', 'sign'; got 'none'",
            lambda: adder_conv2d(ONES, FILTER, input_gradient="none"),
        ),
        (ValueError, "in_features", lambda: adder_linear(torch.ones(2, 3), torch.ones(4, 5))),
    ],
)
def test_bad_arguments(kind: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(kind, match=message):
        call()
