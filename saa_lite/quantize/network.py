"""``quantize()``: a trained network and a few batches of images in, a quantised copy out.

Stem, classifier and norms stay in full precision, as in the released code; shift and binary layers
have a quantisation of their own and stay as they are. Layer objects keep names, hooks and shared
use; their class changes. The state of the copy fits another network quantised with the same
``method``, ``bits`` and ``groups``.

**Layers that stay as they are** are named in a warning: those whose weight the network reads
itself, instead of calling them, subclasses of the layers that are quantised, and with
``layers="all"`` 1-D, 3-D and transposed convolutions, ``nn.MultiheadAttention``, recurrent layers,
products with parameters that are no layer's.

**What cannot be quantised** is refused: no batch, no layer to quantise, a layer that no batch
reaches or that is parametrised (``weight_norm``, pruning) or lazily built, images, inputs or
weights that are not finite, a network inside ``nn.DataParallel``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm.auto import tqdm

from saa_lite.data.batches import image_batches
from saa_lite.errors import UsageError, check_choice
from saa_lite.nn.adder import AdderLayer
from saa_lite.nn.ends import find_ends
from saa_lite.nn.reads import READ
from saa_lite.nn.structure import leave_fused_paths, listed, why_no_layers
from saa_lite.nn.wrappers import copy_of
from saa_lite.quantize import adder_layers as shared
from saa_lite.quantize import layers as rounded
from saa_lite.quantize.calibrate import QUANTILES, InputRange, calibrate, check_images
from saa_lite.quantize.calls import uncompiled
from saa_lite.quantize.choose import (
    check_runnable,
    layers_of,
    other_layers,
    read_past,
    warn_of_others,
)
from saa_lite.quantize.integer import to_integer
from saa_lite.quantize.schemes import GROUPED, QSSF, Scheme, grouped, qssf
from saa_lite.quantize.uniform import MOST_BITS, check_bits
from saa_lite.train import reestimate_batch_norm

METHODS = ("nearest", *QSSF, *GROUPED)
LAYERS = ("adder", "all")
EDGES = ("8-bit", "float")


@dataclass(frozen=True)
class Options:
    """The arguments of :func:`quantize`, checked.

    Attributes:
        method: ``"nearest"`` (:mod:`~saa_lite.quantize.layers`); ``"qssf-weights"``,
            ``"qssf-activations"``, ``"qssf-both"``; ``"redistribution"``; ``"non-negative"``
            (:mod:`~saa_lite.quantize.schemes`).
        bits: 2 to 8, of inputs and weights.
        groups: of filters with a scale of their own; a layer with fewer filters has fewer.
            Only for ``"redistribution"`` and ``"non-negative"``.
        alpha: quantile of |x| that the codes of the inputs reach; 1 is the maximum.
        quantile: which reading of it, ``"supplement"`` or ``"code"``
            (:mod:`~saa_lite.quantize.calibrate`).
        qssf_inputs: ``"signed"`` or ``"unsigned"``, see :func:`~saa_lite.quantize.schemes.qssf`.
        compensate: add the constants that make the weight clamp lossless.
        layers: ``"adder"``, or ``"all"``, which rounds ``nn.Conv2d`` and ``nn.Linear``, too.
        edges: the layers that multiply at either end of the network (:mod:`saa_lite.nn.ends`),
            where ``layers="all"``: ``"8-bit"`` (AdaRound, BRECQ, QDrop) or ``"float"``.
    """

    method: str
    bits: int
    groups: int
    alpha: float
    quantile: str
    qssf_inputs: str
    compensate: bool
    reestimate: bool
    layers: str
    edges: str

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_bits("bits", self.bits)
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise UsageError(f"groups must be an integer of at least 1; got {self.groups!r}")
        number = isinstance(self.alpha, (int, float)) and not isinstance(self.alpha, bool)
        if not number or not 0 < self.alpha <= 1:
            raise UsageError(f"alpha must be a number above 0 and at most 1; got {self.alpha!r}")
        check_choice("quantile", self.quantile, QUANTILES)
        check_choice("qssf_inputs", self.qssf_inputs, ("signed", "unsigned"))
        check_choice("layers", self.layers, LAYERS)
        check_choice("edges", self.edges, EDGES)
        for name in ("compensate", "reestimate"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be True or False; got {getattr(self, name)!r}")


def quantize(
    model: nn.Module,
    calibration_batches: Iterable[Any],
    *,
    method: str = "redistribution",
    bits: int = 4,
    groups: int = 4,
    alpha: float = 0.9992,
    quantile: str = "supplement",
    qssf_inputs: str = "signed",
    compensate: bool = True,
    reestimate: bool = True,
    layers: str = "adder",
    edges: str = "8-bit",
    progress: bool = False,
) -> nn.Module:
    """Return a copy of ``model`` whose adder layers have ``bits`` bits, in evaluation mode.

    Post-training quantisation ends here. For quantisation-aware training hand the copy to
    :func:`saa_lite.train.train`: in training mode its layers pass gradients straight through.

    Args:
        model: any network, with layers of :mod:`saa_lite.nn` and the plain ones of ``torch.nn``.
        calibration_batches: normalised images [B, C, H, W], or tuples that hold them, such as
            those of a ``DataLoader`` or of ``Batches.epoch``. They are kept in memory.
        method: of :data:`METHODS`.
        bits: 2 to 8, of inputs and weights; ``groups``: of filters with a scale of their own.
        alpha, quantile, qssf_inputs, compensate, layers, edges: see :class:`Options`.
        reestimate: afterwards, take the statistics of batch norm anew from the same batches, as
            the released code does. This absorbs any constant per channel, so it hides whether
            ``compensate`` was on.
        progress: show a bar per pass over the batches.

    Raises:
        TypeError: ``model`` is no module, or a batch holds no tensor.
        UsageError: an option out of range, or a network or images that cannot be quantised.

    Warns:
        UserWarning: when layers stay as they are; the head of this module says which.
    """
    options = Options(
        method, bits, groups, alpha, quantile, qssf_inputs, compensate, reestimate, layers, edges
    )
    quantized = copy_of(model, "quantize")
    batches = _checked(calibration_batches, quantized)
    with uncompiled():
        chosen, read, own = _chosen(quantized, options.layers, batches[0])
        others = _others(quantized, options.layers)
        warn_of_others("quantize", others, read, said=own if options.layers == "all" else ())
        _install(quantized, chosen, batches, options, progress)
        if reestimate:
            bar = tqdm(batches, disable=not progress, desc="batch norm", unit="batch")
            reestimate_statistics(quantized, bar)
    return quantized.eval()


def _chosen(model: nn.Module, which: str, images: Tensor) -> tuple[list[str], set[str], list[str]]:
    """Names of the layers to quantise, those that are read past, and sentences on what else is."""
    candidates = _candidates(model, which)
    read, own = _read_past(model, candidates, images)
    chosen = [name for name in candidates if name not in read]
    if not chosen:
        raise UsageError(f"no layer is left to quantise: {READ.format(listed(candidates, None))}")
    return chosen, read, own


def _install(
    model: nn.Module, chosen: list[str], batches: list[Tensor], options: Options, progress: bool
) -> None:
    """Give the chosen layers their codes, in place."""
    ranges = calibrate(model, chosen, batches, options.alpha, options.quantile, progress)
    edges = _edges(model, chosen, batches[0])
    for name, found in ranges.items():
        layer = model.get_submodule(name)
        if type(layer) in shared.TWINS and options.method != "nearest":
            _share_scale(layer, found, options)
        elif name not in edges or options.edges == "8-bit":
            _round(layer, found, MOST_BITS if name in edges else options.bits)
    leave_fused_paths(model)


def _checked(given: Iterable[Any], model: nn.Module) -> list[Tensor]:
    """The calibration batches, or a sentence on what is wrong with them."""
    batches = list(image_batches("calibration_batches", given))
    if not batches:
        raise UsageError("calibration_batches must hold at least one batch of images; got none")
    reads_maps = any(isinstance(module, nn.Conv2d) for module in model.modules())
    for position, batch in enumerate(batches):
        check_images(f"calibration batch {position}", batch)
        if batch.dim() != 4 and reads_maps:
            raise UsageError(
                f"calibration batch {position} must be images [B,C,H,W]; got shape "
                f"{tuple(batch.shape)} (of a single image: image[None])"
            )
    return batches


def _read_past(model: nn.Module, names: list[str], images: Tensor) -> tuple[set[str], list[str]]:
    """:func:`read_past`, the first pass of all, whose failure says what it was given."""
    try:
        return read_past(model, names, images)
    except RuntimeError as error:
        raise UsageError(
            f"the network cannot be run on calibration batch 0, {images.dtype} of shape "
            f"{tuple(images.shape)}: {error}"
        ) from error


def reestimate_statistics(quantized: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take batch norm's statistics anew, in place: ``reestimate`` after the fact.

    With sums of integers where there are some: the same bits several times as fast.
    """
    if not any(isinstance(layer, shared.QuantizedAdder) for layer in quantized.modules()):
        reestimate_batch_norm(quantized, batches)
        return
    twin = to_integer(quantized)
    reestimate_batch_norm(twin, batches)
    for name, norm in twin.named_modules():
        if isinstance(norm, _BatchNorm):
            quantized.get_submodule(name).load_state_dict(norm.state_dict())


