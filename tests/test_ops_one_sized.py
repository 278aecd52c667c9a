"""Every operator where images, kernels or channels have a size of one: any order, any view."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import shift_oracle
import torch
from adder_samples import KINDS, TOLERANCE, Case, error, expected, forced, results, upstream
from hypothesis import example, given, settings
from hypothesis import strategies as st
from one_sized_samples import VIEWS, by_patches, one_sized_cases, sweep
from ops_samples import elementwise, same
from quantize_samples import quantized_layer
from torch import Tensor
from torch.nn import functional as F

from saa_lite.kernels import machine
from saa_lite.nn import AdderConv2d, BinaryConv2d, ShiftConv2d, ShiftPSConv2d
from saa_lite.ops import (
    adder_conv2d,
    adder_conv2d_u8,
    adder_torch,
    shift_conv2d,
)
from saa_lite.ops._arguments import layout_of
from saa_lite.ops.adder_kernels import adder_operator
from saa_lite.quantize import to_integer

SEEDS = range(4)
CASES = 30  # for each seed

Kinds = tuple[str, str]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def registered(case: Case, x: Tensor, w: Tensor, grad: Tensor, kinds: Kinds) -> list[Tensor]:
    """By the operator that traced and transformed calls go through."""
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = adder_operator(x, w, *case.geometry, *kinds)
    return [y.detach(), *torch.autograd.grad(y, (x, w), grad)]


def in_torch(case: Case, x: Tensor, w: Tensor, grad: Tensor, kinds: Kinds) -> list[Tensor]:
    """By the operations of devices without kernels."""
    args, signs = (x, w, case.geometry), (kinds[0] == "sign", kinds[1] == "sign")
    of_weight = adder_torch.weight_sign_gradient if signs[0] else adder_torch.weight_full_gradient
    if kinds[1] == "full":
        of_input = adder_torch.input_full_gradient(grad, *args)
    else:
        of_input = adder_torch.input_gradient(grad, *args, sign_only=signs[1])
    return [adder_torch.forward(*args), of_input, of_weight(grad, *args)]


def check_adder(
    case: Case, x: Tensor, w: Tensor, grad: Tensor, kinds: Kinds, right: list[Tensor]
) -> None:
    """Every path gives the equations' numbers; the operator in the order of the input."""
    for kernel in ("chosen", "plain"):
        for count in (1, 2):
            with forced(kernel), threads(count):
                got = results(case, x, w, grad, kinds)
            for ours, wanted in zip(got, right, strict=True):
                assert error(ours, wanted) <= TOLERANCE[torch.float32], (kernel, count)
            assert all(t.is_contiguous(memory_format=layout_of(x)) for t in got[:2])
    for path in (registered, in_torch):
        for ours, wanted in zip(path(case, x, w, grad, kinds), right, strict=True):
            assert error(ours, wanted) <= TOLERANCE[torch.float32], path.__name__


@pytest.mark.parametrize("seed", SEEDS)
def test_adder(seed: int) -> None:
    for i, (case, view) in enumerate(sweep(seed, CASES)):
        x, w = map(view, case.tensors(torch.float32))
        grad, kinds = view(upstream(by_patches(case, x, w).float())), KINDS[i % len(KINDS)]
        check_adder(case, x, w, grad, kinds, expected(case, x, w, grad, kinds))


# One pixel under a larger output; and more bands than the image has rows.
@example(Case(2, 3, (1, 1), (1, 1), padding=(1, 1), batch=1), "contiguous")
@example(Case(3, 20, (1, 5), (4, 4), padding=(3, 3), batch=1), "contiguous")
@settings(derandomize=True, deadline=None, max_examples=60)
@given(case=one_sized_cases(), view=st.sampled_from(sorted(VIEWS)))
def test_adder_in_any_view(case: Case, view: str) -> None:
    x, w = (VIEWS[view](t) for t in case.tensors(torch.float32))
    grad = upstream(by_patches(case, x, w).float())
    check_adder(case, x, w, grad, ("full", "clip"), expected(case, x, w, grad, ("full", "clip")))


def test_one_pixel_by_hand() -> None:
    """Border places see 0, the middle one sees the pixel (10, 20)."""
    x = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1).requires_grad_()
    w = torch.tensor([[1.0, 2.0], [5.0, 7.0], [0.0, 0.0]]).view(3, 2, 1, 1)
    y = adder_conv2d(x, w, padding=1)
    wanted = torch.tensor([-3.0, -12.0, 0.0]).view(3, 1, 1).repeat(1, 3, 3)
    wanted[:, 1, 1] = torch.tensor([-27.0, -18.0, -30.0])
    assert torch.equal(y[0], wanted)
    grad = torch.zeros(1, 3, 3, 3)
    grad[0, 0, 1, 1] = 1.0
    y.backward(grad)
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [-1.0, -1.0]


