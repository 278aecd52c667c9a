"""Layers by the name of their operator."""

from typing import Any

from torch import nn

from saa_lite.errors import check_choice
from saa_lite.nn.adder import AdderConv2d, AdderLinear
from saa_lite.nn.binary import BinaryConv2d, BinaryLinear
from saa_lite.nn.shift import ShiftConv2d, ShiftLinear, ShiftPSConv2d, ShiftPSLinear

CONVS: dict[str, type[nn.Module]] = {
    "conv": nn.Conv2d,
    "adder": AdderConv2d,
    "shift": ShiftConv2d,
    "shift-ps": ShiftPSConv2d,
    "binary": BinaryConv2d,
}
LINEARS: dict[str, type[nn.Module]] = {
    "conv": nn.Linear,
    "adder": AdderLinear,
    "shift": ShiftLinear,
    "shift-ps": ShiftPSLinear,
    "binary": BinaryLinear,
}
KINDS = tuple(CONVS)


def make_conv(
    kind: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    **arguments: Any,
) -> nn.Module:
    """Return a 2-D layer; ``arguments`` are those of ``nn.Conv2d`` and the options of the kind.

    Raises :class:`~saa_lite.errors.UsageError` unless ``kind`` is one of :data:`KINDS`.
    """
    check_choice("kind", kind, KINDS)
    return CONVS[kind](in_channels, out_channels, kernel_size, **arguments)


def make_linear(kind: str, in_features: int, out_features: int, **arguments: Any) -> nn.Module:
    """Return a linear layer; ``arguments`` are those of ``nn.Linear`` and the kind's options.

    Raises :class:`~saa_lite.errors.UsageError` unless ``kind`` is one of :data:`KINDS`.
    """
    check_choice("kind", kind, KINDS)
    return LINEARS[kind](in_features, out_features, **arguments)
