"""Integer inference: a quantised adder network on the byte kernel, equal to its simulation.

Inputs become bytes x' = x̂ − low, which lie in 0 … 2^b − 1, and weight codes are shifted by the
same amount, w' = m·ŵ − low: the shift cancels in |x − w|. Padded pixels hold −low, the byte of the
value 0. Shifted weights may lie outside a byte (with 8 bits and the doubled step they reach from
−256 to 254). The lossless clamp holds for integers as well: since 0 ≤ x' ≤ 255, ::

    |x' − w'| = |x' − clip(w', 0, 255)| + |w' − clip(w', 0, 255)|

so they are clipped, and the excess is one integer per filter. Every b from 2 to 8 thus runs on
bytes, and each layer says how many of its weights were ``folded`` into that integer. The wider
path, ``path="int32"``, sums the shifted codes as they are, on every device, many times slower.
"""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from saa_lite.errors import UsageError, check_choice
from saa_lite.kernels.geometry import Geometry
from saa_lite.nn.whole import one_node
from saa_lite.nn.wrappers import copy_of
from saa_lite.ops import adder_conv2d_u8, adder_torch
from saa_lite.ops._derivatives import is_transformed
from saa_lite.quantize.adder_layers import (
    QuantizedAdder,
    QuantizedAdderConv2d,
    QuantizedAdderLinear,
)

PATHS = ("bytes", "int32")
BYTE = 255
NO_PADDING = (0, 0)
NO_DERIVATIVE = (
    "sums of integers have no derivative, so integer layers refuse backward(), torch.func and "
    "forward mode; use the network that to_integer() took, in training mode"
)


