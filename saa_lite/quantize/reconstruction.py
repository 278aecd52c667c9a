"""Unit by unit, bring the quantised network's outputs near the full-precision ones.

**Fisher weights** say how much each number that a block puts out matters to the network's answer.
BRECQ (ICLR 2021, eq. 10) weights the squared error of a block's output with the squared gradient
of the loss there, the diagonal of the Fisher information. Its released code takes the gradient of
KL(network ‖ network quantised up to and including this block), and adds 1 to the gradients'
magnitudes. Those are so much smaller than 1 that the weights are then all but equal (and its main
script switches them off). Our reading: gradients are first divided by their root mean square, so
that the 1 damps as named, and the weights have mean 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from tqdm.auto import tqdm

from saa_lite.data.seeds import mix
from saa_lite.quantize.calls import hooked, inputs_of, outputs_of
from saa_lite.quantize.layers import (
    QuantizedLayer,
    input_quantizers,
    quantized_layers,
    set_modes,
)
from saa_lite.quantize.quantizers import annealed_beta, draw_kept, mixed
from saa_lite.quantize.recipe import (
    BATCH,
    MOST_ROUNDING_RATE,
    MOST_STEP_RATE,
    ROUNDING_TRAVEL,
    ROUNDING_WEIGHT,
    Phase,
)

DAMPING = 1.0


def fisher_weights(
    reference: nn.Module, quantized: nn.Module, block: str, images: Tensor, batch_size: int
) -> Tensor:
    """Weights of the outputs of ``block``, in their shape [N, …], of mean 1.

    Args:
        quantized: the network with everything behind ``block`` in full precision.
    """
    batches = images.split(batch_size)
    gradient = torch.cat([_gradient(reference, quantized, block, batch) for batch in batches])
    size = gradient.square().mean().sqrt()
    relative = gradient.abs() / size if size > 0 else torch.zeros_like(gradient)
    weights = (relative + DAMPING).square()
    return weights / weights.mean()


def _gradient(reference: nn.Module, quantized: nn.Module, block: str, images: Tensor) -> Tensor:
    """∂KL/∂output for each image on its own, [B, …]."""
    leaves: list[Tensor] = []

    def cut(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[0].clone()  # a copy, as what follows may work in place

    with torch.no_grad():
        expected = F.softmax(reference(images), 1)
    with torch.enable_grad(), hooked(quantized.get_submodule(block).register_forward_hook(cut)):
        answer = F.log_softmax(quantized(images), 1)
        # Summed, not averaged: one image's gradient does not depend on the others.
        F.kl_div(answer, expected, reduction="sum").backward()
    gradient = leaves[0].grad
    assert gradient is not None
    return gradient


CACHE_BATCH = 64  # images at a time when inputs and outputs are collected

UnitReport = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """The full-precision network and the copy that is being quantised."""

    reference: nn.Module
    quantized: nn.Module


@dataclass(frozen=True)
class Samples:
    """What one unit is to learn from, each [N, …].

    Attributes:
        inputs: from the quantised network; exact: from the full-precision one, if it is needed.
        targets: outputs of the full-precision unit; weights: of their errors, mean 1.
    """

    inputs: Tensor
    exact: Tensor | None
    targets: Tensor
    weights: Tensor | None

    def batch(self, indices: Tensor, keep: float) -> Tensor:
        """Inputs [B, …], each element with probability ``keep`` the quantised network's."""
        given = self.inputs[indices]
        if self.exact is None:
            return given
        return mixed(given, self.exact[indices], draw_kept(given, keep))

    def error(self, outputs: Tensor, indices: Tensor, power: float) -> Tensor:
        """|error|^power summed over dimension 1, mean over the rest (as in the released codes)."""
        difference = outputs - self.targets[indices]
        errors = difference.square() if power == 2 else difference.abs().pow(power)
        if self.weights is not None:
            errors = errors * self.weights[indices]
        return errors.sum(1).mean()


def run_phase(
    pair: Pair,
    units: list[str],
    images: Tensor,
    phase: Phase,
    iterations: int,
    seed: int,
    bar: tqdm,
    on_unit: Callable[[UnitReport], None] | None = None,
) -> None:
    """Optimise all ``units`` of ``pair.quantized`` in place, in order.

    Units whose rounding is not learned yet compute in full precision, those already learned with
    their codes.

    Args:
        units: names in the order in which the network calls them.
        seed: of the batches and drops; the caller's generator is untouched.
        bar: moves on by one at each iteration.
        on_unit: called with each finished unit's ``unit`` (name), ``error_before`` and
            ``error`` (mean squared error of the output with nearest rounding or the steps before,
            and in the end), ``undecided`` (share of roundings that were not yet 0 or 1).
    """
    if phase.learns_rounding:
        set_modes(pair.quantized, "off")
    for quantizer in input_quantizers(pair.quantized):
        quantizer.enabled = phase.quantizes_inputs
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for position, name in enumerate(units):
            torch.manual_seed(mix(seed, position))
            bar.set_description(name or "network")
            unit = pair.quantized.get_submodule(name)
            set_modes(unit, "hard")
            samples = collect(pair, name, images, phase)
            before = mean_squared_error(unit, samples)
            undecided = optimise(unit, samples, phase, iterations, bar)
            after = mean_squared_error(unit, samples)
            bar.set_postfix(error=f"{after:.3g}", nearest=f"{before:.3g}")
            if on_unit:
                on_unit(
                    {"unit": name, "error_before": before, "error": after, "undecided": undecided}
                )


