# mypy: disallow-untyped-defs=False
# (Triton gives kernel arguments their types at launch.)
"""The adder convolution on NVIDIA GPUs: forward and input gradient as Triton kernels.

Importing this module imports Triton, which comes with torch's CUDA wheels for Linux. Kernels are
compiled on first use and cached on disk by Triton; nothing is compiled at install.

The kernels are an implicit matrix product, pixels × filters, with |x − w| in place of x·w. A block
of 128 threads owns a tile; each thread keeps TM pixels × TN·4 filters of it in registers. Triton
spreads the last dimensions of a tensor over the threads first, so tiles have the shape::

    [TM, TN, PM, PN, 4]      TM, TN, 4: registers of one thread;   PM·PN = 128: threads

and a tensor of shape [TM, 1, PM, PN, ·] or [1, TN, PM, PN, ·] holds, in every thread, just the
pixels or the weights that this thread needs. They come through the L1 cache in 16-byte loads, with
neither shared memory nor barriers in the loop. Per |x − w| two instructions remain, ``d = x − w``
and ``acc += |d|`` (the absolute value is an operand modifier): the fewest that fp32 allows.

Clipping costs nothing in the gradient: with s = saturate((w − x)/2 + ½), one instruction, the
surrogate clip(w − x, −1, 1) is 2s − 1, so that Σ g·clip(w − x) = 2·Σ g·s − Σ g. Rounding s is worth
at most 2^−22·max(1, |w|) per term. Saturation hides NaN and turns an infinite g into NaN: a tile
that met such a number is computed once more by the literal formula.
"""

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor

from saa_lite.kernels.geometry import Pair, output_shape
from saa_lite.ops.adder_gpu import THREADS, choose_tile

GRADIENT_REGISTERS = 168  # three blocks; what spills is touched once per tap, not per channel


@triton.jit
def _pixel_numbers(TM: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr):
    """[TM, 1, PM, PN, 1]: the pixels of the tile that each thread owns."""
    register = tl.arange(0, TM)[:, None, None, None, None] * PM
    thread = tl.arange(0, PM)[None, None, :, None, None]
    return register + thread + 0 * tl.arange(0, PN)[None, None, None, :, None]


@triton.jit
def _filter_numbers(TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr):
    """[1, TN, PM, PN, 4]: the filters of the tile that each thread owns."""
    register = tl.arange(0, TN)[None, :, None, None, None] * (PN * 4)
    thread = tl.arange(0, PN)[None, None, None, :, None] * 4
    lane = tl.arange(0, 4)[None, None, None, None, :]
    return register + thread + lane + 0 * tl.arange(0, PM)[None, None, :, None, None]


@triton.jit
def _apart(run, VK: tl.constexpr):
    """[TM, 1, PM, PN, VK] → VK tensors [TM, 1, PM, PN, 1], without leaving the registers."""
    if VK == 1:
        return (run,)
    else:  # noqa: RET505 - only one branch is compiled
        even, odd = tl.split(run.reshape(run.shape[:4] + (2, 2)))  # noqa: RUF005
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return (
            tl.expand_dims(first, 4), tl.expand_dims(second, 4),
            tl.expand_dims(third, 4), tl.expand_dims(fourth, 4),
        )  # fmt: skip


INTEGERS = ["M", "N", "NP", "C", "H", "W", "OH", "OW", "KW", "TAPS"]
INTEGERS += ["SH", "SW", "PH", "PW", "DH", "DW"]


