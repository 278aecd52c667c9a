"""Samples, oracle calls and comparisons that the adder tests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from unittest import mock

import torch
from ops_samples import LAYOUTS
from torch import Tensor

from saa_lite.kernels.geometry import Geometry, Pair
from saa_lite.ops import adder_conv2d, adder_vector, reference

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
KINDS = tuple(product(("full", "sign"), ("clip", "full", "sign")))  # weight and input gradient
KERNELS = ("plain", "chosen")
ALL_LAYOUTS = tuple(LAYOUTS)


@dataclass(frozen=True)
class Case:
    """One configuration; ``channels`` and ``filters`` are counted per group."""

    channels: int
    filters: int
    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    batch: int = 2

    @property
    def geometry(self) -> Geometry:
        """The positional arguments after input and weight."""
        return Geometry(self.stride, self.padding, self.dilation, self.groups)

    def tensors(self, dtype: torch.dtype, layout: str = "contiguous") -> tuple[Tensor, Tensor]:
        """Normal input, laid out as asked, and filters; the same numbers in every dtype."""
        shapes = (
            (self.batch, self.channels * self.groups, *self.size),
            (self.filters * self.groups, self.channels, *self.kernel),
        )
        generator = torch.Generator().manual_seed(sum(map(sum, shapes)))
        x, w = (torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)
        return LAYOUTS[layout](x), w


def error(got: Tensor, expected: Tensor) -> float:
    """max|a − b| / max|b|, the absolute difference where b is all zero, 0 where both are empty."""
    assert got.shape == expected.shape
    if not expected.numel():
        return 0.0
    scale = expected.abs().max().item()
    difference = (got.detach().double() - expected.double()).abs().max().item()
    return difference / scale if scale else difference


def upstream(output: Tensor, layout: str = "contiguous") -> Tensor:
    """A normal gradient arriving at ``output``."""
    generator = torch.Generator().manual_seed(output.numel())
    normal = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    return LAYOUTS[layout](normal.to(output.dtype))


def results(case: Case, x: Tensor, w: Tensor, grad: Tensor, kinds: tuple[str, str]) -> list[Tensor]:
    """Output, input gradient and weight gradient of the operator."""
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = adder_conv2d(x, w, *case.geometry, weight_gradient=kinds[0], input_gradient=kinds[1])
    return [y.detach(), *torch.autograd.grad(y, (x, w), grad)]


def expected(
    case: Case, x: Tensor, w: Tensor, grad: Tensor, kinds: tuple[str, str]
) -> list[Tensor]:
    """The same three by the equations in float64."""
    args = (x.detach(), w.detach(), *case.geometry)
    return [
        reference.adder_conv2d(*args),
        reference.adder_input_gradient(grad, *args, kinds[1]),
        reference.adder_weight_gradient(grad, *args, kinds[0]),
    ]


def check(case: Case, dtype: torch.dtype, layout: str, kinds: tuple[str, str]) -> None:
    """The operator agrees with the equations, in dtype, shape and value."""
    x, w = case.tensors(dtype, layout)
    grad = upstream(adder_conv2d(x, w, *case.geometry), layout)
    got = results(case, x, w, grad, kinds)
    for ours, right in zip(got, expected(case, x, w, grad, kinds), strict=True):
        assert error(ours, right) <= TOLERANCE[dtype]
        assert ours.dtype == dtype


@contextmanager
def forced(kernel: str) -> Iterator[None]:
    """``"plain"``: only the readable kernels run; ``"chosen"``: those the operator picks."""
    if kernel == "chosen":
        yield
        return
    with mock.patch.object(adder_vector, "applies", return_value=False):
        yield
