"""When the Triton kernels run; in which tiles, says :mod:`saa_lite.ops.adder_tiles`."""

import functools
import os
import subprocess
import warnings
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.uint8)
LARGEST_INDEX = 1 << 30  # pixels and weights are counted in 32 bits, addresses in 64
OLDEST = (8, 0)  # compute capability: Ampere

NOT_STARTED = (
    "the adder's GPU kernels are switched off, and torch's operations are in their place, because "
    "Triton could not start: it needs a C compiler (gcc or clang) and Python's header files"
)


def kernels(input: Tensor, weight: Tensor, output: Sequence[int]) -> ModuleType | None:
    """:mod:`~saa_lite.ops.adder_triton` where it applies, else None: plain torch operations.

    It applies on NVIDIA GPUs from Ampere on, where Triton is installed and works, to all tensors
    but float64, empty ones, and sizes beyond the 32-bit counters. ``SAA_TRITON=0`` in the
    environment switches it off.

    Args:
        output: its shape.
    """
    if not input.is_cuda or os.environ.get("SAA_TRITON") == "0":
        return None
    if torch.cuda.get_device_capability(input.device) < OLDEST:
        return None
    return _triton_module() if fits(input, weight, output) else None


@functools.cache
def _triton_module() -> ModuleType | None:
    if torch.version.cuda is None:
        return None
    try:
        from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton, which may be absent
    except ImportError:
        return None
    try:
        adder_triton.start()
    except (ImportError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        warnings.warn(f"{NOT_STARTED} ({type(error).__name__}: {error})", stacklevel=2)
        return None
    return adder_triton


def fits(input: Tensor, weight: Tensor, output: Sequence[int]) -> bool:
    """Whether the kernels take tensors of this dtype and these sizes."""
    pixels = max(batch * rows * columns for batch, _, rows, columns in (input.shape, output))
    empty = input.numel() == 0 or weight.numel() == 0
    small = max(pixels, 16 * weight.numel()) < LARGEST_INDEX  # lanes are padded, 16-fold at most
    return input.dtype in DTYPES and small and not empty
