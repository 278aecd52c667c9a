"""Hybrid layers: a target layer and its batch norm, with a multiplicative rest around them.

ShiftAddAug, Fig. 1, draws one wide weight whose first n channels are multiplication-free. Inputs
have first channels too, and no source says which operator connects which (reviewer 4's question).
Every reading is a rectangle of W: outputs :p from inputs :q are multiplication-free, the rest is a
convolution, see :attr:`saa_lite.augment.AugmentConfig.reading`. With ``"block"``::

    y[:n] = MF(x[:m]; R(W[:n, :m])) + Conv(x[m:]; W[:n, m:])
    y[n:] = Conv(x; W[n:, :])

At the target's widths all readings are MF(x; R(W[:n, :m])), the target itself.

W is stored in the blocks of this picture: ``layer.weight`` W[:n, :m], ``right`` W[:n, m:] and
``below`` W[n:, :]. So target and optimiser see the very parameter that they would see alone, and
nothing of the augmentation has to be cut out of anything.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.augment.config import Axis
from saa_lite.augment.norm import WideNorm, add_first, first_channels, like, normalise
from saa_lite.augment.remap import Remap
from saa_lite.augment.shared import SharedWeight
from saa_lite.nn import ShiftConv2d
from saa_lite.ops.convolution import conv2d

View = Callable[[Tensor, bool], Tensor]  # (stored block, is it the target's) → what is read


class WideConv(nn.Module):
    """A k×k convolution of any operator and the norm behind it: [B,C,H,W] → [B,C',H',W'].

    The channels of the input tell how many inputs are active, ``outputs`` how many outputs.

    Args:
        layer, norm: of the target; both stay what they are.
        reading, combine: see :class:`saa_lite.augment.AugmentConfig`.
        remap: for the multiplication-free weights, or None.
        mutates: start as a convolution; :attr:`share` leads from 0 to 1.

    Attributes:
        share: multiplication-free share of the output, 0 before mutation, 1 after it.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        norm: nn.BatchNorm2d,
        inputs: Axis,
        outputs: Axis,
        *,
        reading: str = "block",
        combine: str = "norm",
        remap: Remap | None = None,
        mutates: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.reading, self.combine, self.mutates = reading, combine, mutates
        self.is_multiplication_free = type(layer) is not nn.Conv2d
        self.share = 1.0
        self.shared = SharedWeight(layer, remap, mutates)
        self.norm = WideNorm(norm, outputs.largest)
        self.right, self.below = draw_around(layer, inputs.largest, outputs.largest)
        if self.is_multiplication_free and combine == "norm" and self.right is not None:
            channels = outputs.largest if reading == "input" else outputs.target
            self.norm.cross = like(norm, channels)
        if mutates:
            self.norm.conv = like(norm, outputs.target)

    @property
    def layer(self) -> nn.Conv2d:
        """The target's layer."""
        return self.shared.layer

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_multiplication_free or self.share == 0:
            return self._as_conv(x)
        free = self._hybrid(x)
        if self.share == 1:
            return free
        return torch.lerp(self._as_conv(x), free, self.share)

    def _as_conv(self, x: Tensor) -> Tensor:
        """Everything multiplicative: NetAug's layer, and a mutating block before its turn."""
        rows = self.outputs.active
        is_target = (x.shape[1], rows) == (self.inputs.target, self.outputs.target)
        if is_target and not self.is_multiplication_free:
            return self.norm(self.layer(x))  # the target, exactly as it would run alone
        y = self._convolve(x, self.weight(0, rows, 0, x.shape[1]))
        return self.norm(y, as_conv=True)

    def _hybrid(self, x: Tensor) -> Tensor:
        """The rectangle :p, :q multiplication-free, what is right of it and below it not."""
        rows, columns = self.outputs.active, x.shape[1]
        p = self.outputs.target if self.reading in ("block", "output") else rows
        q = self.inputs.target if self.reading in ("block", "input") else columns
        if isinstance(self.layer, ShiftConv2d) and self.combine == "sum":
            return self.norm(self._shifted(x, p, q))
        if q == columns:
            free = self.layer._conv_forward(x, self.multiplication_free(p, q), None)
            if p < rows:
                rest = self._convolve(x, self.weight(p, rows, 0, columns))
                free = torch.cat([free, rest], 1)
            return self.norm(free)
        x, first = first_channels(x, q)
        free = self.layer._conv_forward(first, self.multiplication_free(p, q), None)
        return self._joined(free, self._convolve(x, self._around(p, q, rows, columns)))

    def _around(self, p: int, q: int, rows: int, columns: int) -> Tensor:
        """W[:rows, :columns] as a convolution reads it, 0 where :p, :q are multiplication-free.

        One convolution with some zeros is faster than two on parts of a map, which are copied.
        """
        right = self.weight(0, p, q, columns)
        hollow = torch.cat([right.new_zeros(p, q, *right.shape[2:]), right], 1)
        return hollow if p == rows else torch.cat([hollow, self.weight(p, rows, 0, columns)])

    def _joined(self, free: Tensor, around: Tensor) -> Tensor:
        """Add the multiplication-free outputs to the first channels of the convolution's."""
        if self.norm.cross is None:
            return self.norm(add_first(around, self._scaled(free)))
        parts = [(self.norm.cross, free.shape[1])]
        if around.shape[1] > free.shape[1]:
            assert self.norm.rest is not None
            parts.append((self.norm.rest, around.shape[1] - free.shape[1]))
        return add_first(normalise(around, parts), self.norm(free))

    def _shifted(self, x: Tensor, p: int, q: int) -> Tensor:
        """A shift layer is a convolution with other weights, so one convolution does for all.

        Its inputs are rounded to fixed point, as the target's layer does, for every reader.
        """
        rows, columns = self.outputs.active, x.shape[1]
        weight: Tensor = self._layer()._prepare_weight(self.multiplication_free(p, q))
        if q < columns:
            weight = torch.cat([weight, self.weight(0, p, q, columns)], 1)
        if p < rows:
            weight = torch.cat([weight, self.weight(p, rows, 0, columns)])
        return self._convolve(self._layer()._prepare_input(x), weight)

    def _layer(self) -> Any:
        return self.layer

    def _scaled(self, free: Tensor) -> Tensor:
        """The multiplication-free addend as it is, or over √(m·d²)."""
        if self.combine != "scale":
            return free
        return free / math.sqrt(self.inputs.target * math.prod(self.layer.kernel_size))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        return conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, 1)

    def weight(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """W[top:bottom, left:right] as a convolution reads it."""
        return self._assemble(top, bottom, left, right, lambda block, _: block)

    def multiplication_free(self, bottom: int, right: int | None = None) -> Tensor:
        """W[:bottom, :right] as the multiplication-free operator reads it."""
        columns = self.inputs.largest if right is None else right
        return self._assemble(0, bottom, 0, columns, self._remapped)

    def _remapped(self, block: Tensor, is_target: bool) -> Tensor:
        return self.shared.free() if is_target else self.shared.remapped(block)

    def _assemble(self, top: int, bottom: int, left: int, right: int, view: View) -> Tensor:
        """Join the blocks of W, each seen through ``view``. ``top`` is 0 or n, ``left`` 0 or m."""
        n, m = self.outputs.target, self.inputs.target
        rows = []
        if top < n:
            row = []
            if left < m:
                row.append(view(self.layer.weight, True)[:, :right])
            if right > m:
                assert self.right is not None
                row.append(view(self.right, False)[:, : right - m])
            rows.append(torch.cat(row, 1) if len(row) > 1 else row[0])
        if bottom > n:
            assert self.below is not None
            rows.append(view(self.below[: bottom - n], False)[:, left:right])
        return torch.cat(rows) if len(rows) > 1 else rows[0]


def draw_around(
    layer: nn.Conv2d, columns: int, rows: int
) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    """Blocks right of and below a layer's weight, of one fresh [rows, columns, …] convolution."""
    n, m, *kernel = layer.weight.shape
    wide = torch.empty(rows, columns, *kernel).to(layer.weight)
    draw_wide(wide, columns)
    right = nn.Parameter(wide[:n, m:].clone()) if columns > m else None
    below = nn.Parameter(wide[n:].clone()) if rows > n else None
    return right, below


def draw_wide(weight: Tensor, columns: int) -> None:
    """Draw part of a convolution that has ``columns`` inputs per group.

    ``nn.Conv2d``'s initialisation with the fan of the widest layer, which is NetAug's.
    """
    bound = 1 / math.sqrt(columns * math.prod(weight.shape[2:]))
    nn.init.uniform_(weight, -bound, bound)
