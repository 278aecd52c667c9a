"""One stored weight, read as a convolution, a shift or an adder weight.

Reviewers of ShiftAddAug could not tell whether multiplication-free weights are stored. Reviewer
1's reading, which we adopt: one weight W is; the multiplication-free layer's weights R(W) are
generated from it in every step, and frozen to constants when the target is exported.

Gradients of both passes of a step meet at R(W), which is a leaf for that long. There AdderNet's
adaptive learning rate normalises them, over the target's slice, and only then the chain rule takes
them on to W. Normalising at W would also rescale what W receives as a convolution. With
``adaptive_lr="pass"`` R(W) is a leaf for one pass only, so that each is normalised by itself and
what they hand on to W adds.

The chain rule alone would move R(W) by R'² times what the adaptive rate means: by hundreds, as R
widens a convolution's weight 10 to 40 times, and the learned scale b by the sum over all weights.
Trainings ended in NaN. Our reading: R(W) is to move as an adder layer's own weight would. Hence
the gradient of W is multiplied by (σ_W/σ_R)² of the start, and parameters of R receive the mean
over the weights instead of the sum, which for b is that same step's share along R(W).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from saa_lite.augment.remap import Remap
from saa_lite.nn.adaptive_lr import BY_OPTIMIZER, adaptive_gradient, adaptive_scale
from saa_lite.ops._derivatives import is_plain
from saa_lite.train import parallel


class SharedWeight(nn.Module):
    """The weight of ``layer`` and what its operator reads.

    Args:
        layer: the target's own layer; its ``weight`` is the stored W.
        remap: W → the operator's weight, or None where that is W itself.
        viewed: whether W is also read as a convolution, so that R(W) must be kept apart from it.

    Attributes:
        normalised: mode of the layer's adaptive rate, as it was given.
        apart: whether gradients are collected at R(W) and not at W.
        gauge: buffer, (σ_W/σ_R)² of the start where an adaptive rate acts, otherwise 1.
    """

    gauge: Tensor

    def __init__(self, layer: nn.Conv2d, remap: Remap | None, viewed: bool) -> None:
        super().__init__()
        self.layer = layer
        self.remap = remap
        # Not called adaptive_lr, which is how attach_adaptive_lr() knows an adder layer.
        self.normalised = getattr(layer, "adaptive_lr", "off")
        self.apart = remap is not None or viewed or self.normalised == "pass"
        if self.normalises:
            self._layer().adaptive_lr = "off"  # normalised in finish(), not at W
        self.register_buffer("gauge", self._gauge())
        self._generated: Tensor | None = None
        self._leaf: Tensor | None = None

    def _layer(self) -> Any:
        return self.layer

    @property
    def normalises(self) -> bool:
        """Whether the adaptive rate acts here, in the optimiser's place."""
        return self.apart and self.normalised in BY_OPTIMIZER

    def free(self) -> Tensor:
        """R(W), the weight of the multiplication-free operator."""
        if self._leaf is not None:
            return self._leaf
        weight = self._generate()
        if self.normalises and torch.is_grad_enabled():
            # Outside of begin() … finish() there is one pass, where both places are the same.
            return adaptive_gradient(weight, self._layer().eta)
        return weight

    def frozen(self) -> Tensor:
        """R(W) as a constant."""
        return self._generate().detach().clone()

    def remapped(self, other: Tensor) -> Tensor:
        """R of further weights of the same layer, measured with W's mean and deviation."""
        if self.remap is None:
            return other
        stored = self.layer.weight.detach().float()
        return self.remap(other, mean=stored.mean(), std=stored.std(correction=0))

    def begin(self) -> None:
        """Generate R(W) once for all that comes until :meth:`finish`: a step, or one pass."""
        if self.apart:
            self._generated = self._generate()
            self._leaf = self._generated.detach().requires_grad_()

    def to_normalise(self) -> list[Tensor]:
        """R(W) itself, where :meth:`finish` normalises its gradient: that of all processes."""
        return [self._leaf] if self.normalises and self._leaf is not None else []

    def finish(self, loss_scale: float = 1.0) -> None:
        """Normalise the gradient that R(W) collected and hand it on to W.

        Where several processes have the same one, each hands on its share of it.
        """
        leaf, generated = self._leaf, self._generated
        self._leaf = self._generated = None
        if leaf is None or leaf.grad is None or generated is None:
            return
        gradient = leaf.grad
        if self.normalises:
            scale = adaptive_scale(gradient, self._layer().eta) * loss_scale
            gradient = gradient * (scale / parallel.count())
        generated.backward(gradient)

    def _generate(self) -> Tensor:
        weight = self.layer.weight
        if self.remap is None:
            return weight.view_as(weight)
        if self.normalised == "off" or not torch.is_grad_enabled():
            return self.remap(weight)
        share = 1 / weight.numel()
        options = {name: scale_gradient(p, share) for name, p in self.remap.named_parameters()}
        generated: Tensor = functional_call(
            self.remap, options, (scale_gradient(weight, self.gauge),)
        )
        return generated

    @torch.no_grad()
    def _gauge(self) -> Tensor:
        weight = self.layer.weight
        if self.remap is None or self.normalised == "off":
            return weight.new_ones(())
        return weight.var(correction=0) / self.remap(weight).var(correction=0)


class _ScaledGradient(torch.autograd.Function):
    """Identity whose backward multiplies."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


class _PlainScaledGradient(torch.autograd.Function):
    """The same, for plain calls alone: without ``setup_context`` a call costs half as much."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    backward = _ScaledGradient.backward


def scale_gradient(x: Tensor, factor: Tensor | float) -> Tensor:
    """Return ``x``; whatever gradient comes back through it leaves multiplied by ``factor``."""
    number = factor if isinstance(factor, Tensor) else torch.tensor(factor, dtype=torch.float64)
    function = _PlainScaledGradient if is_plain(x, number) else _ScaledGradient
    scaled: Tensor = function.apply(x, number)
    return scaled
