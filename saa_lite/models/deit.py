"""DeiT-Tiny and a smaller twin, multiplicative, with shifts, and as the adder transformer.

Patches of 16² → 192 numbers each, a class token, learned positions; 12 blocks of attention (3
heads) and a two-layer perceptron (768), each behind a layer norm and around a shortcut; layer norm;
linear classifier on the class token (DeiT, ICML 2021, without distillation token; its stochastic
depth belongs to a training recipe and is not part of this network).

**Adder form.** AdderNet quantisation takes it from "Adder attention for vision transformers" (Shu
et al., NeurIPS 2021), of which only the abstract was at hand. Our reading: every linear map in the
blocks is an adder layer without bias, followed by batch norm over its features (AdderNet's order;
a layer norm could not remove each filter's own mean, which is most of what an adder layer puts
out); scores and the identity term are in :mod:`saa_lite.nn.attention`. The layer norms before
attention and perceptron stay, so that adder layers see inputs of the scale of their weights.

**Shift form.** DeepShift replaces weights, so the linear maps become shift layers and the two
products of attention, which have no weights, stay multiplications.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, fx, nn

from saa_lite.errors import UsageError
from saa_lite.models.blocks import ImageClassifier
from saa_lite.models.registry import ModelInfo, register
from saa_lite.nn import (
    AdderLinear,
    AdderScores,
    DotScores,
    ShiftPSLinear,
    WeightedValues,
    make_linear,
)
from saa_lite.nn.whole import one_node

START = 0.02  # standard deviation of fresh weights, tokens and positions (official code)


class TokenNorm(nn.BatchNorm1d):
    """Batch norm over features: [B,N,F] → [B,N,F], statistics over images and tokens."""

    @one_node
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])


def token_linear(kind: str, n_in: int, n_out: int) -> nn.Module:
    """[B,N,n_in] → [B,N,n_out]: adder layer and batch norm, or a layer with bias."""
    if kind == "adder":
        adder = AdderLinear(n_in, n_out, bias=False)
        return nn.Sequential(OrderedDict(adder=adder, norm=TokenNorm(n_out)))
    layer = make_linear(kind, n_in, n_out)
    _start_small(layer)
    return layer


@torch.no_grad()
def _start_small(layer: Any) -> None:
    """DeiT's initialisation; a shift-ps layer starts at its nearest powers of two (our reading).

    That layer's own uniform exponents would saturate the softmax: no norm follows here.
    """
    weight = nn.init.trunc_normal_(torch.empty_like(layer.weight), std=START)
    if isinstance(layer, ShiftPSLinear):
        layer.set_weight(weight)
    else:
        layer.weight.copy_(weight)
    nn.init.zeros_(layer.bias)


class Attention(nn.Module):
    """Self-attention with several heads: [B,N,F] → [B,N,F]; F must be a multiple of ``heads``."""

    def __init__(self, kind: str, features: int, heads: int) -> None:
        super().__init__()
        adder = kind == "adder"
        self.heads = heads
        self.qkv = token_linear(kind, features, 3 * features)
        self.scores = AdderScores(features // heads) if adder else DotScores()
        self.values = WeightedValues(identity=adder)
        self.project = token_linear(kind, features, features)

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1))  # [B,N,3,H,d]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # three of [B,H,N,d]
        weights = self.scores(query, key).softmax(-1)  # [B,H,N,N]
        mixed = self.values(weights, value)  # [B,H,N,d]
        return self.project(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then perceptron: [B,N,F] → [B,N,F]."""

    def __init__(self, kind: str, features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features, eps=1e-6)
        self.attention = Attention(kind, features, heads)
        self.norm2 = nn.LayerNorm(features, eps=1e-6)
        self.fc1 = token_linear(kind, features, hidden)
        self.act = nn.GELU()
        self.fc2 = token_linear(kind, hidden, features)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.fc2(self.act(self.fc1(self.norm2(tokens))))


class DeiT(ImageClassifier):
    """Images [B,C,size,size] → logits; the positions fix the size.

    Args:
        size, patch: height and width, in pixels, of images and of patches.
        features, depth, heads, hidden: width of a token, blocks, heads, width of the perceptron.
    """

    def __init__(
        self,
        num_classes: int,
        kind: str,
        in_channels: int,
        *,
        size: int,
        patch: int,
        features: int,
        depth: int,
        heads: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.size = size
        self.patches = nn.Conv2d(in_channels, features, patch, patch)
        tokens = (size // patch) ** 2 + 1
        self.class_token = nn.Parameter(START * torch.randn(1, 1, features))
        self.positions = nn.Parameter(START * torch.randn(1, tokens, features))
        self.blocks = nn.Sequential(*(Block(kind, features, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(features, eps=1e-6)
        self.classifier = nn.Linear(features, num_classes)
        _start_small(self.classifier)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,size,size] → the class token after the last block, [B,F]."""
        _check_size(images, self.size)
        patches = self.patches(images).flatten(2).transpose(1, 2)  # [B,N−1,F]
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), patches], 1)
        return self.norm(self.blocks(tokens + self.positions))[:, 0]


@fx.wrap  # its condition is not for torch.fx to trace
def _check_size(images: Tensor, size: int) -> None:
    height, width = images.shape[-2:]
    if (height, width) != (size, size):
        raise UsageError(
            f"this transformer has positions for images of {size}×{size}; got {height}×{width}"
        )


COMMON: dict[str, Any] = {
    "multiplicative": ("patches", "classifier"),
    "keeps": "patch embedding, classifier and norms, and attention's product of weights and "
    "values; with shifts also its product of queries and keys",
    "variants": ("conv", "adder", "shift", "shift-ps"),
    "refuses": "no source has a transformer of signs or of ShiftAddNet's pairs",
}


@register(
    ModelInfo(
        name="deit_tiny",
        source="DeiT-Tiny (ICML 2021); adder form after Shu et al. (NeurIPS 2021) and AdderNet "
        "quantisation (supplement, Table 4), details are our reading",
        input_size=224,
        small_input="patches of 4² instead of 16² for 32² images: 65 tokens instead of 197",
        **COMMON,
    )
)
def deit_tiny(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """With 1000 classes: 5,717,416 parameters and 1253.7 M products (attention's two included)."""
    size, patch = (32, 4) if small_input else (224, 16)
    return DeiT(
        num_classes,
        conv,
        in_channels,
        size=size,
        patch=patch,
        features=192,
        depth=12,
        heads=3,
        hidden=768,
    )


@register(
    ModelInfo(
        name="deit_mini",
        source="ours: DeiT-Tiny cut to a third of its width and depth, to be trained on a CPU",
        input_size=32,
        small_input="nothing: the network is made for 32² images, in patches of 4²",
        **COMMON,
    )
)
def deit_mini(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """64 features, 4 blocks, 2 heads, 65 tokens; 208,074 parameters for 10 classes of colour."""
    return DeiT(
        num_classes,
        conv,
        in_channels,
        size=32,
        patch=4,
        features=64,
        depth=4,
        heads=2,
        hidden=256,
    )
