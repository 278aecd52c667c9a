"""ReLU6 in place, for the large maps of an augmented pass.

torch's own ReLU6 keeps its input for the backward pass, a copy of it when told to work in place,
and makes a new gradient. But its output tells all that the backward pass asks: whether a number
was cut off. So the output takes the input's memory, and the input's gradient that of the output's.
In the widest block of MobileNetV2-w0.35 this leaves three maps where there were four.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saa_lite.augment.norm import is_channels_last
from saa_lite.ops._eager import is_transformed


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
