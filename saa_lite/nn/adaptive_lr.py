"""AdderNet's adaptive learning rate, and where it acts.

Adder gradients shrink strongly from layer to layer, so AdderNet (CVPR 2020, eq. 12–13) gives every
layer its own rate α = η√k / ‖g‖₂, with g the gradient of the layer's weight and k its element
count. Multiplying the gradient by α makes its root mean square exactly η in every adder layer, at
every step, whatever the loss. η = 0.2 is what the official code writes (``/ 5``); bias and other
parameters are not touched, and weight decay is added afterwards by the optimiser.

``"backward"`` multiplies during the backward pass, as the official code does. Four consequences:

1. Rescaling the loss has no effect on adder weights. Micro-batches of loss/4 are each brought back
   to full size, so four accumulated ones count up to four times too much.
2. A ``GradScaler`` divides by a scale that the normalisation had already removed: adder weights
   hardly move.
3. Two losses that are back-propagated one after the other (NetAug, ShiftAddAug) get equal norm,
   whatever their weights.
4. Data-parallel replicas normalise before they are averaged.

``"step"`` (default) multiplies once, just before the optimiser steps: after accumulation, averaging
and unscaling. With one backward pass per step the two are the same. It needs one call::

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    attach_adaptive_lr(optimizer, model)

``"pass"`` differs from it only where a step has several passes whose gradients add, as with a
target and its augmented model (:class:`saa_lite.augment.AugmentedTraining`): each pass is brought
to RMS η by itself, whatever its micro-batches and its loss scale, and then they add. That is what
the official layer does inside NetAug's loop, without consequences 1 and 2. Under ``"step"`` the
second pass takes its share of one fixed length from the first; under ``"pass"`` it takes nothing,
so a step is up to twice as long, and the weight of a pass's loss has no effect on adder weights
(but 0, which leaves the pass out).

In any place, clipping by norm before the step has no effect on adder weights.
``"off"`` leaves the gradient alone.
"""

import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.weak import WeakIdKeyDictionary

from saa_lite.errors import UsageError

MODES = ("step", "pass", "backward", "off")
BY_OPTIMIZER = ("step", "pass")  # someone has to normalise before the step; one pass: the same
SMALLEST_NORM = 1e-12  # official code: a gradient of norm 0 stays 0

UNATTACHED = (
    "an adder layer trains with adaptive_lr='step' or 'pass' but no optimizer normalises its "
    "gradient: call saa_lite.nn.attach_adaptive_lr(optimizer, model) once after creating the "
    "optimizer, or give the layer adaptive_lr='backward' or 'off' (said once per process)"
)


def check_eta(eta: object) -> None:
    """Raise :class:`UsageError` unless ``eta`` is a positive finite number."""
    if not isinstance(eta, int | float) or not 0 < eta < math.inf:
        raise UsageError(f"eta must be a positive finite number; got {eta!r}")


def adaptive_scale(gradient: Tensor, eta: float) -> Tensor:
    """α = η√k / max(‖g‖₂, 1e-12), a scalar tensor (no device synchronisation)."""
    half = gradient.dtype in (torch.float16, torch.bfloat16)
    norm = torch.linalg.vector_norm(gradient, dtype=torch.float32 if half else None)
    return eta * math.sqrt(gradient.numel()) / norm.clamp_min(SMALLEST_NORM)


class _AdaptiveGradient(torch.autograd.Function):
    """Identity whose backward normalises; part of the graph, so copies of a module keep it."""

    generate_vmap_rule = True  # per-sample gradients are normalised one by one

    @staticmethod
    def forward(weight: Tensor, eta: float) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.eta = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient * adaptive_scale(gradient, ctx.eta).to(gradient.dtype), None


def adaptive_gradient(weight: Tensor, eta: float) -> Tensor:
    """Return ``weight``; whatever gradient comes back through it leaves with RMS ``eta``."""
    adapted: Tensor = _AdaptiveGradient.apply(weight, eta)
    return adapted


