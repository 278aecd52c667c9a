"""The adder convolution on NVIDIA GPUs: launching :mod:`saa_lite.ops.adder_triton_kernels`.

Importing this module imports Triton, which comes with torch's CUDA wheels for Linux. Kernels are
compiled on first use and cached on disk by Triton; nothing is compiled at install.
"""

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor
from torch.nn import functional as F

from saa_lite.kernels.geometry import Pair, output_shape
from saa_lite.ops.adder_tiles import THREADS, Tile, choose_chunks, choose_tile, weight_tile
from saa_lite.ops.adder_triton_kernels import (
    forward_kernel,
    input_gradient_kernel,
    weight_sign_kernel,
)

Geometry = tuple[Pair, Pair, Pair, int]  # stride, padding, dilation and groups

GRADIENT_REGISTERS = 168  # three blocks; what spills is touched once per tap, not per channel
FEWEST_PER_GROUP = 4  # channels or filters; narrower groups would leave most of a tile unused
ALIGNED = 16  # bytes of the longest load; code for other addresses spills registers
BYTES_AT_ONCE = "one by one" if triton.knobs.runtime.interpret else "vabsdiff4"


def start() -> None:
    """Have Triton build what it launches kernels with, which takes a C compiler, or fail now."""
    triton.runtime.driver.active.get_current_device()


def forward(
    input: Tensor, weight: Tensor, *geometry: *Geometry, tile: Tile | None = None
) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W'], channels_last."""
    return _forward(input, weight, geometry, tile, "", 0)


def forward_u8(
    input: Tensor, weight: Tensor, *options: *tuple[Pair, Pair, Pair, int, int]
) -> Tensor:
    """As :func:`forward`, of uint8 to int32; channels that fill up a word add nothing."""
    *_, groups, padding_value = options
    missing = -weight.shape[1] % 4
    if missing:
        fill = (0, 0) * 2 + (0, missing)
        x = F.pad(input.unflatten(1, (groups, -1)), fill, value=padding_value)
        input, weight = x.flatten(1, 2), F.pad(weight, fill, value=padding_value)
    words, taps = _words(_channels_last(input)), _words(weight)
    beyond = padding_value * 0x01010101
    beyond -= (beyond >> 31) << 32  # the same word, signed
    return _forward(words, taps, options[:4], None, BYTES_AT_ONCE, beyond)


