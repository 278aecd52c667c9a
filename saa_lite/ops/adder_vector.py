"""From tensors to the vector kernels: when they apply, and what they are handed."""

from functools import lru_cache
from typing import Any, NamedTuple

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


class Ready(NamedTuple):
    """A walk about to start."""

    output: Tensor
    arguments: tuple[Any, ...]  # of the kernels; addresses, which keep no tensor from being freed
    work: int
    alive: tuple[Tensor, ...]  # so that these do

    def run(self) -> bool:
        """Fill the output; False where the kernel refuses."""
        done: bool = launch(*walk.sweep, *self.arguments, work=self.work)
        return done


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
    ready = prepare_forward(input, weight, geometry, value)
    ready.run()
    return ready.output


def prepare_forward(input: Tensor, weight: Tensor, geometry: Geometry, value: int = 0) -> Ready:
    """All of :func:`forward` but the walk."""
    layout, floats = layout_of(input), input.dtype == torch.float32
    weight = _dense(weight) if floats else weight.contiguous()
    shape, plan = _plan_for(DISTANCE if floats else WORDS, input, weight, geometry)
    dtype = torch.float32 if floats else torch.int32
    output = torch.empty(shape, dtype=dtype, memory_format=layout)
    return _ready(input.contiguous(memory_format=layout), None, weight, output, value, plan)


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry
) -> Tensor | None:
    """Σ G·clip(W − X, −1, 1) in the shape and layout of ``input``; None if Σw is not finite."""
    layout, weight = layout_of(input), _dense(weight)
    _, plan = _plan_for(CLIPPED, input, weight, geometry)
    output = torch.empty_like(input, memory_format=layout)
    input, grad = (t.contiguous(memory_format=layout) for t in (input, grad))
    return output if _ready(grad, input, weight, output, 0, plan).run() else None


def _ready(
    source: Tensor, own: Tensor | None, weight: Tensor, output: Tensor, value: int, plan: np.ndarray
) -> Ready:
    alive = source, source if own is None else own, weight
    addresses = *(tensor.data_ptr() for tensor in alive), output.data_ptr()
    work = work_of((output if own is None else source).shape, weight.shape)
    return Ready(output, (*addresses, value, plan), work, alive)


def _dense(weight: Tensor) -> Tensor:
    """``weight`` itself where it is contiguous or channels_last, else a contiguous copy."""
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return weight if last else weight.contiguous()


def _plan_for(
    kind: int, input: Tensor, weight: Tensor, geometry: Geometry
) -> tuple[tuple[int, ...], np.ndarray]:
    """Output shape, and the plan of a dense or channels_last ``weight``; nothing empty."""
    shapes = input.shape, weight.shape, layout_of(input), weight.is_contiguous()
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
) -> tuple[tuple[int, ...], np.ndarray]:
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
    return shape, plan_of(layer, tiles_of(KINDS[kind], bits, cache_folder()), shares, threads)


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
