"""Batch norm and ReLU6 of wide layers.

**Batch norm over some of the channels of a wide layer.**

The statistics of the target's channels are shared by target and augmented pass, as in NetAug. The
two passes have different statistics, so the shared running ones are wrong for the target until
:func:`saa_lite.train.reestimate_batch_norm` measures them again.

**ReLU6 in place, for the large maps of an augmented pass.**

torch's own ReLU6 keeps its input for the backward pass, a copy of it when told to work in place,
and makes a new gradient. But its output tells all that the backward pass asks: whether a number
was cut off. So the output takes the input's memory, and the input's gradient that of the output's.
In the widest block of MobileNetV2-w0.35 this leaves three maps where there were four.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from saa_lite.ops._derivatives import is_transformed

Part = tuple[nn.BatchNorm2d, int]  # the norm, and how many of its first channels take part


class WideNorm(nn.Module):
    """The target's batch norm and those of the augmentation.

    Attributes:
        target: norm of channels :n, the one that is exported.
        rest: norm of the channels behind them.
        cross: norm of the multiplicative addend to the multiplication-free channels, if that
            addend has its own.
        conv: norm of channels :n while the block is still a convolution, if it mutates.
    """

    def __init__(self, target: nn.BatchNorm2d, largest: int) -> None:
        super().__init__()
        self.target = target
        extra = largest - target.num_features
        self.rest = like(target, extra) if extra else None
        self.cross: nn.BatchNorm2d | None = None
        self.conv: nn.BatchNorm2d | None = None

    def forward(self, x: Tensor, start: int = 0, *, as_conv: bool = False) -> Tensor:
        """x [B,C,H,W] holds channels ``start`` … of the layer; ``start`` is 0 or n."""
        return normalise(x, self.parts(x.shape[1], start, as_conv=as_conv))

    def parts(self, channels: int, start: int = 0, *, as_conv: bool = False) -> list[Part]:
        """The norms of channels ``start`` … ``start + channels`` in turn."""
        n, stop = self.target.num_features, start + channels
        first = self.conv if as_conv and self.conv is not None else self.target
        parts: list[Part] = [(first, min(stop, n))] if start == 0 else []
        if stop > n:
            assert self.rest is not None
            parts.append((self.rest, stop - n))
        return parts


def like(norm: nn.BatchNorm2d, channels: int) -> nn.BatchNorm2d:
    """A fresh batch norm with the options of ``norm``."""
    options = (norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    return nn.BatchNorm2d(channels, *options)


def normalise(x: Tensor, parts: Sequence[Part]) -> Tensor:
    """Batch norm of x [B,C,H,W] whose channels belong to ``parts`` in turn.

    One call for all parts: joining small vectors of statistics is cheaper than joining maps.
    """
    if len(parts) == 1 and parts[0][0].num_features == parts[0][1]:
        return parts[0][0](x)
    lead = parts[0][0]
    mean, var = (joined(parts, name).detach() for name in ("running_mean", "running_var"))
    gamma, beta = (joined(parts, name) for name in ("weight", "bias"))
    momentum = lead.momentum
    if momentum is None:  # cumulative, as nn.BatchNorm2d
        momentum = 1.0 / (int(lead.num_batches_tracked or 0) + 1)
    out = F.batch_norm(x, mean, var, gamma, beta, lead.training, momentum, lead.eps)
    if lead.training:
        _store(parts, mean, var)
    return out


def joined(parts: Sequence[Part], name: str) -> Tensor:
    """The tensor ``name`` of all parts, one vector [channels]."""
    return torch.cat([getattr(norm, name)[:count] for norm, count in parts])


def _store(parts: Sequence[Part], mean: Tensor, var: Tensor) -> None:
    """Put joined statistics back into their norms.

    Through ``data``, as batch norm's own update: a norm that is used twice in one pass (a block
    that is being blended) has saved them for a backward pass, which does not read them.
    """
    start = 0
    for norm, count in parts:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.running_mean.data[:count] = mean[start : start + count]
        norm.running_var.data[:count] = var[start : start + count]
        norm.num_batches_tracked.data += 1
        start += count


class _AddFirst(torch.autograd.Function):
    """In place; the gradient of the addend leaves in the addend's own memory layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor) -> Tensor:
        ctx.channels = first.shape[1]
        ctx.mark_dirty(x)
        x[:, : ctx.channels] += first
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        layout = torch.channels_last if is_channels_last(gradient) else torch.contiguous_format
        return gradient, gradient[:, : ctx.channels].contiguous(memory_format=layout)


def add_first(x: Tensor, first: Tensor) -> Tensor:
    """Add ``first`` [B,C',H,W] to the first channels of x [B,C,H,W], which is overwritten.

    Under the transforms of ``torch.func`` it is not, as they need to.
    """
    if is_transformed():
        channels = first.shape[1]
        return torch.cat([x[:, :channels] + first, x[:, channels:]], 1)
    added: Tensor = _AddFirst.apply(x, first)
    return added


class _FirstChannels(torch.autograd.Function):
    """Backwards in place: padding a gradient with zeros to add it costs three passes over it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        layout = torch.channels_last if is_channels_last(x) else torch.contiguous_format
        ctx.channels = channels
        return x, x[:, :channels].contiguous(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole, first = gradients
        whole[:, : ctx.channels] += first
        return whole, None


def first_channels(x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """x [B,C,H,W] and a copy of its first channels.

    The x returned must be read once, by a layer whose input gradient is a tensor of its own (as
    that of a convolution is): the first channels' gradient is added to it in place, but for the
    transforms of ``torch.func``.
    """
    if is_transformed():
        return x, x[:, :channels]
    split: tuple[Tensor, Tensor] = _FirstChannels.apply(x, channels)
    return split


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side in memory."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class _ReLU6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        x.clamp_(0.0, 6.0)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (out,), (gradient,) = ctx.saved_tensors, gradients
        dense = gradient.is_contiguous() or is_channels_last(gradient)
        # An expanded gradient, as of a sum, is one number seen many times.
        room = gradient if dense else torch.empty_like(out)
        hardtanh_backward = torch.ops.aten.hardtanh_backward.grad_input
        found: Tensor = hardtanh_backward(gradient, out, 0.0, 6.0, grad_input=room)
        return found


class InPlaceReLU6(nn.ReLU6):
    """min(max(x, 0), 6), the same bits as ``nn.ReLU6``; x is overwritten.

    x must be a map that nothing else reads, as behind a batch norm, and no reader of the result may
    hand back a gradient that it shares with something else (an addition does; convolutions,
    pooling and autograd's sum over several readers do not): it is overwritten, too. There is no
    second derivative. A forward hook that keeps x finds the result in it.

    Where nothing is saved for a backward pass, where x is a view (as under ``full_backward_hook``),
    in forward mode and under ``torch.func``, this is torch's own ReLU6.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad or x._is_view() or is_transformed():
            return super().forward(x)
        out: Tensor = _ReLU6.apply(x)
        return out

    def _get_name(self) -> str:
        """Checkpoints list layers as they print, and this is the same layer to them."""
        return "ReLU6"


def rectify_in_place(net: nn.Module, *, on: bool = True) -> None:
    """Let every ReLU6 of ``net`` work in place; with ``on=False``, let torch's own do it again.

    Second derivatives of ``backward()`` need torch's own.
    """
    before, after = (nn.ReLU6, InPlaceReLU6) if on else (InPlaceReLU6, nn.ReLU6)
    for module in net.modules():
        if type(module) is before:
            module.__class__ = after
