"""From tensors to the vector kernels: when they apply, packed weights, tables of addresses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.ops import adder_backward, adder_forward
from saa_lite.ops._arguments import Pair, layout_of, output_shape
from saa_lite.ops._launch import bands_to_share, launch
from saa_lite.ops.adder_tiles import FLOAT, VECTOR
from saa_lite.ops.vector_ir import LANES

BAND_BYTES = 256 * 1024  # of padded input: stays in a core's second-level cache
FLAT_PIXELS = 4096  # longest row that a small image is flattened to


def applies(input: Tensor, weight: Tensor, groups: int) -> bool:
    """float32 with at least two filters and channels per group, all weights finite.

    Fewer leave the vectors empty. A padded upstream gradient of 0 would meet an infinite or NaN
    tap in the input gradient, and make a NaN that the equation does not have.
    """
    full_enough = min(weight.shape[0] // groups, weight.shape[1]) >= 2
    empty = 0 in input.shape or 0 in weight.shape
    return (
        input.dtype == torch.float32 and full_enough and not empty and bool(weight.sum().isfinite())
    )


def forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """−Σ|x − w|, [B, T, H', W'] in the memory layout of ``input``."""
    output, arguments = prepare_forward(input, weight, stride, padding, dilation, groups)
    launch(adder_forward.forward_serial, adder_forward.forward_parallel, *arguments)
    return output


def prepare_forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Tensor, tuple[Any, ...]]:
    """The output, not yet computed, and the arguments of the kernels that will."""
    shape = output_shape(input, weight, stride, padding, dilation)
    output = torch.empty(shape, memory_format=layout_of(input))
    planar = _is_planar(input)
    input = input.contiguous(memory_format=layout_of(input))
    x, y = _flattened([input, output], weight, stride, padding)
    kernel = weight.shape[2:]
    joined = dilation[1] == 1 and groups == 1
    columns = x.shape[3] + 2 * padding[1]
    across = [0] if joined else [kw * dilation[1] for kw in range(kernel[1])]
    pixels = [kh * dilation[0] * columns + kw for kh in range(kernel[0]) for kw in across]
    packed = _pack(weight.unflatten(0, (groups, -1)))
    direct = not planar and padding == (0, 0)
    return output, (
        _array(x, planar),
        packed.numpy(),
        packed.sum(2).numpy(),
        np.array(pixels) * (x.shape[1] * FLOAT),
        weight.shape[1] * (kernel[1] if joined else 1),
        _array(y, planar),
        _bands(x, padding),
        np.array([*stride, *dilation, *kernel, *padding, planar, direct]),
    )


def input_gradient(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Σ G·clip(W − X, −1, 1) in the shape and memory layout of ``input``."""
    kernel, filters = weight.shape[2:], weight.shape[0]
    joined = stride == (1, 1) and dilation[1] == 1 and groups == 1
    rows, columns = (_phases(*geometry) for geometry in zip(kernel, stride, dilation, strict=True))
    before = [-min(tap for taps in phases for _, tap in taps) for phases in (rows, columns)]
    result = torch.empty_like(input, memory_format=layout_of(input))
    planar = _is_planar(input)
    input, grad = (t.contiguous(memory_format=layout_of(input)) for t in (input, grad))
    x, g, dx = _flattened([input, grad, result], weight, stride, padding)
    direct = not planar and padding == (0, 0) and tuple(kernel) == (1, 1)
    reach = (x.shape[3] - 1 + padding[1]) // stride[1] + 1
    pitch = g.shape[3] if direct else before[1] + max(g.shape[3], reach)
    per_tap = filters // groups
    segments, counts = _segments(rows, columns, kernel[1], pitch, filters, per_tap, joined)
    if counts.min() == 0:
        result.zero_()  # no window reaches these pixels
    # Lanes run over channels here; a row of taps is reversed, so that it follows the gradient's.
    packed = _pack(weight.flip(3).unflatten(0, (groups, -1)).transpose(1, 2))
    launch(
        adder_backward.input_gradient_serial,
        adder_backward.input_gradient_parallel,
        _array(x, planar),
        packed.numpy(),
        _array(g, planar),
        segments,
        counts,
        per_tap * (kernel[1] if joined else 1),
        _array(dx, planar),
        _bands(x, padding),
        np.array([*stride, *padding, *before, pitch, planar, direct]),
    )
    return result


