"""What a transformer's class token attends to, and how much of it the identity term adds back."""

import math
from collections.abc import Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor, nn

from saa_lite.nn import WeightedValues
from saa_lite.viz.style import panels, styled

HEADS = "mean of heads"
SCORES = {"conv": "products", "adder": "distances"}  # what the attention of a kind compares by


@torch.no_grad()
def attention_maps(model: nn.Module, images: Tensor) -> Tensor:
    """Weights after the softmax, [layers, B, heads, N, N]; token 0 is the class token."""
    found: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].detach())

    handles = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, WeightedValues)
    ]
    try:
        model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)


def entropy(weights: Tensor) -> Tensor:
    """−Σ p·log₂ p over the last dimension, in bits; log₂ N where all tokens count alike."""
    return -torch.special.xlogy(weights, weights).sum(-1) / math.log(2)


def effective_rank(matrix: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of [..., N, N]; N at most, 1 at least.

    A map whose rows are all alike has 1: every token then gets the same mixture.
    """
    singular = torch.linalg.svdvals(matrix.double())
    share = singular / singular.sum(-1, keepdim=True)
    return torch.exp(-torch.special.xlogy(share, share).sum(-1))


def one_map(maps: Tensor, image: float, layer: float, head: str) -> Tensor:
    """[N, N]; ``layer`` counts from 1, ``head`` is a number from 1 or ``HEADS``."""
    chosen = maps[int(layer) - 1, int(image)]  # [heads, N, N]
    return chosen.mean(0) if head == HEADS else chosen[int(head) - 1]


def attention_numbers(
    maps: Mapping[str, Tensor], image: float, layer: float, head: str
) -> dict[str, float]:
    """Per network: entropy of the class token's weights, effective rank of the map, and with I."""
    numbers = {}
    for name, all_maps in maps.items():
        found = one_map(all_maps, image, layer, head)
        numbers[f"{SCORES[name]}: bits"] = float(entropy(found[0]))
        numbers[f"{SCORES[name]}: rank"] = float(effective_rank(found))
        if name == "adder":
            identity = torch.eye(len(found))
            numbers[f"{SCORES[name]}: rank with I"] = float(effective_rank(found + identity))
    return numbers


@styled
def attention_figure(
    images: Tensor, maps: Mapping[str, Tensor], image: float, layer: float, head: str
) -> Figure:
    """The image, then per network where its class token looks, and the whole map.

    Args:
        images: [B, 1 or 3, H, W], of any range.
        maps: "conv" and "adder" → what :func:`attention_maps` found on ``images``.
    """
    figure, axes = panels(1, 1 + 2 * len(maps), height=2.4)
    shown = images[int(image)]
    picture = (shown - shown.min()) / (shown.max() - shown.min()).clamp_min(1e-9)
    _show(axes[0], picture.movedim(0, -1).squeeze(-1), "image", cmap="gray_r")
    for position, (name, all_maps) in enumerate(maps.items()):
        found = one_map(all_maps, image, layer, head)
        side = math.isqrt(found.shape[1] - 1)
        looked = found[0, 1:].reshape(side, side)
        _show_weights(axes[1 + 2 * position], looked, f"{SCORES[name]}\nclass token → patches")
        _show_weights(axes[2 + 2 * position], found, "all tokens → all tokens")
    return figure


def _show_weights(axis: Axes, weights: Tensor, title: str) -> None:
    """Every map has a scale of its own, from 0 to its largest weight."""
    largest = float(weights.max())
    shown = _show(axis, weights, title, vmin=0)
    bar = axis.figure.colorbar(
        shown, ax=axis, orientation="horizontal", ticks=[0, largest], format="%.2g", pad=0.03
    )
    bar.set_label("weight", fontsize=8, labelpad=-6)
    bar.ax.tick_params(labelsize=8)


def _show(
    axis: Axes, values: Tensor, title: str, cmap: str = "viridis", vmin: float | None = None
) -> AxesImage:
    shown = axis.imshow(values.cpu().numpy(), cmap=cmap, vmin=vmin)
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    return shown