def _candidates(model: nn.Module, which: str) -> list[str]:
    """Names of the layers that can be quantised, in definition order."""
    check_runnable("quantize", model)
    names = layers_of(model, _kinds(which))
    if not names and any(isinstance(layer, shared.QuantizedAdder) for layer in model.modules()):
        raise UsageError("the network is quantised already; quantize the one it was made from")
    if not names:
        raise UsageError(
            "the network has no adder layer to quantise; layers='all' also takes nn.Conv2d and "
            "nn.Linear"
            if which == "adder"
            else "the network has no nn.Conv2d, nn.Linear or adder layer to quantise"
            f"{why_no_layers(model)}"
        )
    return names


def _others(model: nn.Module, which: str) -> dict[str, nn.Module]:
    """Layers that nobody can quantise here, of those that were asked for."""
    others = other_layers(model, _kinds(which))
    asked = nn.Module if which == "all" else AdderLayer
    return {name: layer for name, layer in others.items() if isinstance(layer, asked)}


def _kinds(which: str) -> tuple[type[nn.Module], ...]:
    return tuple(rounded.TWINS if which == "all" else shared.TWINS)


def _edges(model: nn.Module, chosen: list[str], images: Tensor) -> set[str]:
    """Those of the chosen layers that the network begins and ends with, where they multiply."""
    first, last, _ = find_ends(model, chosen, images[:2])
    return {n for n in first | last if type(model.get_submodule(n)) not in shared.TWINS}


@torch.no_grad()
def _share_scale(layer: Any, found: InputRange, options: Options) -> None:
    scheme = _scheme(layer.weight.detach(), found, options)
    layer.__class__ = shared.TWINS[type(layer)]
    layer.quantize(scheme, options.compensate)


def _scheme(weight: Tensor, found: InputRange, options: Options) -> Scheme:
    method, bits = options.method, options.bits
    if method in QSSF:
        return qssf(weight, found, bits, method, options.qssf_inputs)
    return grouped(weight, found, bits, method, options.groups)


def _round(layer: Any, found: InputRange, bits: int) -> None:
    layer.__class__ = rounded.TWINS[type(layer)]
    layer.quantize(found, bits)