def _phases(kernel: int, stride: int, dilation: int) -> list[list[tuple[int, int]]]:
    """Per phase of a padded position: taps that reach it, and where their window lies.

    The window is counted from that of the position divided by the stride: 0 or negative.
    """
    return [
        [(k, (phase - k * dilation) // stride) for k in range(kernel)
         if (phase - k * dilation) % stride == 0]
        for phase in range(stride)
    ]  # fmt: skip


def _segments(
    rows: Sequence[Sequence[tuple[int, int]]],
    columns: Sequence[Sequence[tuple[int, int]]],
    kernel_columns: int,
    pitch: int,
    filters: int,
    per_tap: int,
    joined: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Byte offsets in gradient and weights of every stretch, and their number, by phase."""
    tables = {}
    for a, down in enumerate(rows):
        for b, across in enumerate(columns):
            used = across[-1:] if joined else across  # the last tap is the leftmost window
            tables[a, b] = [
                (
                    (row * pitch + column) * filters * FLOAT,
                    (kh * kernel_columns + kernel_columns - 1 - kw) * per_tap * VECTOR,
                )
                for kh, row in down
                for kw, column in used
            ]
    counts = np.array([[len(tables[a, b]) for b in range(len(columns))] for a in range(len(rows))])
    segments = np.zeros((*counts.shape, max(1, counts.max()), 2), np.int64)
    for (a, b), table in tables.items():
        segments[a, b, : len(table)] = np.array(table, np.int64).reshape(-1, 2)
    return segments, counts


def _is_planar(input: Tensor) -> bool:
    return layout_of(input) is torch.contiguous_format


def _flattened(
    tensors: Sequence[Tensor], weight: Tensor, stride: Pair, padding: Pair
) -> list[Tensor]:
    """For 1×1 layers small images as one row each: short rows leave tiles half empty."""
    width, pixels = tensors[0].shape[3], tensors[0].shape[2] * tensors[0].shape[3]
    pointwise = tuple(weight.shape[2:]) == stride == (1, 1) and padding == (0, 0)
    if not pointwise or width % 8 == 0 or pixels > FLAT_PIXELS:
        return list(tensors)
    return [t.flatten(2).unsqueeze(2) for t in tensors]


def _array(tensor: Tensor, planar: bool) -> np.ndarray:
    """[B, C, H, W] if ``planar``, else [B, H, W, C]; the caller has seen to it that it is dense."""
    tensor = tensor.detach()
    return tensor.numpy() if planar else tensor.permute(0, 2, 3, 1).numpy()


def _pack(weight: Tensor) -> Tensor:
    """[groups, lanes, run, kh, kw] → [groups, blocks, kh·kw·run, 16], zeros in unused lanes."""
    groups, lanes, run, kh, kw = weight.shape
    blocks = -(-lanes // LANES)
    full = F.pad(weight.detach(), (0, 0, 0, 0, 0, 0, 0, blocks * LANES - lanes))
    packed = full.unflatten(1, (blocks, LANES)).permute(0, 1, 4, 5, 3, 2)
    return packed.reshape(groups, blocks, kh * kw * run, LANES).contiguous()


def _bands(images: Tensor, padding: Pair) -> int:
    """Bands per image: enough to share out among threads and to stay in cache."""
    count, channels, height, width = images.shape
    size = FLOAT * channels * (height + 2 * padding[0]) * (width + 2 * padding[1])
    return min(height, max(bands_to_share(count, height), -(-size // BAND_BYTES)))