def straight_through(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """What layer convolves, number by number: the values of input and weight in float64."""
    if isinstance(layer, BinaryConv2d):
        flat = layer.weight.detach().double().flatten(1)
        scaled = flat.abs().mean(1, keepdim=True) * torch.where(flat < 0, -1.0, 1.0)
        return torch.where(x < 0, -1.0, 1.0).double(), scaled.view(layer.weight.shape)
    on_grid = (x.double() * 2**16).floor() / 2**16
    if isinstance(layer, ShiftPSConv2d):
        pair = layer.shift.detach(), layer.sign.detach()
        return on_grid, elementwise(lambda p, s: shift_oracle.power(p, s, -14), *pair).double()
    weight = elementwise(lambda v: shift_oracle.quantize(v, -15), layer.weight.detach())
    return on_grid, weight.double()


def gradients_of(layer: Any, x: Tensor, dx: Tensor, dw: Tensor, weight: Tensor) -> list[Tensor]:
    """The papers' rules, from the convolution's gradients at the values: input, then parameters."""
    if isinstance(layer, BinaryConv2d):
        latent = layer.weight.detach().double()
        inside = weight.abs().where(latent.abs() <= 1, 0)
        return [dx.where(x.abs() <= 1, 0), dw * (1 / latent[0].numel() + inside)]
    if isinstance(layer, ShiftPSConv2d):
        return [dx, dw * weight * torch.tensor(2.0).double().log(), dw]
    return [dx, dw]


@pytest.mark.parametrize("kind", [ShiftConv2d, ShiftPSConv2d, BinaryConv2d])
def test_layers_that_convolve(kind: type) -> None:
    for seed in SEEDS:
        for case, view in sweep(seed, CASES // 2):
            x, w = case.tensors(torch.float32)
            sizes = (x.shape[1], len(w), case.kernel)
            layer: Any = kind(*sizes, *case.geometry, bias=False)
            with torch.no_grad():
                for name, parameter in layer.named_parameters():
                    value = w * 3 - 4 if name == "shift" else w
                    setattr(layer, name, torch.nn.Parameter(view(value).to(parameter)))
            x = view(x).requires_grad_()
            values, weight = (t.requires_grad_() for t in straight_through(layer, x.detach()))
            right = by_patches(case, values, weight)
            grad = view(upstream(right.detach().float()))
            pair = torch.autograd.grad(right, (values, weight), grad.double())
            wanted = gradients_of(layer, x.detach(), *pair, weight.detach())
            y = layer(x)
            got = torch.autograd.grad(y, (x, *layer.parameters()), grad)
            for ours, theirs in zip((y, *got), (right, *wanted), strict=True):
                # ±α may cancel to 0, where only the size of the addends is a measure.
                scale = max(1.0, theirs.detach().abs().max().item())
                torch.testing.assert_close(
                    ours.double() / scale, theirs / scale, rtol=0, atol=TOLERANCE[torch.float32]
                )


def draw(shape: torch.Size, low: int, high: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(low, high, shape, generator=generator, dtype=dtype)


VECTORS = [b for b in (0, *machine.BITS) if b <= machine.supported_bits()]


@pytest.mark.parametrize("bits", VECTORS)
def test_bytes(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "VECTOR_BITS", bits)
    for seed in SEEDS:
        for case, view in sweep(seed, CASES):
            x, w = (view(draw(t.shape, 0, 256, torch.uint8)) for t in case.tensors(torch.float32))
            up, side = case.padding
            padded = F.pad(x.double(), (side, side, up, up), value=37)
            geometry = case.geometry._replace(padding=(0, 0))
            wanted = adder_torch.forward(padded, w.double(), geometry).int()
            for count in (1, 2):
                with threads(count):
                    got = adder_conv2d_u8(x, w, *case.geometry, 37)
                same(got, wanted)
                assert got.is_contiguous(memory_format=layout_of(x))


def test_integer_shift() -> None:
    for seed in SEEDS:
        for case, view in sweep(seed, CASES):
            shapes = [t.shape for t in case.tensors(torch.float32)]
            x = view(draw(shapes[0], -128, 128, torch.int8))
            shift, sign = view(draw(shapes[1], -6, 1, torch.int8)), draw(shapes[1], -1, 2, x.dtype)
            wanted = by_patches(case, x, sign.double() * 2.0 ** (shift.double() + 7)).long()
            for count in (1, 2):
                with threads(count):
                    got = shift_conv2d(x.int(), shift, view(sign), *case.geometry, bits=4)
                same(got, wanted)


@torch.no_grad()
def test_quantised_layers_and_their_integers() -> None:
    for seed in SEEDS:
        for case, view in sweep(seed, CASES // 2):
            x, w = case.tensors(torch.float32)
            layer = AdderConv2d(x.shape[1], len(w), case.kernel, *case.geometry, adaptive_lr="off")
            layer.weight.copy_(w)
            quantized = quantized_layer(layer, 2.0, 4, signed=True)
            right, seen = quantized(x), view(x)
            same(quantized(seen), right)
            for path in ("bytes", "int32"):
                same(to_integer(quantized, path)(seen), right)
            assert error(quantized.train()(seen), right) <= TOLERANCE[torch.float32]
