"""Which layers of a network are compared, and from which distributions they are made to start.

A distribution after training may be left over from before: adder filters start as N(0, 1),
convolution filters uniform and narrow. So the same training is repeated from other starts:

======= ========================================================================================
own     as the layer is made: adder N(0, 1); convolution and shift uniform, σ = 1/√(3·taps)
laplace Laplace instead, as wide as the layer's own: the shape that is in question is there at once
narrow  Gaussian, a tenth as wide as the layer's own: next to nothing of it is left after training
======= ========================================================================================
"""

from fnmatch import fnmatch

import torch
from torch import Generator, Tensor, nn

from saa_lite.errors import check_choice
from saa_lite.models import describe

STARTS = ("own", "laplace", "narrow")
NARROW = 0.1


def compared_layers(model: nn.Module, name: str) -> dict[str, nn.Module]:
    """Layers of the chosen operator, by name: those that never multiply anyway are left out.

    Args:
        name: of the network in the registry, which says what stays multiplicative in it.
    """
    kept = describe(name).multiplicative
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
        and not any(fnmatch(path, pattern) for pattern in kept)
    }


def layer_weights(model: nn.Module, name: str) -> list[Tensor]:
    """Copies of the compared layers' weights [filters, ...] on the CPU, in order of definition.

    Of a shift layer these are the latent weights, before they are rounded to ±2^p.
    """
    layers = compared_layers(model, name).values()
    return [layer.get_parameter("weight").detach().cpu().clone() for layer in layers]


@torch.no_grad()
def restart(model: nn.Module, name: str, start: str, seed: int) -> None:
    """Draw the compared layers' weights anew, as STARTS has it; "own" leaves them alone.

    Raises:
        UsageError: an unknown start.
    """
    check_choice("start", start, STARTS)
    if start == "own":
        return
    random = torch.Generator().manual_seed(seed)
    for layer in compared_layers(model, name).values():
        weight = layer.get_parameter("weight")
        weight.copy_(_drawn(weight.shape, start, float(weight.std()), random))


def left_share(before: Tensor, after: Tensor) -> float:
    """How much of its start a layer keeps: β of the regression after = β·before + change."""
    start, end = (w.detach().double().flatten() for w in (before, after))
    start = start - start.mean()
    return float(start @ (end - end.mean()) / (start @ start))


def with_share(before: Tensor, after: Tensor, share: float) -> Tensor:
    """The trained weights, had ``share`` of their start been left; float64, flat.

    What training added, after − β·before, stays as it is: arithmetic on one trained layer, not
    another training.
    """
    start, end = (w.detach().double().flatten() for w in (before, after))
    return end + (share - left_share(before, after)) * start


def _drawn(shape: torch.Size, start: str, width: float, random: Generator) -> Tensor:
    """Weights of the start's shape around 0, given the standard deviation of the layer's own."""
    if start == "narrow":
        return NARROW * width * torch.randn(shape, generator=random)
    u = torch.rand(shape, generator=random, dtype=torch.float64) - 0.5
    # The quantile function of a Laplace; 1 − 2|u| is at least 2⁻⁵³, so the logarithm is finite.
    return (-width / 2**0.5 * u.sign() * torch.log1p(-2 * u.abs())).float()
