"""How well the sign of a gradient points along the gradient, layer by layer of a trained net.

For a full-precision gradient g of n numbers, cos(sgn g, g) = ‖g‖₁ / (√n ‖g‖₂). It is 1 for n = 1
and never below 1/√n; for independent Gaussian numbers it tends to √(2/π) ≈ 0.798 and stays there
at any large n. Only heavy tails lower it. So whether the direction gets worse with dimension has to
be asked of real gradients, which is what :func:`layer_directions` does.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAUSSIAN_COSINE = math.sqrt(2 / math.pi)

Row = dict[str, float | None]


def sign_cosine(gradient: Tensor) -> float:
    """cos(sgn g, g) = ‖g‖₁ / (√n ‖g‖₂) of all entries of ``gradient``; NaN where g is all zero."""
    g = gradient.detach().double().flatten()
    return float(g.abs().sum() / (math.sqrt(g.numel()) * g.norm()))


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors of one shape, read as vectors."""
    return float(F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0))


def adder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of ``model`` whose weight has adder gradients, in forward order."""
    return [layer for layer in model.modules() if hasattr(layer, "weight_gradient")]


def weight_gradients(model: nn.Module, images: Tensor, labels: Tensor, kind: str) -> list[Tensor]:
    """Adder weight gradients of one batch, ``kind`` "full" (x − w) or "sign" (sgn(x − w)).

    Only the weight gradient changes; what arrives from above and the input gradient stay the same,
    so the two kinds differ in nothing else. ``model`` keeps its gradients and options.
    """
    layers = adder_layers(model)
    before = [layer.weight_gradient for layer in layers]
    for layer in layers:
        layer.weight_gradient = kind  # type: ignore[assignment]
    try:
        loss = F.cross_entropy(model(images), labels)
        return list(torch.autograd.grad(loss, [layer.weight for layer in layers]))  # type: ignore[arg-type]
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.weight_gradient = old


def layer_directions(model: nn.Module, batches: Iterable[tuple[int, Tensor, Tensor]]) -> list[Row]:
    """Per adder layer, dimension and mean cosine over the batches.

    ``sign_cosine`` compares sgn g with g (sign descent, the source's argument); ``layer_cosine``
    compares the layer's own sign gradient Σ G·sgn(x − w) with g = Σ G·(x − w).
    """
    found = []
    for _, images, labels in batches:
        full, sign = (weight_gradients(model, images, labels, k) for k in ("full", "sign"))
        found.append(
            [(g.numel(), sign_cosine(g), cosine(s, g)) for g, s in zip(full, sign, strict=True)]
        )
    names = ("dimension", "sign_cosine", "layer_cosine")
    return [
        {"layer": index, **dict(zip(names, map(float, row), strict=True))}
        for index, row in enumerate(np.mean(found, axis=0), start=1)
    ]


def part_directions(gradients: Sequence[Tensor], seed: int, draws: int = 50) -> list[Row]:
    """cos(sgn p, p) of random parts p of one gradient: its dimension changes, its layer does not.

    Rows of dimension 1, 10, 100, … below the size of the largest of ``gradients``.
    """
    largest = max(gradients, key=Tensor.numel).flatten()
    generator = torch.Generator().manual_seed(seed)
    rows: list[Row] = []
    for exponent in range(math.ceil(math.log10(largest.numel()))):
        n = 10**exponent
        parts = torch.randint(largest.numel(), (draws, n), generator=generator)
        values = [sign_cosine(part) for part in largest.cpu()[parts]]
        rows.append({"dimension": float(n), "sign_cosine": float(np.nanmean(values))})
    return rows


def slope_per_decade(rows: Sequence[Row], quantity: str) -> float:
    """Least-squares change of ``quantity`` per tenfold dimension."""
    tens = [math.log10(row["dimension"] or 1) for row in rows]
    values = [float(row[quantity] or 0) for row in rows]
    return float(np.polyfit(tens, values, 1)[0])
