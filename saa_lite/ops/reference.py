"""The definitions, written for reading: the oracle that every kernel is compared with.

Everything is computed in float64 from the formula, one step at a time, with no thought of speed or
memory. Notation (as in the papers): X[k, q] is the input under tap k at output position q,
W[t, k] filter t, G[t, q] the gradient arriving from above.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.errors import check_choice
from saa_lite.kernels.geometry import Pair, output_shape


def patches(input: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """X: [B, C, H, W] → [B, C·kh·kw, positions]; padded taps are 0."""
    return F.unfold(input.double(), kernel, dilation, padding, stride)


def sign(d: Tensor) -> Tensor:
    """sgn(d) with sgn(0) = 0 and sgn(NaN) = NaN (torch.sign gives 0 for NaN)."""
    return d.sign().where(~d.isnan(), d)


def weight_surrogate(d: Tensor, kind: str) -> Tensor:
    """What stands for ∂Y/∂W at d = x − w: d itself (AdderNet eq. 5), or sgn(d) (eq. 4)."""
    check_choice("weight_gradient", kind, ("full", "sign"))
    return d if kind == "full" else sign(d)


def input_surrogate(d: Tensor, kind: str) -> Tensor:
    """What stands for ∂Y/∂X at d = w − x: HT(d) = clip to [−1, 1] (eq. 6–7), d, or sgn(d).

    The paper leaves HT at exactly ±1 open; the bound itself is our reading, as in the official
    code.
    """
    check_choice("input_gradient", kind, ("clip", "full", "sign"))
    return {"clip": d.clamp(-1, 1), "full": d, "sign": sign(d)}[kind]


def adder_conv2d(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Y[t, q] = −Σ_k |X[k, q] − W[t, k]| in float64, group by group (AdderNet eq. 2)."""
    outputs = [
        -(x.unsqueeze(1) - w[None, :, :, None]).abs().sum(2)
        for x, w in _groups(input, weight, stride, padding, dilation, groups)
    ]
    return torch.cat(outputs, 1).reshape(output_shape(input, weight, stride, padding, dilation))


def adder_weight_gradient(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    kind: str = "full",
) -> Tensor:
    """dW[t, k] = Σ_q G[t, q] · s(X[k, q] − W[t, k]), s after ``kind``; float64."""
    gradients = []
    pieces = _groups(input, weight, stride, padding, dilation, groups)
    for (x, w), g in zip(pieces, _grad_groups(grad, groups), strict=True):
        s = weight_surrogate(x.unsqueeze(1) - w[None, :, :, None], kind)  # [B, T, K, Q]
        gradients.append((g.unsqueeze(2) * s).sum((0, 3)))
    return torch.cat(gradients, 0).reshape(weight.shape)


def adder_input_gradient(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    kind: str = "clip",
) -> Tensor:
    """dX[k, q] = Σ_t G[t, q] · s(W[t, k] − X[k, q]), folded back onto the image; float64."""
    gradients = []
    pieces = _groups(input, weight, stride, padding, dilation, groups)
    for (x, w), g in zip(pieces, _grad_groups(grad, groups), strict=True):
        s = input_surrogate(w[None, :, :, None] - x.unsqueeze(1), kind)
        columns = (g.unsqueeze(2) * s).sum(1)  # [B, K, Q]
        kernel = (weight.shape[2], weight.shape[3])
        image = (input.shape[2], input.shape[3])
        gradients.append(F.fold(columns, image, kernel, dilation, padding, stride))
    return torch.cat(gradients, 1)


def _groups(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> list[tuple[Tensor, Tensor]]:
    """Per group: X [B, K, Q] and W [T, K], K = channels per group × kh × kw."""
    kernel = (weight.shape[2], weight.shape[3])
    images = input.chunk(groups, 1)
    filters = weight.double().chunk(groups, 0)
    return [
        (patches(x, kernel, stride, padding, dilation), w.flatten(1))
        for x, w in zip(images, filters, strict=True)
    ]


def _grad_groups(grad: Tensor, groups: int) -> list[Tensor]:
    """Per group: G [B, T, Q]."""
    return [g.double().flatten(2) for g in grad.chunk(groups, 1)]