@triton.jit(do_not_specialize=INTEGERS)
def forward_kernel(
    x, w, y, M, N, NP, C, H, W, OH, OW, KW, TAPS, SH, SW, PH, PW, DH, DW,
    TM: tl.constexpr, TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr,
    VK: tl.constexpr, VS: tl.constexpr, FLAT: tl.constexpr, PAD: tl.constexpr,
):  # fmt: skip
    """y[m, n] = −Σ|x − w| for M pixels × N filters, per group.

    x: [B, H, W, groups·C·VK]; w: [groups, TAPS, C·VK, NP·4]; y: [M, groups·N].
    VK channels make one load, VS filters one store. FLAT: a pixel sees just itself.
    """
    group, groups = tl.program_id(2), tl.num_programs(2)
    m = tl.program_id(0) * (TM * PM) + _pixel_numbers(TM, PM, PN)
    n = tl.program_id(1) * (TN * PN * 4) + _filter_numbers(TN, PM, PN)
    within = tl.minimum(m, M - 1)  # surplus pixels repeat the last one and are not stored
    if FLAT:
        row, column, corner = 0 * within, 0 * within, within
    else:
        row = within // OW % OH * SH - PH
        column = within % OW * SW - PW
        corner = (within // OW // OH * H + row) * W + column
    run = tl.arange(0, VK)[None, None, None, None, :]
    weights = w + group * TAPS * C * VK * NP * 4 + n
    acc = tl.zeros((TM, TN, PM, PN, 4), tl.float32)
    for tap in range(TAPS):
        down, right = tap // KW * DH, tap % KW * DW
        inside = (row + down >= 0) & (row + down < H) & (column + right >= 0) & (column + right < W)
        pixel = (corner + down * W + right).to(tl.int64)
        xs = x + (pixel * groups + group) * C * VK + run
        for c in tl.range(0, C, loop_unroll_factor=2):
            if PAD:
                values = _apart(tl.load(xs + c * VK, mask=inside, other=0.0), VK)
            else:
                values = _apart(tl.load(xs + c * VK), VK)
            for k in tl.static_range(VK):
                taps = tl.load(weights + ((tap * C + c) * VK + k) * NP * 4)
                acc += tl.abs(values[k].to(tl.float32) - taps.to(tl.float32))
    at = (m.to(tl.int64) * groups + group) * (N // VS) * VS + n
    tl.store(y + at, -acc, mask=(m < M) & (n // VS < N // VS))


@triton.jit
def _sum_over_taps(
    g, w, x, image, row, column, RH, RW, group, groups, NP, C, OH, OW, KW, TAPS, SH, SW, DH, DW,
    VK: tl.constexpr, FLAT: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """(Σ G·s, Σ G) over the taps and filters that see each pixel, s after KIND.

    g: [B, OH, OW, groups·C·VK]; w: [TAPS, C·VK, NP·4], C·VK filters × channels; x: one tile;
    row, column: pixels in the padded image, which leave RH and RW when divided by the stride.
    """
    run = tl.arange(0, VK)[None, None, None, None, :]
    acc = tl.zeros(x.shape, tl.float32)
    total = tl.zeros(row.shape, tl.float32)
    for tap in range(TAPS):
        # −i·d leaves the same remainder as i·d·(stride − 1): the tap meets all pixels or none.
        rows_meet = (RH + tap // KW * DH * (SH - 1)) % SH == 0
        columns_meet = (RW + tap % KW * DW * (SW - 1)) % SW == 0
        if rows_meet & columns_meet:
            down, right = row - tap // KW * DH, column - tap % KW * DW
            inside = (down >= 0) & (down // SH < OH) & (right >= 0) & (right // SW < OW)
            pixel = ((image * OH + down // SH) * OW + right // SW).to(tl.int64)
            gs = g + (pixel * groups + group) * C * VK + run
            for c in range(C):
                if FLAT:
                    upstream = _apart(tl.load(gs + c * VK), VK)
                else:
                    upstream = _apart(tl.load(gs + c * VK, mask=inside, other=0.0), VK)
                for k in tl.static_range(VK):
                    taps = tl.load(w + ((tap * C + c) * VK + k) * NP * 4).to(tl.float32)
                    scale = upstream[k].to(tl.float32)
                    if KIND == "saturate":
                        total += scale
                        acc += scale * tl.clamp(taps * 0.5 + x, 0.0, 1.0)
                    else:
                        d = taps - x
                        if KIND == "clip":
                            s = tl.clamp(d, -1.0, 1.0, tl.PropagateNan.ALL)
                        elif KIND == "sign":
                            s = tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, d))
                        else:
                            s = d
                        acc = tl.where(inside, acc + scale * s, acc)
    return acc, total


@triton.jit(do_not_specialize=INTEGERS)
def input_gradient_kernel(
    g, w, x, y, checksum, M, N, NP, C, H, W, OH, OW, KW, TAPS, SH, SW, PH, PW, DH, DW,
    TM: tl.constexpr, TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr,
    VK: tl.constexpr, VS: tl.constexpr, FLAT: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """y = Σ G·s(w − x) per pixel and channel, s after KIND.

    g: [B, OH, OW, groups·C·VK]; w: [groups, TAPS, C·VK, NP·4]; x, y: [B, H, W, groups·N].
    A block takes pixels that leave one remainder when divided by the stride, M of them in all, so
    that no tap is computed in vain. checksum: Σ w, finite when every weight is.
    """
    group, groups = tl.program_id(2), tl.num_programs(2)
    RH, RW = tl.program_id(0) % (SH * SW) // SW, tl.program_id(0) % (SH * SW) % SW
    m = tl.program_id(0) // (SH * SW) * (TM * PM) + _pixel_numbers(TM, PM, PN)
    n = tl.program_id(1) * (TN * PN * 4) + _filter_numbers(TN, PM, PN)
    if FLAT:
        row, column, image = 0 * m, 0 * m, tl.minimum(m, M - 1)
    else:
        wide, high = (W + SW - 1) // SW, (H + SH - 1) // SH
        within = tl.minimum(m, M - 1)
        row, column = within // wide % high * SH + RH, within % wide * SW + RW
        image = within // wide // high
    stored = (m < M) & (row < H) & (column < W) & (n // VS < N // VS)
    pixel = ((image * H + row) * W + column).to(tl.int64)
    at = (pixel * groups + group) * (N // VS) * VS + n
    own = tl.load(x + at, mask=stored, other=0.0).to(tl.float32)
    row, column, RH, RW = row + PH, column + PW, RH + PH, RW + PW
    w += group * TAPS * C * VK * NP * 4 + n
    result, total = _sum_over_taps(
        g, w, 0.5 - 0.5 * own if KIND == "clip" else own, image, row, column, RH, RW, group,
        groups, NP, C, OH, OW, KW, TAPS, SH, SW, DH, DW, VK, FLAT,
        "saturate" if KIND == "clip" else KIND,
    )  # fmt: skip
    if KIND == "clip":
        result = 2.0 * result - total
    tl.store(y + at, result, mask=stored)
    if KIND == "clip":
        spoiled = tl.abs(total) + tl.abs(own) + tl.abs(tl.load(checksum))
        if tl.min((spoiled < float("inf")).to(tl.int32)) == 0:
            result, total = _sum_over_taps(
                g, w, own, image, row, column, RH, RW, group, groups, NP, C, OH, OW,
                KW, TAPS, SH, SW, DH, DW, VK, FLAT, "clip",
            )  # fmt: skip
            tl.store(y + at, result, mask=stored)


def start() -> None:
    """Have Triton build what it launches kernels with, which takes a C compiler, or fail now."""
    triton.runtime.driver.active.get_current_device()


def forward(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """−Σ|x − w|: [B, C, H, W], [T, C/groups, kh, kw] → [B, T, H', W'], channels_last."""
    shape = output_shape(input, weight, stride, padding, dilation)
    output = torch.empty(
        shape, dtype=input.dtype, device=input.device, memory_format=torch.channels_last
    )
    channels, filters = weight.shape[1], weight.shape[0] // groups
    pixels = shape[0] * shape[2] * shape[3]
    tile = choose_tile(pixels, filters, groups, _multiprocessors(input), "forward")
    tall, wide = tile.blocks(pixels, filters)
    flat, vector = _is_flat(weight, stride, padding), _vector(channels)
    packed = _pack(weight.unflatten(0, (groups, -1)).transpose(1, 2), tile.filters)
    with torch.cuda.device_of(input):
        forward_kernel[(tall, wide, groups)](
            _channels_last(input), packed, output, pixels, filters, packed.shape[-1] // 4,
            channels // vector, *_sizes(input, shape, weight, flat), *stride, *padding, *dilation,
            *tile, vector, _vector(filters), flat, padding != (0, 0),
            num_warps=THREADS // 32, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    return output


def input_gradient(
    grad: Tensor, input: Tensor, weight: Tensor, *options: *tuple[Pair, Pair, Pair, int, str]
) -> Tensor:
    """Σ G·s(W − X) with s = "clip", "full" or "sign"; the shape of ``input``, channels_last."""
    stride, padding, dilation, groups, kind = options
    result = torch.empty_like(input, memory_format=torch.channels_last)
    channels, filters = weight.shape[1], weight.shape[0] // groups
    rows, columns = (-(-input.shape[2 + i] // stride[i]) for i in (0, 1))
    pixels, remainders = input.shape[0] * rows * columns, stride[0] * stride[1]
    tile = choose_tile(pixels * remainders, channels, groups, _multiprocessors(input), "gradient")
    tall, wide = tile.blocks(pixels, channels)
    flat, vector = _is_flat(weight, stride, padding), _vector(filters)
    packed = _pack(weight.unflatten(0, (groups, -1)), tile.filters)
    with torch.cuda.device_of(input):
        input_gradient_kernel[(tall * remainders, wide, groups)](
            _channels_last(grad), packed, _channels_last(input), result,
            weight.sum(dtype=torch.float32), pixels, channels, packed.shape[-1] // 4,
            filters // vector, *_sizes(input, grad.shape, weight, flat), *stride, *padding,
            *dilation, *tile, vector, _vector(channels), flat, kind,
            num_warps=THREADS // 32, num_stages=1, maxnreg=GRADIENT_REGISTERS,
            enable_fp_fusion=True,
        )  # fmt: skip
    return result


def _multiprocessors(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return 1  # Triton's interpreter
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


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
