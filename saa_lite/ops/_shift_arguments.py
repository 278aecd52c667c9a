"""Checks of the integer shift convolution."""

import torch
from torch import Tensor

from saa_lite.errors import UsageError


def check_shift_tensors(
    operator: str, input: Tensor, shift: Tensor, sign: Tensor, dtype: torch.dtype
) -> None:
    """Input of one dtype, int8 codes of one shape, all on one device."""
    wanted = (
        ("input", input, dtype),
        ("shift", shift, torch.int8),
        ("sign", sign, torch.int8),
    )
    for name, given, allowed in wanted:
        if not isinstance(given, Tensor):
            raise TypeError(
                f"{operator}: {name} must be a torch.Tensor; got {type(given).__name__}"
            )
        if given.dtype != allowed:
            raise TypeError(f"{operator}: {name} must be {allowed}; got {given.dtype}")
        if given.device != input.device:
            raise UsageError(
                f"{operator}: input, shift and sign must be on one device; "
                f"got {input.device} and {name} on {given.device}"
            )
    if shift.shape != sign.shape:
        raise UsageError(
            f"{operator}: shift and sign must have one shape; "
            f"got {list(shift.shape)} and {list(sign.shape)}"
        )
    if shift.dim() != 4:
        raise UsageError(
            f"{operator}: shift must have shape [filters, channels / groups, rows, columns]; "
            f"got {list(shift.shape)}"
        )


def check_codes(operator: str, shift: Tensor, sign: Tensor, smallest: int) -> None:
    """Shifts in [smallest, 0] and signs in [−1, 1]."""
    for name, given, lowest, highest in (("shift", shift, smallest, 0), ("sign", sign, -1, 1)):
        least, most = value_range(given)
        if least < lowest or most > highest:
            raise UsageError(
                f"{operator}: {name} must lie between {lowest} and {highest}; "
                f"got {least if least < lowest else most}"
            )


def value_range(values: Tensor) -> tuple[int, int]:
    """Least and largest value; (0, 0) of nothing."""
    if values.numel() == 0:
        return 0, 0
    least, most = torch.aminmax(values)
    return int(least), int(most)
