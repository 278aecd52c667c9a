"""The two products of attention as layers of their own, and the adder form of the first.

Multiplicative attention is softmax(q·kᵀ/√d)·v. "Adder attention for vision transformers" (Shu et
al., NeurIPS 2021) compares query and key by their ℓ1 distance and adds an identity mapping,
because with additions alone the attention map loses rank. Of that paper only the abstract was at
hand, so what follows is our reading::

    scores  = −τ·Σ|q − k|                  τ learnable, one per layer, starts at 1/√d
    output  = (softmax(scores) + I)·v

The product with v stays multiplicative: its left factor are weights that sum to 1, for which a
distance has no meaning. Being modules, both products can be counted and hooked like any layer.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.nn.whole import one_node
from saa_lite.ops import adder_conv2d
from saa_lite.ops.adder_kernels import adder_input_gradient


class DotScores(nn.Module):
    """q·kᵀ/√d: query [B,H,N,d], key [B,H,M,d] → [B,H,N,M]."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)


class AdderScores(nn.Module):
    """−τ·Σ|q − k|: query [B,H,N,d], key [B,H,M,d] → [B,H,N,M].

    Args:
        features: d, which only sets the start of ``temperature`` (τ).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1 / math.sqrt(features)))

    @one_node
    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return self.temperature * adder_scores(query, key)


class WeightedValues(nn.Module):
    """Weights [B,H,N,M], values [B,H,M,d] → weights·values [B,H,N,d].

    Args:
        identity: add the values themselves, (weights + I)·values; then N must equal M.
    """

    def __init__(self, identity: bool = False) -> None:
        super().__init__()
        self.identity = identity

    def extra_repr(self) -> str:
        return f"identity={self.identity}"

    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        mixed = weights @ values
        return values + mixed if self.identity else mixed


def adder_scores(query: Tensor, key: Tensor) -> Tensor:
    """−Σ|q − k|: query [B,...,N,d], key [B,...,M,d] → [B,...,N,M], float32 or float64.

    Both gradients are AdderNet's for inputs, clipped to [−1, 1] (CVPR 2020, eq. 6–7): query and
    key are both activations, whose gradients travel on. Our reading; the paper's is not known to
    us. Half precision is cast to float32 first, as in the adder layers under autocast.
    """
    if query.dtype in (torch.float16, torch.bfloat16):
        query, key = query.float(), key.float()
    leading = query.shape[:-2]
    distances: Tensor = _Distance.apply(query.flatten(0, -3), key.flatten(0, -3))
    return distances.unflatten(0, leading)


class _Distance(torch.autograd.Function):
    """−Σ|q − k| for G pairs of matrices: [G,N,d], [G,M,d] → [G,N,M].

    It is the grouped adder convolution of one image: a row of N pixels with G·d channels, seen by
    G·M filters of one tap.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(query: Tensor, key: Tensor) -> Tensor:
        groups = len(query)
        return _matrices(adder_conv2d(_row(query), _filters(key), groups=groups), groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        query, key = ctx.saved_tensors
        gradient, wanted = gradients[0], ctx.needs_input_grad
        return (
            _clipped(gradient, query, key) if wanted[0] else None,
            _clipped(gradient.transpose(1, 2), key, query) if wanted[1] else None,
        )


def _clipped(gradient: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
    """Σ_j G[i,j]·clip(theirs[j] − ours[i], −1, 1): [G,N,M], [G,N,d], [G,M,d] → [G,N,d]."""
    groups = len(ours)
    geometry = ([1, 1], [0, 0], [1, 1])  # stride, padding, dilation
    tensors = _row(gradient), _row(ours), _filters(theirs)
    return _matrices(adder_input_gradient(*tensors, *geometry, groups, "clip"), groups)


def _row(matrices: Tensor) -> Tensor:
    """[G,N,d] → one image of N pixels in a row, [1,G·d,1,N], channels last in memory."""
    return matrices.transpose(0, 1).reshape(1, 1, matrices.shape[1], -1).permute(0, 3, 1, 2)


def _matrices(row: Tensor, groups: int) -> Tensor:
    """The inverse of :func:`_row`."""
    return row[0, :, 0].unflatten(0, (groups, -1)).transpose(1, 2)


def _filters(matrices: Tensor) -> Tensor:
    """[G,M,d] → filters of one tap, [G·M,d,1,1]."""
    return matrices.flatten(0, 1)[:, :, None, None]
