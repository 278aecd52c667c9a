"""Small samples of every registered network, and a counter that knows nothing of saa_lite.costs."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saa_lite.models import create_model, describe, list_models
from saa_lite.nn import AdderScores, DotScores, WeightedValues

KINDS = ("conv", "adder", "shift", "shift-ps", "binary", "shiftadd")
GREY = ("lenet5_bn", "lenet_pp")
TINY = (
    "mcunet",
    "mobilenet_v2_tiny",
    "mobilenet_v2_w035",
    "mobilenet_v3_w035",
    "proxylessnas_w035",
)
ONE_OF_A_FAMILY = ("deit_mini", "lenet5_bn", "mobilenet_v2_tiny", "resnet20")
IMAGENET = ("resnet18", "resnet50", "resnet50_v15")
FOR_32 = ("lenet5_bn", "lenet_pp", "resnet8", "resnet20", "resnet32", "vgg_small")
NAMES = tuple(sorted(("deit_mini", "deit_tiny", *TINY, *IMAGENET, *FOR_32)))

# Tiny networks end in maps of 2×2 at 32²: the variance of few of them is a poor one to normalise
# with. The heavy ones get small images; fully convolutional as they are, any size will do.
COUNTS = {**dict.fromkeys(TINY, 16), **dict.fromkeys(IMAGENET, 4)}
SIZES = {**dict.fromkeys(IMAGENET, 16), "vgg_small": 16}


def build(name: str, kind: str = "conv", num_classes: int = 10) -> nn.Module:
    """The form for 32² images."""
    return create_model(
        name, num_classes, conv=kind, small_input=True, in_channels=1 if name in GREY else 3
    )


def images_for(name: str, count: int | None = None) -> Tensor:
    size = SIZES.get(name, 32)
    count = COUNTS.get(name, 3) if count is None else count
    return torch.randn(count, 1 if name in GREY else 3, size, size)


def variants(*names: str) -> list[tuple[str, str]]:
    """(name, kind) of everything that can be built."""
    return [(name, kind) for name in names or list_models() for kind in describe(name).variants]


def sampled() -> list[Any]:
    """:func:`variants` in which most are weekly.

    Left are every operator in one network of each family, and every network with two operators.
    """
    kept = {(name, kind) for name in ONE_OF_A_FAMILY for kind in describe(name).variants}
    for place, name in enumerate(list_models()):
        kinds = list(describe(name).variants)
        kept |= {(name, kinds[(place + turn) % len(kinds)]) for turn in (0, len(kinds) // 2)}
    return weekly_but(kept, variants())


def weekly_but(kept: set[tuple[str, str]], grid: Iterable[tuple[str, str]]) -> list[Any]:
    """The grid as parameters, weekly but for what is kept."""
    if strangers := kept - {*(grid := [*grid])}:
        raise ValueError(f"not in the grid: {strangers}")
    weekly = pytest.mark.weekly
    return [pytest.param(*pair, marks=() if pair in kept else weekly) for pair in grid]


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def count_products(model: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of convolutions, linear maps and attention's two products, per batch."""
    total = 0

    def of_weights(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    def of_attention(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * inputs[0].shape[-1]

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(of_weights)
        if isinstance(layer, (DotScores, AdderScores, WeightedValues)):
            layer.register_forward_hook(of_attention)
    with torch.no_grad():
        model(images)
    return total
