"""Post-training quantisation of convolutional networks: the methods adder networks are set against.

Batch norm is folded first. Weights get codes of ``bits`` bits on a grid for each filter,
inputs of layers codes of ``activation_bits`` bits on one grid for each layer. The first and the
last layer keep 8 bits in both, as in BRECQ's and QDrop's released code. What the methods then do
is in :mod:`~saa_lite.quantize.recipe`; ``"nearest"`` does nothing more.

Our reading: what is quantised is the input of every layer, as in AdderNet quantisation, so that
adder and convolutional networks are treated alike; BRECQ's and QDrop's code quantises what leaves
an activation or a block, and with that also what a shortcut carries.

**What cannot be quantised** is refused: a network without such layers, with a layer that is used
twice in a pass, parametrised or lazily built, or with layers of other operators; images, weights or
outputs that are not finite; batch norms that cannot be folded; a network inside
``nn.DataParallel``.

**Layers that stay as they are** are named in a warning: those whose weight the network reads
itself, instead of calling them, those that no image reaches, 1-D, 3-D and transposed convolutions,
``nn.MultiheadAttention``, recurrent layers, subclasses, products with parameters that are no
layer's.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from saa_lite.data.seeds import mix
from saa_lite.errors import UsageError, check_choice, renamed
from saa_lite.nn import KINDS
from saa_lite.nn.factory import CONVS, LINEARS
from saa_lite.nn.structure import leave_fused_paths
from saa_lite.quantize.calibrate import check_images, check_read
from saa_lite.quantize.calls import (
    Call,
    find_blocks,
    inputs_seen,
    ordered_layers,
    trace_calls,
    uncompiled,
)
from saa_lite.quantize.choose import (
    check_runnable,
    layers_of,
    other_layers,
    read_past,
    warn_of_others,
)
from saa_lite.quantize.fold import fold_batch_norm
from saa_lite.quantize.layers import install, store_weights
from saa_lite.quantize.quantizers import InputSample
from saa_lite.quantize.recipe import ADAROUND, BRECQ, BRECQ_INPUTS, QDROP, Phase, Recipe
from saa_lite.quantize.reconstruction import CACHE_BATCH, Pair, UnitReport, run_phase

RECIPES = {
    "nearest": Recipe("layer", ()),
    "adaround": ADAROUND,
    "brecq": BRECQ,
    "brecq-inputs": BRECQ_INPUTS,
    "qdrop": QDROP,
}
END_BITS = 8
EDGES = ("8-bit", "same")
OLD_NAMES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "weight_bits": ("bits", lambda bits: bits),
    "eight_bit_ends": ("edges", lambda eight: "8-bit" if eight else "same"),
}
QUANTIZED = (nn.Conv2d, nn.Linear)


@renamed(**OLD_NAMES)
def quantize_convolution(
    model: nn.Module,
    calibration: Tensor,
    method: str = "nearest",
    *,
    bits: int = 4,
    activation_bits: int | None = 4,
    edges: str = "8-bit",
    iterations: int = 1000,
    blocks: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = True,
    on_unit: Callable[[UnitReport], None] | None = None,
) -> nn.Module:
    """A quantised copy of ``model``, in evaluation mode and frozen; ``model`` stays as it is.

    Args:
        model: a network of ``nn.Conv2d`` and ``nn.Linear`` layers; it stays on its device.
        calibration: normalised training images [N,C,H,W]; the papers take 1,024.
        method: ``"nearest"``, ``"adaround"``, ``"brecq"``, ``"qdrop"``, or ``"brecq-inputs"``, a
            control of ours.
        bits: 2 to 8, of weights.
        activation_bits: 2 to 8; None leaves activations in full precision.
        edges: ``"8-bit"`` keeps the first and the last layer there, as the papers do; ``"same"``
            treats them as all others.
        iterations: per layer or block, 32 images each; the papers take 20,000. Learning rates
            rise as this falls, see :class:`~saa_lite.quantize.recipe.Phase`.
        blocks: names of modules that BRECQ and QDrop take as blocks; default: as they come.
        seed: of everything random; the same gives the same bits on one machine.
        progress: show a bar over all iterations.
        on_unit: called with what ``run_phase`` says of each finished layer or block.

    Raises:
        UsageError: an argument out of range, or a network or images that cannot be quantised.

    Warns:
        UserWarning: when layers stay as they are; the head of this module says which.
    """
    _check_arguments(model, calibration, method, bits, activation_bits, edges, iterations)
    with uncompiled(), torch.inference_mode(False), torch.enable_grad():
        images = calibration.to(_device(model, calibration)).clone()  # no inference tensor
        reference = fold_batch_norm(model, images[:2]).requires_grad_(False)
        images = images.contiguous(memory_format=_fastest_layout(reference, images[:2]))
        names = layers_of(reference, QUANTIZED)
        read, own = read_past(reference, names, images[:2])
        calls = [call for call in trace_calls(reference, images[:2]) if call.name not in read]
        layers = ordered_layers(reference, calls)
        idle = [name for name in names if name not in (*layers, *read)]
        others = other_layers(reference, QUANTIZED)
        warn_of_others("quantize_convolution", others, read, idle, own, frames=4)
        quantized = _nearest(reference, layers, images, (bits, activation_bits), edges)
        phases = [p for p in RECIPES[method].phases if p.learns_rounding or activation_bits]
        units = _units(method, reference, calls, layers, blocks)
        pair = Pair(reference, quantized)
        _learn(pair, units, images, phases, iterations, seed, progress, on_unit)
        store_weights(quantized)
        return quantized


def _nearest(
    reference: nn.Module,
    layers: list[str],
    images: Tensor,
    bits: tuple[int, int | None],
    edges: str,
) -> nn.Module:
    """The network rounded to nearest, on grids found in full precision.

    Args:
        bits: of weights and of activations.
    """
    weight_bits, input_bits = (_bits(layers, number, edges) for number in bits)
    quantized = copy.deepcopy(reference)
    samples = _sample_inputs(reference, list(input_bits), images)
    install(quantized, weight_bits, samples, input_bits)
    leave_fused_paths(quantized)
    return quantized


def _units(
    method: str,
    reference: nn.Module,
    calls: list[Call],
    layers: list[str],
    blocks: Sequence[str] | None,
) -> list[str]:
    """Names of what the method reconstructs; see :func:`~saa_lite.quantize.calls.find_blocks`."""
    if RECIPES[method].granularity == "layer":
        return layers
    return find_blocks(reference, calls, layers, blocks)


def _learn(
    pair: Pair,
    units: list[str],
    images: Tensor,
    phases: list[Phase],
    iterations: int,
    seed: int,
    progress: bool,
    on_unit: Callable[[UnitReport], None] | None,
) -> None:
    """All phases of a method, over all units, under one bar."""
    counts = [max(1, round(iterations * phase.share)) for phase in phases]
    with tqdm(total=len(units) * sum(counts), disable=not progress or not phases) as bar:
        for position, (phase, count) in enumerate(zip(phases, counts, strict=True)):
            run_phase(pair, units, images, phase, count, mix(seed, position), bar, on_unit)


def _fastest_layout(model: nn.Module, images: Tensor) -> torch.memory_format:
    """channels_last, which halves the gradients' time on a CPU, unless the network needs another.

    One that takes a view of its maps cannot read it.
    """
    try:
        with torch.no_grad():
            model(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last


def _device(model: nn.Module, calibration: Tensor) -> torch.device:
    """Where the network is; a network without parameters is where its images are."""
    return next((p.device for p in model.parameters()), calibration.device)


def _bits(layers: list[str], bits: int | None, edges: str) -> dict[str, int]:
    """Layer → bits."""
    if bits is None:
        return {}
    ends = (layers[0], layers[-1]) if edges == "8-bit" else ()
    return {name: END_BITS if name in ends else bits for name in layers}


@torch.no_grad()
def _sample_inputs(model: nn.Module, layers: list[str], images: Tensor) -> dict[str, InputSample]:
    """What the layers are given on all images."""
    samples = {name: InputSample() for name in layers}

    def note(name: str, input: Tensor) -> None:
        check_read(name, input)
        samples[name].add(input)

    with inputs_seen(model, layers, note):
        for batch in images.split(CACHE_BATCH) if layers else ():
            model(batch)
    return samples


def _check_arguments(
    model: object,
    calibration: object,
    method: str,
    bits: object,
    activation_bits: object,
    edges: object,
    iterations: object,
) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    check_choice("method", method, RECIPES)
    check_choice("edges", edges, EDGES)
    _check_integer("bits", bits, 2, 8)
    if activation_bits is not None:
        _check_integer("activation_bits", activation_bits, 2, 8)
    _check_integer("iterations", iterations, 1, None)
    _check_images(calibration)
    _check_operators(model)


def _check_integer(argument: str, given: object, least: int, most: int | None) -> None:
    whole = isinstance(given, int) and not isinstance(given, bool)
    if not whole or given < least or (most is not None and given > most):  # type: ignore[operator]
        limits = f"{least} to {most}" if most is not None else f"at least {least}"
        raise UsageError(f"{argument} must be an integer of {limits}; got {given!r}")


def _check_images(calibration: object) -> None:
    if not isinstance(calibration, Tensor) or not calibration.is_floating_point():
        given = calibration.dtype if isinstance(calibration, Tensor) else type(calibration).__name__
        raise UsageError(f"calibration must be a tensor of normalised images; got {given}")
    if calibration.ndim != 4 or len(calibration) < 2:
        shape = tuple(calibration.shape)
        raise UsageError(f"calibration must hold two images [N,C,H,W] or more; got shape {shape}")
    check_images("calibration", calibration)


def _check_operators(model: nn.Module) -> None:
    check_runnable("quantize_convolution", model)
    layers_of(model, QUANTIZED)
    others = {table[kind]: kind for table in (CONVS, LINEARS) for kind in KINDS if kind != "conv"}
    for name, module in model.named_modules():
        if type(module) in others:
            raise UsageError(
                "quantize_convolution takes networks of nn.Conv2d and nn.Linear; layer "
                f"{name!r} is of kind {others[type(module)]!r}"
            )
