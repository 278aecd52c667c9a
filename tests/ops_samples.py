"""Samples and comparisons that the operator tests share."""

import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import settings
from torch import Tensor

from saa_lite.kernels.machine import numba_target
from saa_lite.ops.shift import smallest_shift

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
CALM = settings(derandomize=True, deadline=None, max_examples=100)

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
}


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Random numbers of either sign from 2^−17 to 2^3: all that 5-bit weights tell apart."""
    generator = torch.Generator().manual_seed(seed)
    magnitude = torch.rand(*shape, generator=generator, dtype=torch.float64) * 20 - 17
    negative = torch.rand(*shape, generator=generator) < 0.5
    return (2.0**magnitude).where(~negative, -(2.0**magnitude)).to(dtype)


def elementwise(function: Callable[..., float], *tensors: Tensor) -> Tensor:
    """An oracle applied number by number."""
    rows = zip(*(t.double().flatten().tolist() for t in tensors), strict=True)
    flat = [function(*row) for row in rows]
    return torch.tensor(flat, dtype=torch.float64).reshape(tensors[0].shape).to(tensors[0].dtype)


def same(actual: Tensor | None, expected: Tensor) -> None:
    """Equal to the last bit (NaN equals NaN), and of one dtype and shape."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def shift_codes_case(
    batch: int,
    channels: int,
    filters: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    groups: int = 1,
    bits: int = 5,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Random input (about ±2.0 with 16 fraction bits), shifts and ternary signs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.randint(low, high, shape, generator=generator, dtype=dtype)

    shape = (filters, channels // groups, *kernel)
    return (
        draw(-(2**17), 2**17, (batch, channels, *size), torch.int32),
        draw(smallest_shift(bits), 1, shape, torch.int8),
        draw(-1, 2, shape, torch.int8),
    )


def simulate_shift(x: Tensor, shift: Tensor, sign: Tensor, *geometry: Any) -> Tensor:
    """The float64 convolution that a shift layer trains with: x and weights as real numbers."""
    weight = sign.double() * 2.0 ** shift.double()
    return F.conv2d(x.double() * 2.0**-16, weight, None, *geometry)


def without_avx512() -> dict[str, str]:
    """Environment of a process whose compiler takes this processor for one with AVX2 at most.

    A name alone keeps the features of the processor that is there.
    """
    features = numba_target()[2].split(",")
    older = [re.sub(r"^\+(?=avx512|avx10|amx)", "-", feature) for feature in features]
    return {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ",".join(older)}