@torch.library.custom_op("saa_lite::adder_conv2d_i32", mutates_args=())
def _wide_sums(
    input: Tensor, weight: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """−Σ|x − w| in int32, without padding; one node of a traced graph, for batches of any size."""
    geometry = Geometry.of(stride, NO_PADDING, dilation, groups)
    return adder_torch.forward(input, weight, geometry)


@_wide_sums.register_fake
def _wide_sums_shape(
    input: Tensor, weight: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    shape = Geometry.of(stride, NO_PADDING, dilation, groups).output_shape(
        input.shape, weight.shape
    )
    return input.new_empty(shape)


class _Ended(torch.autograd.Function):
    """The second argument; what goes back from it says that it cannot reach the first."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, output: Tensor) -> Tensor:
        ctx.mark_dirty(output)  # the tensor itself: a view could not be changed in place
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> NoReturn:
        raise UsageError(NO_DERIVATIVE)


class IntegerAdder(QuantizedAdder):
    """What the integer twins share: weights are buffers of integers, nothing is trained.

    Attributes:
        path: one of :data:`PATHS`.
        codes: [T, ...], uint8 (``"bytes"``) or int32, shifted by −low.
        excess: int32 [T], what clipping to a byte took away; 0 on the wider path.
        offset: [T], added after scaling.
        folded: share of weights outside a byte.
    """

    codes: Tensor
    excess: Tensor
    offset: Tensor

    def to_integers(self, path: str) -> None:
        """Replace weight and bias by integers; called once, on a quantised layer."""
        codes, offset = self.quantized_weight()
        shifted = (codes - self.input_codes[0]).to(torch.int32)
        clipped = shifted.clamp(0, BYTE)
        self.path, self.folded = path, (shifted != clipped).double().mean().item()
        narrow = path == "bytes"
        excess = (shifted - clipped).abs().flatten(1).sum(1, dtype=torch.int32)
        self.register_buffer("codes", clipped.to(torch.uint8) if narrow else shifted)
        self.register_buffer("excess", excess if narrow else torch.zeros_like(excess))
        self.register_buffer("offset", offset.detach().clone())
        self.adaptive_lr = "off"  # no weight that an optimizer could hold
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)

    def extra_repr(self) -> str:
        """The quantised layer's, and where its sums are computed."""
        return f"{super().extra_repr()}, path={self.path}, folded={self.folded:.1%}"

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        """As the simulation in evaluation mode, whatever the mode; NaN has no code."""
        if is_transformed():
            raise UsageError(NO_DERIVATIVE)
        given, input = input, input.to(self.bound.dtype)

        def sums(inputs: Tensor, group: int, filters: Tensor) -> Tensor:
            x = self.input_grid(group).codes(inputs)
            return self.distances(x, self.codes[filters], filters)

        output = self.scaled(self.by_group(input, sums), self.offset)
        tracked = given.requires_grad and torch.is_grad_enabled()
        return _Ended.apply(given, output) if tracked and not is_compiling() else output

    def integer_sums(
        self,
        input: Tensor,
        weight: Tensor,
        filters: Tensor,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, ...] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> Tensor:
        """Input codes [N, C, H, W] in floating point → int32 −Σ|x̂ − m·ŵ| [N, ·, H', W']."""
        low = self.input_codes[0]
        shifted = input - low
        rows, columns = padding
        if self.path == "bytes":
            sums = adder_conv2d_u8(
                shifted.to(torch.uint8), weight, stride, (rows, columns), dilation, groups, -low
            )
        else:
            padded = nn.functional.pad(
                shifted.to(torch.int32), (columns, columns, rows, rows), value=-low
            )
            sums = _wide_sums(padded, weight, stride, dilation, groups)
        return sums - self.excess[filters].view(-1, 1, 1)


class IntegerAdderConv2d(IntegerAdder, QuantizedAdderConv2d):
    """Input [N, C, H, W] or [C, H, W] → [N, T, H', W'] or [T, H', W']."""

    def distances(self, input: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        # Borders are written out on the codes, where 0 still stands for the value 0.
        padded, padding = self._pad(self.channels_for(input, filters))
        batch = padded.unsqueeze(0) if padded.dim() == 3 else padded
        stride, dilation = (self.stride[0], self.stride[1]), (self.dilation[0], self.dilation[1])
        groups = self.groups_for(filters)
        sums = self.integer_sums(batch, weight, filters, stride, padding, dilation, groups)
        return sums.squeeze(0) if input.dim() == 3 else sums


class IntegerAdderLinear(IntegerAdder, QuantizedAdderLinear):
    """Input [..., in_features] → [..., out_features]: images of one pixel."""

    def distances(self, input: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        rows = math.prod(input.shape[:-1])
        pixels = input.reshape(rows, input.shape[-1], 1, 1)
        sums = self.integer_sums(pixels, weight[:, :, None, None], filters)
        return sums.reshape(*input.shape[:-1], len(filters))


TWINS: dict[type[nn.Module], type[IntegerAdder]] = {
    QuantizedAdderConv2d: IntegerAdderConv2d,
    QuantizedAdderLinear: IntegerAdderLinear,
}


@torch.no_grad()
def to_integer(model: nn.Module, path: str = "bytes") -> nn.Module:
    """A copy of a quantised network whose adder layers sum integers; in evaluation mode.

    Its outputs are those of ``model`` in evaluation mode, bit for bit. Other layers are copied.

    Args:
        path: ``"bytes"``, or ``"int32"`` to leave no weight folded (slow).

    Raises:
        TypeError: ``model`` is not an ``nn.Module``.
        UsageError: unknown path, or a network without quantised adder layers.
    """
    check_choice("path", path, PATHS)
    converted = copy_of(model, "to_integer")
    layers = [layer for layer in converted.modules() if type(layer) in TWINS]
    if not layers:
        raise UsageError(
            "to_integer() needs a network with adder layers on a shared scale, as quantize() "
            "makes them with every method but 'nearest'; got one without"
        )
    for layer in layers:
        layer.__class__ = TWINS[type(layer)]
        layer.to_integers(path)  # type: ignore[operator]
    return converted.eval()