class AdaptiveLR:
    """The normalisation attached to one optimiser; :func:`attach_adaptive_lr` returns it."""

    def __init__(self, optimizer: Optimizer) -> None:
        # weight → (its layer, eta of this attachment or None for the layer's own)
        self._layers: Any = WeakIdKeyDictionary()
        self._hook = optimizer.register_step_pre_hook(self._before_step)

    def __contains__(self, weight: Tensor) -> bool:
        return weight in self._layers

    def shards(self, layer: nn.Module) -> bool:
        """Whether the optimiser holds the layer's weight in shards, and so no pass sees it.

        ``fully_shard`` computes with a parameter that it gathers for each pass.
        """
        return any(
            owner is layer and type(weight) is not nn.Parameter
            for weight, (owner, _) in self._layers.items()
        )

    def __len__(self) -> int:
        """Number of adder weights whose gradient is normalised."""
        return len(self._layers)

    def add(self, layer: nn.Module, eta: float | None) -> None:
        """Normalise the weight of ``layer`` too."""
        self._layers[layer.weight] = (layer, eta)

    def remove(self) -> None:
        """Detach from the optimiser: nothing is normalised any more. Calling it twice is fine."""
        self._hook.remove()
        self._layers.clear()
        for optimizer in [o for o, attached in _attached.items() if attached is self]:
            del _attached[optimizer]

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Step pre-hook. ``args[0]`` is the optimiser itself, ``args[1]`` a closure if given."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._normalise(getattr(optimizer, "grad_scale", None))
            return None
        # The optimiser calls the closure inside its step: that is where the gradients are made.
        others = {name: value for name, value in kwargs.items() if name != "closure"}
        return (args[0], self._normalising(closure)), others

    def _normalising(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def evaluate() -> Any:
            loss = closure()
            self._normalise(None)
            return loss

        return evaluate

    @torch.no_grad()
    def _normalise(self, unscaled_later: Tensor | None) -> None:
        """Scale every gradient in place.

        Fused optimisers divide by GradScaler's scale inside their step and announce it as
        ``grad_scale``; multiplying by it here leaves RMS η after that division.
        """
        for weight, (layer, eta) in list(self._layers.items()):
            if layer.adaptive_lr not in BY_OPTIMIZER or weight.grad is None:
                continue
            scale = adaptive_scale(weight.grad, layer.eta if eta is None else eta)
            if unscaled_later is not None:
                scale = scale * unscaled_later
            weight.grad.mul_(scale.to(weight.grad.dtype))


_attached: "weakref.WeakKeyDictionary[Optimizer, AdaptiveLR]" = weakref.WeakKeyDictionary()


def attach_adaptive_lr(
    optimizer: Optimizer, module: nn.Module, eta: float | None = None
) -> AdaptiveLR:
    """Normalise the gradients of ``module``'s adder weights before each step of ``optimizer``.

    Acts on the adder layers in mode ``"step"`` or ``"pass"`` whose weight the optimiser holds now;
    other weights are left to whichever optimiser holds them. Attaching twice does not normalise
    twice (the later ``eta`` holds), attaching another module extends the same attachment. A module
    without adder layers is fine. Call it again after ``optimizer.add_param_group``.

    Args:
        eta: overrides each layer's ``eta`` attribute when given; otherwise the attribute is read
            at every step.

    Returns:
        The optimiser's one :class:`AdaptiveLR`; its ``remove()`` detaches everything.

    Raises:
        UsageError: ``module`` trains adder weights and the optimiser holds none of them (it was
            probably built for another copy of the network), or a weight is parametrised.
    """
    if eta is not None:
        check_eta(eta)
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    layers = list(_step_layers(module))
    mine = [layer for layer in layers if id(layer.weight) in held]
    if layers and not mine:
        raise UsageError(
            f"optimizer holds none of the module's {len(layers)} adder weights; build it from the "
            "parameters of the same copy of the network"
        )
    if optimizer not in _attached:
        _attached[optimizer] = AdaptiveLR(optimizer)
    for layer in mine:
        _attached[optimizer].add(layer, eta)
    return _attached[optimizer]


def _step_layers(module: nn.Module) -> Iterator[nn.Module]:
    """Adder layers of ``module`` whose trained weight waits for an optimiser to normalise it."""
    for name, layer in module.named_modules():
        if getattr(layer, "adaptive_lr", None) not in BY_OPTIMIZER:
            continue
        weight = layer._parameters.get("weight")
        if weight is None:
            raise UsageError(
                f"the weight of adder layer {name!r} is parametrised, so no optimizer holds it; "
                "use adaptive_lr='backward', which normalises before the parametrisation"
            )
        if weight.requires_grad:
            yield layer


# Warning: a weight is watched by a hook on its gradient's accumulation. Hooks do not survive
# copying, and that is the point here: a copy is watched anew, as it is attached to nothing.
_watched: Any = WeakIdKeyDictionary()
_said_once: list[str] = []


def watch(layer: nn.Module) -> None:
    """Warn, once per process, if the layer's weight gets a gradient that nothing normalises."""
    weight = layer._parameters.get("weight")
    # torch.func puts plain tensors, perhaps no leaves, in a parameter's place: nothing to watch
    if _said_once or not isinstance(weight, nn.Parameter) or weight in _watched:
        return
    if not weight.requires_grad:
        return
    _watched[weight] = weakref.ref(layer)
    weight.register_post_accumulate_grad_hook(_warn_if_unattached)


def _warn_if_unattached(weight: Tensor) -> None:
    layer = _watched[weight]()
    if layer is None or layer.adaptive_lr not in BY_OPTIMIZER or _said_once:
        return
    if not any(weight in one or one.shards(layer) for one in _attached.values()):
        _said_once.append(UNATTACHED)
        warnings.warn(UNATTACHED, UserWarning, stacklevel=2)
