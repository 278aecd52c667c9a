"""From tensors to the vector kernels: when they apply, and what they are handed."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saa_lite.kernels import machine, walk
from saa_lite.kernels.compile import cache_folder
from saa_lite.kernels.geometry import Geometry
from saa_lite.kernels.plan import CLIPPED, DISTANCE, KINDS, WORDS, Layer, plan_of
from saa_lite.kernels.tables import tiles_of
from saa_lite.ops._arguments import layout_of, walks_channels_last
from saa_lite.ops._launch import bands_to_share, launch, threads_wanted, work_of

FLAT_PIXELS = 4096  # longest row that a planar image is flattened to
ROW_PIXELS = 64  # longest row that a heap of pixels is cut into
Planned = tuple[tuple[int, ...], np.ndarray, int]  # output shape, plan, work


def applies(input: Tensor, weight: Tensor, groups: int) -> bool:
    """float32 with at least two filters and channels per group; fewer leave vectors empty."""
    return (
        input.dtype == torch.float32
        and machine.VECTOR_BITS > 0
        and weight.shape[0] >= 2 * groups
        and weight.shape[1] >= 2
        and input.numel() > 0
        and weight.numel() > 0
    )


def forward(input: Tensor, weight: Tensor, geometry: Geometry, value: int = 0) -> Tensor:
    """−Σ|x − w|, [B, T, H', W'] in the layout of ``input``, float32 or of bytes (then int32).

    Args:
        value: what padded pixels hold; 0 for float32.
    """
    output, run = prepare_forward(input, weight, geometry, value)
    run()
    return output


def prepare_forward(
    input: Tensor, weight: Tensor, geometry: Geometry, value: int = 0
) -> tuple[Tensor, Callable[[], bool]]:
    """The output, and the walk that fills it."""
    layout, floats = layout_of(input), input.dtype == torch.float32
    weight, input = _dense(weight, floats), input.contiguous(memory_format=layout)
    shape, plan, work = _plan_for(DISTANCE if floats else WORDS, input, weight, layout, geometry)
    dtype = torch.float32 if floats else torch.int32
    output = torch.empty(shape, dtype=dtype, memory_format=layout)
    return output, partial(_walk, input, input, weight, output, value, plan, work)


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry
) -> Tensor | None:
    """Σ G·clip(W − X, −1, 1) in the shape and layout of ``input``; None if Σw is not finite."""
    layout, weight = layout_of(input), _dense(weight, True)
    _, plan, work = _plan_for(CLIPPED, input, weight, layout, geometry)
    output = torch.empty_like(input, memory_format=layout)
    input, grad = (t.contiguous(memory_format=layout) for t in (input, grad))
    return output if _walk(grad, input, weight, output, 0, plan, work) else None


def _walk(
    source: Tensor, own: Tensor, weight: Tensor, output: Tensor, value: int, plan: Any, work: int
) -> bool:
    """Tensors are arguments so that they live as long as their addresses are in use."""
    addresses = source.data_ptr(), own.data_ptr(), weight.data_ptr(), output.data_ptr()
    filled: bool = launch(*walk.sweep, *addresses, value, plan, work=work)
    return filled


def _dense(weight: Tensor, floats: bool) -> Tensor:
    """``weight`` itself where it is contiguous or (floats) channels_last, else a copy."""
    last = floats and weight.is_contiguous(memory_format=torch.channels_last)
    return weight if last else weight.contiguous()


def _plan_for(
    kind: int, input: Tensor, weight: Tensor, layout: torch.memory_format, geometry: Geometry
) -> Planned:
    """Of a dense or channels_last ``weight``; nothing is empty."""
    shapes = input.shape, weight.shape, layout, weight.is_contiguous()
    return _plan(kind, machine.VECTOR_BITS, *shapes, threads_wanted(), geometry)


@lru_cache(maxsize=256)
def _plan(
    kind: int,
    bits: int,
    input_shape: torch.Size,
    weight_shape: torch.Size,
    layout: torch.memory_format,
    dense: bool,
    threads: int,
    geometry: Geometry,
) -> Planned:
    shape = geometry.output_shape(input_shape, weight_shape)
    planar = not walks_channels_last(layout, input_shape, shape)
    images, channels, height, width = input_shape
    (filters, _, *kernel), (rows, columns) = weight_shape, shape[2:]
    if tuple(kernel) == geometry.stride == (1, 1) and geometry.padding == (0, 0):
        images, height, width = _pixels(images, height, width, planar)
        rows, columns = height, width
    source, target = (channels, height, width), (filters, rows, columns)
    if kind == CLIPPED:
        source, target = target, source
    layer = Layer(
        machine.machine_of(bits),
        kind,
        images,
        source,
        target,
        (kernel[0], kernel[1]),
        geometry,
        planar,
        dense,
    )
    shares = bands_to_share(images, min(source[1], target[1]))
    plan = plan_of(layer, tiles_of(KINDS[kind], bits, cache_folder()), shares, threads)
    return shape, plan, work_of(shape, weight_shape)


def _pixels(images: int, height: int, width: int, planar: bool) -> tuple[int, int, int]:
    """Images, rows and columns to walk over where every pixel is on its own."""
    if planar:
        pixels = height * width
        keep = width % 8 == 0 or pixels > FLAT_PIXELS
        return (images, height, width) if keep else (images, 1, pixels)
    pixels = images * height * width
    for columns in range(ROW_PIXELS, 7, -8):
        if pixels % columns == 0:
            return 1, pixels // columns, columns
    return (1, 1, pixels) if pixels <= FLAT_PIXELS else (images, height, width)
