"""The adder convolution in plain torch operations, correct on any device.

One kernel tap at a time: a strided view of the padded image against the taps of a few filters at
once, so that the largest temporary stays below ``LARGEST_TEMPORARY`` numbers instead of the
published formulation's filters × taps × positions.
"""

from collections.abc import Iterator
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


def taps(weight: Tensor, out: tuple[int, ...], stride: Pair, dilation: Pair) -> Iterator[Tap]:
    """All kernel positions, with the slices of the padded image that they see."""
    for kh in range(weight.shape[2]):
        top = kh * dilation[0]
        rows = slice(top, top + (out[2] - 1) * stride[0] + 1, stride[0])
        for kw in range(weight.shape[3]):
            left = kw * dilation[1]
            columns = slice(left, left + (out[3] - 1) * stride[1] + 1, stride[1])
            yield Tap(kh, kw, rows, columns)


def _pad(input: Tensor, padding: Pair) -> Tensor:
    return F.pad(input, (padding[1], padding[1], padding[0], padding[0]))


def _split(tensor: Tensor, groups: int, dim: int) -> Tensor:
    """Split dimension ``dim`` into (groups, the rest)."""
    return tensor.unflatten(dim, (groups, tensor.shape[dim] // groups))


def _filters_at_once(numbers_per_filter: int) -> int:
    return max(1, LARGEST_TEMPORARY // max(1, numbers_per_filter))


def forward(input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W']."""
    stride, padding, dilation, groups = geometry
    shape = geometry.output_shape(input.shape, weight.shape)
    padded = _split(_pad(input, padding), groups, 1)  # [B, g, C/g, ·, ·]
    filters = _split(weight, groups, 0)  # [g, T/g, C/g, kh, kw]
    output = _split(input.new_zeros(shape), groups, 1)  # [B, g, T/g, H', W']
    step = _filters_at_once(shape[0] * input.shape[1] * shape[2] * shape[3])
    for tap in taps(weight, shape, stride, dilation):
        x = padded[:, :, None, :, tap.rows, tap.columns]
        for n in range(0, filters.shape[1], step):
            w = filters[:, n : n + step, :, tap.kh, tap.kw, None, None]
            output[:, :, n : n + step] -= (x - w).abs().sum(3)
    return output.flatten(1, 2)


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, sign_only: bool
) -> Tensor:
    """Σ G·clip(W − X, −1, 1), or Σ G·sgn(W − X); the shape of ``input``."""
    stride, padding, dilation, groups = geometry
    padded = _split(_pad(input, padding), groups, 1)
    filters, upstream = _split(weight, groups, 0), _split(grad, groups, 1)
    result = torch.zeros_like(padded)
    step = _filters_at_once(grad.shape[0] * input.shape[1] * grad.shape[2] * grad.shape[3])
    for tap in taps(weight, grad.shape, stride, dilation):
        x = padded[:, :, None, :, tap.rows, tap.columns]
        for n in range(0, filters.shape[1], step):
            w = filters[:, n : n + step, :, tap.kh, tap.kw, None, None]
            g = upstream[:, :, n : n + step, None]
            surrogate = sign(w - x) if sign_only else (w - x).clamp(-1, 1)
            result[:, :, :, tap.rows, tap.columns] += (g * surrogate).sum(2)
    height, width = input.shape[2:]
    inner = result.flatten(1, 2)[:, :, padding[0] :, padding[1] :]
    return inner[:, :, :height, :width].contiguous()


def weight_sign_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Σ G·sgn(X − W); the shape of ``weight``."""
    stride, padding, dilation, groups = geometry
    padded = _split(_pad(input, padding), groups, 1)
    filters, upstream = _split(weight, groups, 0), _split(grad, groups, 1)
    result = torch.zeros_like(filters)
    step = _filters_at_once(grad.shape[0] * input.shape[1] * grad.shape[2] * grad.shape[3])
    for tap in taps(weight, grad.shape, stride, dilation):
        x = padded[:, :, None, :, tap.rows, tap.columns]
        for n in range(0, filters.shape[1], step):
            w = filters[:, n : n + step, :, tap.kh, tap.kw, None, None]
            g = upstream[:, :, n : n + step, None]
            result[:, n : n + step, :, tap.kh, tap.kw] = (g * sign(x - w)).sum((0, 4, 5))
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
