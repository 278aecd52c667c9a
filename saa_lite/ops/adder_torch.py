"""The adder convolution in plain torch operations, correct on any device.

One kernel tap at a time: a strided view of the padded image against the taps of a few filters at
once, so that the largest temporary stays below ``LARGEST_TEMPORARY`` numbers instead of the
published formulation's filters × taps × positions.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.kernels.geometry import Geometry, Pair
from saa_lite.ops import convolution
from saa_lite.ops._arguments import layout_of

LARGEST_TEMPORARY = 1 << 24  # numbers; 64 MB in float32


class Tap(NamedTuple):
    """One kernel position: where its inputs lie in the padded image."""

    kh: int
    kw: int
    rows: slice
    columns: slice


def taps(weight: Tensor, out: tuple[int, int], geometry: Geometry) -> Iterator[Tap]:
    """All kernel positions, with what ``out`` rows and columns see of the padded image there."""
    (down, right), _, (row, column), _ = geometry
    for kh, kw in product(*map(range, weight.shape[2:])):
        top, left = kh * row, kw * column
        rows = slice(top, top + (out[0] - 1) * down + 1, down)
        yield Tap(kh, kw, rows, slice(left, left + (out[1] - 1) * right + 1, right))


def _pad(input: Tensor, padding: Pair) -> Tensor:
    return F.pad(input, (padding[1], padding[1], padding[0], padding[0]))


def _split(tensor: Tensor, groups: int, dim: int) -> Tensor:
    """Split dimension ``dim`` into (groups, the rest)."""
    return tensor.unflatten(dim, (groups, tensor.shape[dim] // groups))


def _pieces(
    input: Tensor, weight: Tensor, geometry: Geometry
) -> Iterator[tuple[Tap, slice, Tensor, Tensor]]:
    """Tap by tap, for as many filters at once as memory allows: which, x and w.

    x is [B, g, 1, C/g, H', W'] and w [g, T/g, C/g, 1, 1], so that they meet in x − w.
    """
    batch, _, rows, columns = geometry.output_shape(input.shape, weight.shape)
    padded = _split(_pad(input, geometry.padding), geometry.groups, 1)
    filters = _split(weight, geometry.groups, 0)
    numbers = batch * input.shape[1] * rows * columns  # of one filter
    step = max(1, LARGEST_TEMPORARY // max(1, numbers))
    for tap in taps(weight, (rows, columns), geometry):
        x = padded[:, :, None, :, tap.rows, tap.columns]
        for n in range(0, filters.shape[1], step):
            some = slice(n, n + step)
            yield tap, some, x, filters[:, some, :, tap.kh, tap.kw, None, None]


def forward(input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W']."""
    output = input.new_zeros(geometry.output_shape(input.shape, weight.shape))
    output = _split(output, geometry.groups, 1)  # [B, g, T/g, H', W']
    for _, some, x, w in _pieces(input, weight, geometry):
        output[:, :, some] -= (x - w).abs().sum(3)
    return output.flatten(1, 2)


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, *, sign_only: bool
) -> Tensor:
    """Σ G·clip(W − X, −1, 1), or Σ G·sgn(W − X); the shape of ``input``."""
    upstream, (up, side) = _split(grad, geometry.groups, 1), geometry.padding
    result = torch.zeros_like(_split(_pad(input, geometry.padding), geometry.groups, 1))
    for tap, some, x, w in _pieces(input, weight, geometry):
        surrogate = sign(w - x) if sign_only else (w - x).clamp(-1, 1)
        result[:, :, :, tap.rows, tap.columns] += (upstream[:, :, some, None] * surrogate).sum(2)
    height, width = input.shape[2:]
    return result.flatten(1, 2)[:, :, up : up + height, side : side + width].contiguous()


def weight_sign_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Σ G·sgn(X − W); the shape of ``weight``."""
    upstream = _split(grad, geometry.groups, 1)
    result = torch.zeros_like(_split(weight, geometry.groups, 0))
    for tap, some, x, w in _pieces(input, weight, geometry):
        products = upstream[:, :, some, None] * sign(x - w)
        result[:, some, :, tap.kh, tap.kw] = products.sum((0, 4, 5))
    return result.flatten(0, 1)


def weight_full_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Σ_q G·(X − W) = (the ordinary convolution's weight gradient) − W·Σ_q G.

    Exact algebra, not exact arithmetic: where inputs and weights share an offset much larger than
    their spread, the two terms nearly cancel. In float32 an offset of 1,000 standard deviations
    leaves three or four digits. Behind batch norm, where adder layers stand, there is no offset.
    """
    # Of the weights only the shape matters here, and oneDNN is faster where layouts agree.
    shaped = torch.empty_like(weight, memory_format=layout_of(input))
    multiplied = convolution.weight_gradient(grad, input, shaped, geometry)
    total = grad.sum((0, 2, 3))[:, None, None, None]
    return multiplied.addcmul_(weight, total, value=-1)


def input_full_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Σ_t G·(W − X) = (the ordinary input gradient) − X·(the same with every tap set to 1)."""
    ones = torch.ones_like(weight)
    multiplied = convolution.input_gradient(grad, input, weight, geometry)
    reached = convolution.input_gradient(grad, input, ones, geometry)
    return multiplied.addcmul_(input, reached, value=-1)


def sign(d: Tensor) -> Tensor:
    """sgn(d) with sgn(NaN) = NaN, where torch.sign gives 0."""
    return d.sign().where(~d.isnan(), d)
