"""Modules of an integer network: every value on a known grid, every sum exact.

What leaves one of these is a float64 tensor, but each of its numbers is a whole number times a step
that float32 can hold, so products with codes and sums of them are exact: nothing depends on the
order of a sum, on the vectors of a processor, or on the device. Norms are one product and one sum,
each rounded once.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.errors import UsageError
from saa_lite.nn.binary import BinaryLayer
from saa_lite.nn.shift import ShiftLayer
from saa_lite.ops.shift import shift_codes
from saa_lite.quantize.calibrate import SMALLEST_RANGE, InputRange
from saa_lite.quantize.uniform import signed_codes, unsigned_codes

WEIGHT_BITS = 8  # of layers that multiply


class OnGrid(nn.Module):
    """Rounds to the nearest of the values low·step … high·step; any shape, float64.

    Args:
        found: what was seen of the values; signed codes if any was negative.
        bits: of a code.
    """

    step: Tensor

    def __init__(self, found: InputRange, bits: int) -> None:
        super().__init__()
        self.low, self.high = signed_codes(bits) if found.signed else unsigned_codes(bits)
        step = torch.tensor(max(found.bound, SMALLEST_RANGE) / self.high)  # float32
        self.register_buffer("step", step.double())

    def codes(self, values: Tensor) -> Tensor:
        """Whole numbers from ``low`` to ``high``, float64; ties go up.

        Grids here meet grids of the same step (a mean of four codes, say), so ties are common, and
        half to even would space the thresholds unevenly.
        """
        return (values / self.step + 0.5).floor().clamp(self.low, self.high)

    def forward(self, input: Tensor) -> Tensor:
        return self.codes(input) * self.step

    def extra_repr(self) -> str:
        return f"codes={self.low}…{self.high}, step={float(self.step):.4g}"


class Signs(nn.Module):
    """The codes of a binary layer's inputs: −1 and +1, with +1 for 0."""

    low, high = -1, 1
    step = torch.ones((), dtype=torch.float64)

    def codes(self, values: Tensor) -> Tensor:
        """±1, float64."""
        return torch.where(values < 0, -1.0, 1.0).double()


class IntegerProducts(nn.Module):
    """A layer of whole weights: [N, C, H, W] → [N, T, H', W'], or [N, F] → [N, T].

    y_t = Σ x̂·ŵ_t · scale_t + bias_t. Which whole numbers ŵ are is what tells the operators apart:
    any (``"multiply"``), ±2^p (``"shift"``) or ±1 (``"binary"``).

    Attributes:
        kind: one of those three.
        grid: of the inputs.
        weight: float64 [T, C / groups, kh, kw], whole numbers.
        scale, bias: float64 [T].
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, layer: Any, kind: str, grid: OnGrid | Signs) -> None:
        super().__init__()
        self.kind, self.grid = kind, grid
        linear = isinstance(layer, nn.Linear)
        self.stride, self.padding, self.groups = (1, 1), (0, 0), 1
        if not linear:
            self.stride, self.groups = layer.stride, layer.groups
            self.padding = layer.padding
        whole, unit = WHOLE[kind](layer)
        self.register_buffer("weight", whole[:, :, None, None] if linear else whole)
        self.register_buffer("scale", unit * grid.step)
        bias = layer._parameters["bias"]
        zeros = torch.zeros(len(whole), dtype=torch.float64)
        self.register_buffer("bias", zeros if bias is None else bias.detach().double())

    def sums(self, codes: Tensor) -> Tensor:
        """Σ x̂·ŵ, whole numbers in float64."""
        return F.conv2d(codes, self.weight, None, self.stride, self.padding, 1, self.groups)

    def values(self, sums: Tensor) -> Tensor:
        """What the sums [K, T, ...] stand for."""
        shape = (-1, 1, 1)
        return sums * self.scale.view(shape) + self.bias.view(shape)

    def forward(self, input: Tensor) -> Tensor:
        codes = self.grid.codes(input)
        if codes.dim() == 2:
            return self.values(self.sums(codes[:, :, None, None])).flatten(1)
        return self.values(self.sums(codes))

    def extra_repr(self) -> str:
        return f"{self.kind}, weight={tuple(self.weight.shape)}, stride={self.stride}"


def _to_nearest(layer: Any) -> tuple[Tensor, Tensor]:
    """Symmetric codes of 8 bits, a step for each filter."""
    weight = layer.weight.detach().double()
    most = signed_codes(WEIGHT_BITS)[1]
    step = (weight.flatten(1).abs().amax(1) / most).clamp_min(SMALLEST_RANGE / most)
    return (weight / step.reshape(-1, *[1] * (weight.dim() - 1))).round(), step


def _powers(layer: ShiftLayer) -> tuple[Tensor, Tensor]:
    """±2^(p − least p of the layer), and that least power."""
    value = layer._shift_weight(layer.weight).detach()  # type: ignore[arg-type]
    power, sign = shift_codes(value, layer.bits)
    least = int(power[sign != 0].min()) if bool((sign != 0).any()) else 0
    whole = sign.double() * torch.exp2(power.double() - least)
    return whole, torch.full((len(value),), 2.0**least, dtype=torch.float64)


def _weight_signs(layer: BinaryLayer) -> tuple[Tensor, Tensor]:
    """±1, and mean|w| of each filter, or 1."""
    weight = layer.weight.detach().double()  # type: ignore[operator]
    mean = weight.flatten(1).abs().mean(1)
    return torch.where(weight < 0, -1.0, 1.0).double(), mean if layer.scale else mean * 0 + 1


WHOLE = {"multiply": _to_nearest, "shift": _powers, "binary": _weight_signs}


class ChannelAffine(nn.Module):
    """Batch norm in evaluation mode: x·factor + summand along dimension 1, each rounded once."""

    factor: Tensor
    summand: Tensor

    def __init__(self, name: str, norm: _BatchNorm) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise UsageError(
                f"layer {name!r} must have running statistics to be exported; got a "
                f"{type(norm).__name__} without"
            )
        factor = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            factor = factor * norm.weight.detach().double()
        summand = -norm.running_mean.double() * factor
        if norm.bias is not None:
            summand = summand + norm.bias.detach().double()
        self.register_buffer("factor", factor)
        self.register_buffer("summand", summand)

    def forward(self, input: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (input.dim() - 2))
        return input * self.factor.view(shape) + self.summand.view(shape)


class MeanOfMap(nn.Module):
    """[N, C, H, W] → [N, C, 1, 1]; the sum is exact, the quotient is rounded once."""

    def forward(self, input: Tensor) -> Tensor:
        return input.sum((2, 3), keepdim=True) / (input.shape[2] * input.shape[3])
