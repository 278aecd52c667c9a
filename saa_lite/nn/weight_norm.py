"""Adder weights that stay as wide as their inputs: adaptive weight normalisation.

"Towards Stable and Robust AdderNets" (Dong et al., NeurIPS 2021) finds variances of weights and
activations that are "very enormous", as the output of an adder layer varies with both, and
normalises the weights adaptively in training. We could read no more of it than its abstract, so the
form is our reading: in every training step, before a layer looks at its batch, its weights are
given the deviation of that batch, layer by layer and about their own mean::

    w ← μ_w + (w − μ_w) · σ_x / σ_w

The mean is left to training, as is where in the range of its inputs each filter lies. Stored
weights are projected, so nothing else has to know: not gradients, optimiser and export, and no
state is kept beside the weights.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from saa_lite.errors import UsageError
from saa_lite.nn.adder import AdderLayer


def normalise_weights(model: nn.Module) -> list[RemovableHandle]:
    """Let every adder layer of ``model`` take the deviation of its inputs while it trains.

    In evaluation, and where no gradient is wanted, weights stay as the last step left them. Adder
    layers inside an augmented model are read without being called, so there this does nothing.

    Returns:
        One handle per layer; its ``remove()`` ends it.

    Raises:
        UsageError: there is no adder layer; in training, a replica of ``DataParallel``, whose
            weights are copies that are thrown away.
    """
    layers = [part for part in model.modules() if isinstance(part, AdderLayer)]
    if not layers:
        raise UsageError("normalise_weights() is for models with adder layers; there is none")
    return [layer.register_forward_pre_hook(_take_deviation) for layer in layers]


@torch.no_grad()
def deviate(weight: torch.Tensor, deviation: torch.Tensor) -> None:
    """Give a weight a standard deviation, in place, its mean kept; where either is 0, not."""
    mean, own = weight.mean(), weight.std(correction=0)
    factor = torch.where((own > 0) & (deviation > 0), deviation / own, 1.0)
    weight.sub_(mean).mul_(factor).add_(mean)


def _take_deviation(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    """A hook at module level, since a model with a lambda cannot be pickled."""
    if layer.training and torch.is_grad_enabled():
        if getattr(layer, "_is_replica", False):
            raise UsageError(
                "normalise_weights() changes weights in place, and those of a DataParallel replica "
                "are copies; use DistributedDataParallel or one device"
            )
        x = inputs[0].detach()
        deviate(layer.get_parameter("weight"), x.float().std(correction=0))
