"""From tensors to the vector kernels: packing of weights, bands, and when those kernels apply."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.ops import adder_vector
from saa_lite.ops._arguments import Pair, layout_of, output_shape
from saa_lite.ops._launch import launch, threads_wanted
from saa_lite.ops.vector_ir import LANES

BANDS_PER_THREAD = 4  # enough for threads to even out, few enough that halo rows stay cheap


def applies(input: Tensor, weight: Tensor, groups: int) -> bool:
    """float32 with enough filters and channels per group to fill half a vector.

    Weights must be finite: a padded upstream gradient of 0 would meet an infinite or NaN tap.
    """
    full_enough = min(weight.shape[0] // groups, weight.shape[1]) * 2 >= LANES
    empty = 0 in input.shape or 0 in weight.shape
    return (
        input.dtype == torch.float32 and full_enough and not empty and bool(weight.sum().isfinite())
    )


def forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """−Σ|x − w|, [B, T, H', W'] in the memory layout of ``input``."""
    shape = output_shape(input, weight, stride, padding, dilation)
    output = input.new_empty(shape).contiguous(memory_format=layout_of(input))
    kernel = weight.shape[2:]
    width = input.shape[3] + 2 * padding[1]
    channels = input.shape[1]
    segments = np.array(
        [
            (kh * dilation[0] * width + kw * dilation[1]) * channels * 4
            for kh in range(kernel[0])
            for kw in range(kernel[1])
        ]
    )
    plan = np.array([*stride, *padding, (kernel[0] - 1) * dilation[0] + 1, width])
    launch(
        adder_vector.forward_serial,
        adder_vector.forward_parallel,
        _images(input),
        _pack(weight.unflatten(0, (groups, -1))),
        segments,
        _images(output),
        _bands(shape[0], shape[2]),
        plan,
    )
    return output


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
    result = torch.empty_like(input, memory_format=layout_of(input))
    filters = weight.unflatten(0, (groups, -1)).transpose(1, 2)  # lanes run over channels here
    plan = np.array([stride, padding, dilation, weight.shape[2:]])
    launch(
        adder_vector.input_gradient_serial,
        adder_vector.input_gradient_parallel,
        _images(input),
        _pack(filters),
        _images(grad),
        _images(result),
        _bands(input.shape[0], input.shape[2]),
        plan,
    )
    return result


def _images(tensor: Tensor) -> np.ndarray:
    """[B, H, W, C] view of a [B, C, H, W] tensor, whatever its memory layout."""
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def _pack(weight: Tensor) -> np.ndarray:
    """[groups, lanes, run, kh, kw] → [groups, blocks, kh·kw·run, 16], zeros in unused lanes."""
    groups, lanes, run, kh, kw = weight.shape
    blocks = -(-lanes // LANES)
    full = F.pad(weight.detach(), (0, 0, 0, 0, 0, 0, 0, blocks * LANES - lanes))
    packed = full.unflatten(1, (blocks, LANES)).permute(0, 1, 4, 5, 3, 2)
    return packed.reshape(groups, blocks, kh * kw * run, LANES).contiguous().numpy()


def _bands(images: int, rows: int) -> int:
    """Bands per image: one when there are images enough for all threads."""
    threads = threads_wanted()
    if threads == 1 or images >= BANDS_PER_THREAD * threads:
        return 1
    return min(rows, -(-BANDS_PER_THREAD * threads // images))