def collect(pair: Pair, name: str, images: Tensor, phase: Phase) -> Samples:
    """Run both networks up to the unit ``name``, and beyond it if errors are weighted."""
    exact = weights = None
    if phase.keep < 1:
        exact = inputs_of(pair.reference, name, images, CACHE_BATCH)
    if phase.weighted:
        weights = fisher_weights(pair.reference, pair.quantized, name, images, CACHE_BATCH)
    inputs = inputs_of(pair.quantized, name, images, CACHE_BATCH)
    targets = outputs_of(pair.reference, name, images, CACHE_BATCH)
    return Samples(inputs, exact, targets, weights)


def optimise(unit: nn.Module, samples: Samples, phase: Phase, iterations: int, bar: tqdm) -> float:
    """Learn the rounding and the activation steps of one unit; returns the undecided share."""
    layers = list(quantized_layers(unit))
    roundings = _soften(layers) if phase.learns_rounding else []
    steps = _free_steps(unit) if phase.learns_steps else []
    _set_keep(unit, phase.keep)
    rounding_rate = min(ROUNDING_TRAVEL / iterations, MOST_ROUNDING_RATE)
    step_rate = min(phase.step_travel / iterations, MOST_STEP_RATE)
    samples = _quantized_once(unit, samples, phase)
    groups = [
        {"params": roundings, "lr": rounding_rate},
        {"params": steps, "lr": step_rate},
    ]
    optimizer = Adam([group for group in groups if group["params"]], fused=True)
    for iteration in range(iterations):
        if steps:
            cosine = (1 + math.cos(math.pi * iteration / iterations)) / 2
            optimizer.param_groups[-1]["lr"] = step_rate * cosine
        indices = torch.randint(len(samples.inputs), (BATCH,)).to(samples.inputs.device)
        outputs = unit(samples.batch(indices, phase.keep))
        loss = samples.error(outputs, indices, phase.power)
        beta = annealed_beta(iteration, iterations) if roundings else None
        if beta is not None:
            charges = [layer.weight_quantizer.charge(beta) for layer in layers]
            loss = loss + ROUNDING_WEIGHT * torch.stack(charges).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.update()
    _set_keep(unit, 1.0)
    for quantizer in input_quantizers(unit):
        quantizer.enabled = phase.quantizes_inputs
    for step in steps:
        step.requires_grad_(False)
    return _harden(layers) if roundings else 0.0


@torch.no_grad()
def _quantized_once(unit: nn.Module, samples: Samples, phase: Phase) -> Samples:
    """Inputs rounded ahead where every iteration would round them to the same values.

    So it is for a single layer whose step stays as it is: a sixth of AdaRound's time.
    """
    if not isinstance(unit, QuantizedLayer) or phase.learns_steps or phase.keep < 1:
        return samples
    quantizer = unit.input_quantizer
    if quantizer is None or not quantizer.enabled:
        return samples
    rounded = torch.cat([quantizer(given) for given in samples.inputs.split(CACHE_BATCH)])
    quantizer.enabled = False
    return replace(samples, inputs=rounded)


@torch.no_grad()
def mean_squared_error(unit: nn.Module, samples: Samples) -> float:
    """Of the unit's outputs on the quantised network's inputs, per number."""
    total = 0.0
    for given, target in zip(
        samples.inputs.split(CACHE_BATCH), samples.targets.split(CACHE_BATCH), strict=True
    ):
        total += float((unit(given) - target).square().double().sum())
    return total / samples.targets.numel()


def _soften(layers: list[QuantizedLayer]) -> list[nn.Parameter]:
    return [layer.weight_quantizer.soften(layer.weight) for layer in layers]


def _harden(layers: list[QuantizedLayer]) -> float:
    """Undecided share over all weights of a unit, just before they are decided."""
    undecided = sum(layer.weight_quantizer.undecided() * layer.weight.numel() for layer in layers)
    for layer in layers:
        layer.weight_quantizer.harden()
    return undecided / sum(layer.weight.numel() for layer in layers)


def _free_steps(unit: nn.Module) -> list[nn.Parameter]:
    scales = [quantizer.scale for quantizer in input_quantizers(unit)]
    for scale in scales:
        scale.requires_grad_()
    return scales


def _set_keep(unit: nn.Module, keep: float) -> None:
    for quantizer in input_quantizers(unit):
        quantizer.keep = keep
