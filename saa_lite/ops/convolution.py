"""Ordinary convolutions by torch, without the three surprises that it has in store.

**One ends the process.** oneDNN's 1 × 1 convolution first copies the pixels that a stride leaves
into a workspace. For the weight gradient of channels_last images it then steps through that in
whole vectors of channels, 8 (AVX2) or 16 (AVX-512), where pixels are only as far apart as there are
channels: with fewer it writes past the end (uxlfoundation/oneDNN#6035). What follows is a crash, a
hang, a wrong number somewhere, or nothing, as memory happens to lie. A slice that leaves out what
the stride leaves out makes the same convolution of stride 1, which needs no workspace.

**One is wrong.** A dimension of size one may have any stride, and torch's parts judge the order in
memory by different rules. Images or weights that one takes for channels_last and the next does not
(tokens turned into a map, [2, 4, 9, 1] with strides (36, 1, 4, 1)) have wrong outputs and weight
gradients in grouped convolutions, or end in a "must be contiguous". A copy with the strides that a
new tensor would have is read by all of them alike.

**One rounds.** cuDNN rounds float32 factors to 10 bits by default.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.kernels.geometry import Geometry

_SETTING, _FOUND = threading.Lock(), list[str]()  # of TF32, by the calls that are under way
Sides = Sequence[int]
VECTOR = 16  # channels of oneDNN's longest vector; from this many on the workspace is large enough


def overruns(
    channels: int, kernel: Sides, stride: Sides, padding: str | Sides, groups: int
) -> bool:
    """Whether the weight gradient of this convolution may write past oneDNN's workspace.

    Other kernels, padded convolutions and those in groups take other code. ``channels``: of the
    input, or of the output of a transposed convolution, which is what its gradient reads.
    """
    return (
        tuple(kernel) == (1, 1)
        and channels < VECTOR
        and tuple(stride) != (1, 1)
        and (padding == "valid" or tuple(padding) == (0, 0))
        and groups == 1
    )


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sides,
    padding: str | Sides,
    dilation: Sides,
    groups: int,
) -> Tensor:
    """``F.conv2d``, whose weight gradient leaves memory alone; pairs, or a string as padding."""
    input, weight = plainly_strided(input), plainly_strided(weight)
    if _in_danger(input, weight, stride, padding, groups):
        input, stride = seen_at(input, stride), (1, 1)
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


def input_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Σ_t G·W, full float32 on every device; of ``input`` only the shape matters."""
    return _gradient(grad, input, weight, geometry, want_input=True)


def weight_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Σ_q G·X, full float32 on every device; of ``weight`` only shape and order matter."""
    if _in_danger(input, weight, geometry.stride, geometry.padding, geometry.groups):
        input, geometry = seen_at(input, geometry.stride), geometry._replace(stride=(1, 1))
    return _gradient(grad, input, weight, geometry, want_input=False)


def _in_danger(
    input: Tensor, weight: Tensor, stride: Sides, padding: str | Sides, groups: int
) -> bool:
    channels, *kernel = weight.shape[1:]
    return input.device.type == "cpu" and overruns(channels, kernel, stride, padding, groups)


def plainly_strided(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy where only size-one dimensions make it channels_last."""
    if tensor.dim() != 4 or 1 not in tensor.shape or tensor.is_contiguous():
        return tensor
    if not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    _, channels, height, width = tensor.shape
    usual = channels * height * width, 1, channels * width, channels
    return tensor if tensor.stride() == usual else tensor.contiguous()


def seen_at(input: Tensor, stride: Sides) -> Tensor:
    """The pixels that a 1 × 1 kernel of this stride looks at."""
    return input[..., :: stride[0], :: stride[1]]


def _gradient(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, *, want_input: bool
) -> Tensor:
    args = (
        grad, plainly_strided(input), plainly_strided(weight), None, *geometry[:3],
        False, (0, 0), geometry.groups, (want_input, not want_input, False),
    )  # fmt: skip
    with _no_tf32() if grad.is_cuda else nullcontext():
        gradients = torch.ops.aten.convolution_backward(*args)
    return gradients[0] if want_input else gradients[1]


@contextmanager
def _no_tf32() -> Iterator[None]:
    """cuDNN's rounding would show in the difference of two of these gradients.

    The setting is the process's, and autograd runs a thread for each GPU: the last to leave sets
    what the first one found, as those in between found "ieee".
    """
    precision = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    with _SETTING:
        _FOUND.append(precision.fp32_precision)
        precision.fp32_precision = "ieee"
    try:
        yield
    finally:
        with _SETTING:
            precision.fp32_precision = _FOUND.pop()