def _forward(
    input: Tensor, weight: Tensor, geometry: Geometry, tile: Tile | None, bytes_by: str, beyond: int
) -> Tensor:
    stride, padding, dilation, groups = geometry
    shape = output_shape(input, weight, stride, padding, dilation)
    output = torch.empty(
        shape, dtype=input.dtype, device=input.device, memory_format=torch.channels_last
    )
    channels = weight.shape[1]
    banks, lanes, narrow = _lanes(groups, weight.shape[0] // groups, channels)
    pixels, kind = shape[0] * shape[2] * shape[3], "narrow forward" if any(narrow) else "forward"
    tile = tile or choose_tile(pixels, lanes, banks, _multiprocessors(input), kind)
    tall, wide = tile.blocks(pixels, lanes)
    flat, vector = _is_flat(weight, stride, padding), 1 if any(narrow) else _vector(channels)
    packed = _pack(weight.unflatten(0, (banks, -1)).transpose(1, 2), tile.filters)
    with torch.cuda.device_of(input):
        forward_kernel[(tall, wide, banks)](
            _channels_last(input), packed, output, pixels, lanes, packed.shape[-1] // 4,
            channels // vector, *_sizes(input, shape, weight, flat), *stride, *padding, *dilation,
            beyond, *tile, vector, _vector(lanes), *narrow, flat, padding != (0, 0), bytes_by,
            num_warps=THREADS // 32, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    return output


def input_gradient(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    *options: *tuple[Pair, Pair, Pair, int, str],
    tile: Tile | None = None,
) -> Tensor:
    """Σ G·s(W − X) with s = "clip", "full" or "sign"; the shape of ``input``, channels_last."""
    stride, padding, dilation, groups, kind = options
    result = torch.empty_like(input, memory_format=torch.channels_last)
    filters = weight.shape[0] // groups
    banks, lanes, narrow = _lanes(groups, weight.shape[1], filters)
    rows, columns = (-(-input.shape[2 + i] // stride[i]) for i in (0, 1))
    pixels, remainders = input.shape[0] * rows * columns, stride[0] * stride[1]
    work = pixels * remainders, lanes, banks, _multiprocessors(input)
    tile = tile or choose_tile(*work, "narrow gradient" if any(narrow) else "gradient")
    tall, wide = tile.blocks(pixels, lanes)
    flat, vector = _is_flat(weight, stride, padding), 1 if any(narrow) else _vector(filters)
    by_group = weight.unflatten(0, (groups, -1))  # [groups, filters, channels, ·, ·]
    if any(narrow):
        by_group = by_group.transpose(0, 1).flatten(1, 2)[None]  # [1, filters, all channels, ·, ·]
    packed = _pack(by_group, tile.filters)
    with torch.cuda.device_of(input):
        input_gradient_kernel[(tall * remainders, wide, banks)](
            _channels_last(grad), packed, _channels_last(input), result,
            packed if kind == "full" else weight.sum(), pixels, lanes, packed.shape[-1] // 4,
            filters // vector, *_sizes(input, grad.shape, weight, flat), *stride, *padding,
            *dilation, *tile, vector, _vector(lanes), *narrow, flat, kind,
            num_warps=THREADS // 32, num_stages=1, maxnreg=GRADIENT_REGISTERS,
            enable_fp_fusion=True,
        )  # fmt: skip
    return result


def weight_sign_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, *geometry: *Geometry
) -> Tensor:
    """Σ G·sgn(X − W) in the shape of ``weight``: sums of chunks, then the sum of these in order."""
    stride, padding, dilation, groups = geometry
    channels = weight.shape[1]
    banks, lanes, narrow = _lanes(groups, weight.shape[0] // groups, channels)
    rows, lines = channels * weight.shape[2] * weight.shape[3], grad.shape[0] * grad.shape[2]
    tile = weight_tile(rows, lanes)
    tall, wide = tile.blocks(rows, lanes)
    packed = _pack(weight.unflatten(0, (banks, -1)).transpose(1, 2), tile.filters)
    chunks = choose_chunks(lines, tall * wide * banks, _multiprocessors(input))
    parts = packed.new_empty(chunks, *packed.shape)  # [chunks, banks, kh, kw, channels, lanes]
    sizes = _sizes(input, grad.shape, weight, False)[:-1]
    with torch.cuda.device_of(input):
        weight_sign_kernel[(tall * wide, chunks, banks)](
            _channels_last(grad), _channels_last(input), packed, parts, rows, lanes,
            packed.shape[-1] // 4, channels, *sizes, *stride, *padding, *dilation, lines, *tile,
            _vector(lanes), *narrow,
            num_warps=THREADS // 32, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    return parts.sum(0)[..., :lanes].permute(0, 4, 3, 1, 2).flatten(0, 1)


def _lanes(groups: int, per_group: int, depth: int) -> tuple[int, int, tuple[int, int]]:
    """Banks of lanes, lanes of each, and PER and DEPTH of the kernels."""
    if groups > 1 and min(per_group, depth) < FEWEST_PER_GROUP:
        return 1, groups * per_group, (per_group, depth)
    return groups, per_group, (0, 0)


def _multiprocessors(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return 1  # Triton's interpreter
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count


def _channels_last(images: Tensor) -> Tensor:
    dense = images.contiguous(memory_format=torch.channels_last)
    if dense.data_ptr() % ALIGNED:
        return dense.clone(memory_format=torch.channels_last)
    return dense


def _words(images: Tensor) -> Tensor:
    """uint8 [B, C, H, W] → int32 [B, C/4, H, W], channels_last."""
    last = images.permute(0, 2, 3, 1)
    return last.reshape(-1).view(torch.int32).view(*last.shape[:3], -1).permute(0, 3, 1, 2)


def _pack(weight: Tensor, multiple: int) -> Tensor:
    """[groups, sum, lanes, kh, kw] → [groups, kh, kw, sum, lanes], lanes rounded up.

    What stands in surplus lanes is never used.
    """
    ordered = weight.permute(0, 3, 4, 1, 2)
    *outer, lanes = ordered.shape
    packed = weight.new_empty(*outer, -(-lanes // multiple) * multiple)
    packed[..., :lanes] = ordered
    return packed


def _is_flat(weight: Tensor, stride: Pair, padding: Pair) -> bool:
    """Whether every output pixel sees exactly the input pixel at its own place."""
    return tuple(weight.shape[2:]) == stride == (1, 1) and padding == (0, 0)


def _vector(count: int) -> int:
    """Neighbouring channels in one load or store."""
    return 4 if count % 4 == 0 else 1


def _sizes(input: Tensor, out: tuple[int, ...], weight: Tensor, flat: bool) -> tuple[int, ...]:
    """H, W, OH, OW, KW, TAPS; flat images count as a batch of single pixels."""
    kh, kw = weight.shape[2:]
    if flat:
        return 1, 1, 1, 1, kw, kh * kw
    return *input.shape[2:], *out[2:], kw, kh * kw
