"""A start from which deep, narrow adder networks learn (ours; no source has it).

−Σ|x − w| bends wherever an input crosses its weight. AdderNet draws weights from N(0, 1), as wide
as the normalised inputs, so every layer bends often: two images that differ by a little noise are
unlike each other after some ten layers, and gradients grow on their way back by as much. Weights
mostly beyond their inputs bend rarely: |x − w| = ±(x − w), a sum with signs, until training moves
them. And a residual branch that starts at 0 leaves its block the identity (Goyal et al. 2017,
section 5.1), so fewer layers lie one behind the other at first.

**Whether training moves them is a matter of the step.** AdderNet's adaptive rate gives every adder
weight a step of lr·η, whatever its size. Weights six times as wide move six times less in their
own measure, and one that lies beyond all inputs changes nothing until it has come among them: it is
a sign that never turns. What is left of a layer then is a fixed random projection of ±1, and what
the network learns it mostly owes to stem, depthwise convolutions, norms and classifier, which learn
without the adder weights, too. Hence ``scale_eta``: the same factor on η makes the relative step
what it is without.

The weight remapping of an augmented model draws adder weights itself: give it the same width with
``AugmentConfig(remap_spread=…)``. Its gradient is measured where the adder reads it, so η acts
there as in a layer of its own.
"""

import math
from collections.abc import Iterator

import torch
from torch import nn

from saa_lite.errors import UsageError, renamed
from saa_lite.models.inverted import InvertedBlock
from saa_lite.models.resnet import BasicBlock
from saa_lite.nn import AdderConv2d

SPREAD = 6.0


@renamed(silent_branches=("zero_init_residual", bool))
@torch.no_grad()
def calm_start(
    model: nn.Module,
    spread: float = SPREAD,
    *,
    zero_init_residual: bool = True,
    scale_eta: bool = True,
) -> None:
    """Make an untrained network's adder weights wider, in place, and its residual branches 0.

    Branches are those of this package's :class:`InvertedBlock` and :class:`BasicBlock`; of other
    networks the weights alone become wider. ``AdderLinear`` layers stay as they are.

    Args:
        spread: factor on the weights of all adder convolutions; 1 leaves them.
        zero_init_residual: whether residual branches start at 0.
        scale_eta: whether η of these layers grows by the same factor (from AdderNet's 0.2 to 1.2),
            so that a step is as large beside its weight as before. False leaves η, and most of the
            weights where they are.

    Raises:
        UsageError: no adder convolution in it, or a spread that is not positive and finite.
    """
    if not 0 < spread < math.inf:
        raise UsageError(f"spread must be positive and finite; got {spread!r}")
    layers = [layer for layer in model.modules() if isinstance(layer, AdderConv2d)]
    if not layers:
        raise UsageError("calm_start() is for networks with adder convolutions; there is none")
    for layer in layers:
        layer.weight.mul_(spread)
        layer.eta *= spread if scale_eta else 1
    for norm in last_norms(model) if zero_init_residual else ():
        norm.weight.zero_()


def last_norms(model: nn.Module) -> Iterator[nn.BatchNorm2d]:
    """The batch norm that ends a residual branch beside an identity, in this package's blocks."""
    for block in model.modules():
        norm = None
        if isinstance(block, InvertedBlock) and block.has_shortcut:
            norm = block.project.get_submodule("norm")
        elif isinstance(block, BasicBlock) and isinstance(block.shortcut, nn.Identity):
            norm = block.bn2
        if isinstance(norm, nn.BatchNorm2d):
            yield norm
