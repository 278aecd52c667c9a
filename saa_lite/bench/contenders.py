"""Every way to compute an adder layer that a user could reach for, and the convolution beside them.

Each function returns a call without arguments. What is left out favours the others: unfolding is
not timed where the formula is handed to cdist, SciPy, scikit-learn or ``torch.compile``.
"""

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.bench.limits import limit_call
from saa_lite.bench.shapes import Shape
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import (
    adder_conv2d,
    adder_conv2d_u8,
    adder_vector,
    shift_conv2d,
)
from saa_lite.ops._launch import threads_wanted

Call = Callable[[], object]
ZERO_CODE = 128  # of the bytes, so that both signs fit
BITS = 4  # of the shift weights
ADDER_KERNEL = "ours, kernel alone"
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Formulation(torch.autograd.Function):
    """AdderNet's published code: unfold the input, broadcast against all filters, add up."""

    @staticmethod
    def forward(ctx: Any, filters: Tensor, columns: Tensor) -> Tensor:
        """Filters [T, K] and columns [K, N] to [T, N]."""
        ctx.save_for_backward(filters, columns)
        return -(filters.unsqueeze(2) - columns.unsqueeze(0)).abs().sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Full-precision gradient of the filters, clipped gradient of the columns."""
        filters, columns = ctx.saved_tensors
        difference = columns.unsqueeze(0) - filters.unsqueeze(2)  # [T, K, N]
        clipped = -difference.clamp(-1, 1)
        return (difference * grad.unsqueeze(1)).sum(2), (clipped * grad.unsqueeze(1)).sum(0)


def formulation(x: Tensor, w: Tensor, stride: int, padding: int) -> Tensor:
    """The published layer, [B, T, H', W']."""
    kernel = w.shape[2:]
    columns = F.unfold(x, kernel, stride=stride, padding=padding)  # [B, K, L]
    flat = columns.permute(1, 2, 0).reshape(columns.shape[1], -1)
    output = Formulation.apply(w.flatten(1), flat)
    rows = (x.shape[2] + 2 * padding - kernel[0]) // stride + 1
    return output.view(w.shape[0], rows, -1, x.shape[0]).permute(3, 0, 1, 2)


def forward_calls(shape: Shape) -> dict[str, Call]:
    """Forward passes by name."""
    x, w = shape.tensors()
    columns = F.unfold(x, shape.kernel, stride=shape.stride, padding=shape.kernel // 2)
    patches = columns.transpose(1, 2).flatten(0, 1).contiguous()  # [N, K]
    filters = w.flatten(1)
    calls = _kernels(shape)
    for name, layout in LAYOUTS.items():
        y, v = shape.tensors(layout)
        calls[f"ours, {name}"] = partial(adder_conv2d, y, v, *shape.geometry)
        v = v.contiguous(memory_format=layout)
        calls[f"convolution, {name}"] = partial(_convolution, y, v, *shape.geometry)
    calls |= _integers(shape)
    calls["AdderNet formulation"] = lambda: formulation(x, w, *shape.geometry)
    calls["torch.cdist"] = lambda: torch.cdist(patches, filters, p=1)
    return calls | _libraries(patches, filters) | _compiled_formula(patches, filters)


def _integers(shape: Shape) -> dict[str, Call]:
    """What a quantised adder layer and an exact shift layer compute, for inference."""
    x, w = shape.tensors()
    bytes_, filters = ((t * 40 + ZERO_CODE).clamp(0, 255).to(torch.uint8) for t in (x, w))
    codes = (-w.abs() * 4).clamp(-6, 0).to(torch.int8), w.sign().to(torch.int8)
    fixed = (x * 2**16).to(torch.int32)
    return {
        "ours, uint8": partial(
            adder_conv2d_u8, bytes_, filters, *shape.geometry, padding_value=ZERO_CODE
        ),
        "ours, integer shift": partial(shift_conv2d, fixed, *codes, *shape.geometry, bits=BITS),
    }


def _kernels(shape: Shape) -> dict[str, Call]:
    """The kernel without Python and allocation, beside what its operations take at least."""
    results = shape.distances // threads_wanted()
    limit = limit_call("adder", results)
    return {limit_of(ADDER_KERNEL): limit, ADDER_KERNEL: _adder_kernel(shape)}


def limit_of(kernel: str) -> str:
    """The contender beside a kernel: its operations without memory, shared out to all threads."""
    return f"{kernel}: limit"


def _adder_kernel(shape: Shape) -> Call:
    x, w = shape.tensors()
    stride, padding = ((value, value) for value in shape.geometry)
    _, run = adder_vector.prepare_forward(x, w, Geometry(stride, padding, (1, 1), 1))
    return run


def _libraries(patches: Tensor, filters: Tensor) -> dict[str, Call]:
    from scipy.spatial.distance import cdist  # noqa: PLC0415  (slow to import, used here alone)
    from sklearn.metrics.pairwise import manhattan_distances  # noqa: PLC0415

    a, b = patches.numpy(), filters.numpy()
    return {
        "scipy cdist": lambda: cdist(a, b, "cityblock"),
        "scikit-learn": lambda: manhattan_distances(a, b),
    }


def compiler_found() -> bool:
    """Whether ``torch.compile`` has a C++ compiler to work with."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def _compiled_formula(patches: Tensor, filters: Tensor) -> dict[str, Call]:
    if not compiler_found():
        return {}

    def formula(a: Tensor, b: Tensor) -> Tensor:
        return -(a.unsqueeze(1) - b.unsqueeze(0)).abs().sum(2)

    compiled = torch.compile(formula, dynamic=False)
    return {"torch.compile": lambda: compiled(patches, filters)}


def backward_calls(shape: Shape) -> dict[str, Call]:
    """Forward and both gradients by name."""
    calls: dict[str, Call] = {}
    for name, layout in LAYOUTS.items():
        x, w = shape.tensors(layout)
        calls[f"ours, {name}"] = _with_gradients(adder_conv2d, x, w, shape)
        w = w.contiguous(memory_format=layout)
        calls[f"convolution, {name}"] = _with_gradients(_convolution, x, w, shape)
    calls["AdderNet formulation"] = _with_gradients(formulation, *shape.tensors(), shape)
    return calls


def _convolution(x: Tensor, w: Tensor, stride: int, padding: int) -> Tensor:
    return F.conv2d(x, w, None, stride, padding)


def _with_gradients(function: Callable[..., Tensor], x: Tensor, w: Tensor, shape: Shape) -> Call:
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    grad = torch.randn_like(function(x, w, *shape.geometry))
    return lambda: torch.autograd.grad(function(x, w, *shape.geometry), (x, w), grad)
