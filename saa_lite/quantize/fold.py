"""Batch norm folded into the layer before it, and back.

In evaluation batch norm is a factor and a summand per channel, y ↦ γ(y − μ)/√(σ² + ε) + β. Behind a
convolution or linear layer both go into its weight and bias. Which norm stands behind which layer
is seen in a pass, where the norm reads the very tensor that the layer, or a max pooling behind it,
put out, and nothing has written to it since (an activation that works in place does). Maxima
commute with factors that are not negative, so a norm behind a max pooling is folded only if all its
factors are at least 0; otherwise it stays.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.errors import UsageError
from saa_lite.nn.reads import WeightReads
from saa_lite.nn.wrappers import copy_of
from saa_lite.quantize.calibrate import check_images
from saa_lite.quantize.calls import Call, trace_calls, uncompiled, used_once
from saa_lite.quantize.choose import check_runnable

FOLDED_INTO = (nn.Conv2d, nn.Linear)
TOLERANCE = 1e-3  # of the largest output; float32 rounding stays a hundred times below


@torch.no_grad()
def fold_batch_norm(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of ``model`` in evaluation mode, with ``nn.Identity`` in place of folded norms.

    Norms that follow no convolution or linear layer stay, as do those without running statistics
    and those between layers that are used more than once, or whose weight is read elsewhere.

    Args:
        images: [B,C,H,W], a few images that the network can be run on.

    Raises:
        UsageError: images or outputs are not finite, the model cannot be copied, or folding
            changed the outputs. That happens when the network reads a layer's output also
            elsewhere than in its norm.
    """
    check_images("images", images)
    folded = copy_of(model, "fold_batch_norm").eval()
    check_runnable("fold_batch_norm", folded)
    with uncompiled():
        expected = folded(images)
        _check_outputs(expected)
        pairs = _pairs(folded, images)
        for layer, norm in pairs.items():
            _fold(folded.get_submodule(layer), folded.get_submodule(norm))
            parent, _, child = norm.rpartition(".")
            setattr(folded.get_submodule(parent), child, nn.Identity())
        _check_same(folded(images), expected, pairs)
    return folded


@torch.no_grad()
def unfold_batch_norm(quantized: nn.Module, model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a quantised network with the norms back in their place, which computes the same.

    Each filter's factor and summand go from its grid and bias back into the norm; codes stay. Its
    statistics can then be taken anew with :func:`~saa_lite.train.reestimate_batch_norm`, as is
    done to a quantised adder network, and as Hubara et al. (ICML 2021) do to convolutions.

    Args:
        quantized: of :func:`~saa_lite.quantize.quantize_convolution`.
        model: the network that was quantised.
        images: [N,C,H,W], two are enough; they show which norm belongs to which layer.
    """
    original, unfolded = copy_of(model, "unfold_batch_norm").eval(), copy.deepcopy(quantized)
    with uncompiled():
        pairs = _pairs(original, images)
    for name, norm_name in pairs.items():
        layer: Any = unfolded.get_submodule(name)
        norm = original.get_submodule(norm_name)
        assert isinstance(norm, _BatchNorm)
        factor = _factor(norm)
        factor = torch.where(factor == 0, 1.0, factor)  # the filter is 0, and the norm says so
        for scaled in (layer.weight, layer.weight_quantizer.step):
            shape = (-1, *[1] * (scaled.ndim - 1))
            scaled.copy_(scaled.double() / factor.view(shape))
        bias = original.get_submodule(name)._parameters["bias"]
        layer.bias = None if bias is None else nn.Parameter(bias.clone(), requires_grad=False)
        parent, _, child = norm_name.rpartition(".")
        setattr(unfolded.get_submodule(parent), child, norm.requires_grad_(False))
    return unfolded


def _pairs(model: nn.Module, images: Tensor) -> dict[str, str]:
    """Layer → norm, for every norm that can be folded."""
    with WeightReads(model, [name for name, _ in model.named_modules()]) as reads:
        calls = trace_calls(model, images)
    once = used_once([call for call in calls if call.name not in reads.read])
    makers = {id(call.output): call for name, call in once.items() if _may_make(model, name)}
    pairs = {}
    for name, call in once.items():
        norm = model.get_submodule(name)
        if not isinstance(norm, _BatchNorm) or norm.running_var is None:
            continue
        maker = _maker(makers, call)
        if maker and isinstance(model.get_submodule(maker.name), nn.MaxPool2d):
            increasing = bool((_factor(norm) >= 0).all())
            maker = _maker(makers, maker) if increasing else None
        if maker and _channels(model.get_submodule(maker.name)) == norm.num_features:
            pairs[maker.name] = name
    return pairs


def _maker(makers: dict[int, Call], reader: Call) -> Call | None:
    """Whose output, unchanged, a module read."""
    maker = makers.get(id(reader.input))
    unchanged = maker is not None and maker.versions[1] == reader.versions[0]
    return maker if unchanged else None


def _may_make(model: nn.Module, name: str) -> bool:
    """Max pooling, or a layer whose weight is its own, and not computed from others."""
    part = model.get_submodule(name)
    return type(part) is nn.MaxPool2d or (
        type(part) in FOLDED_INTO and "weight" in part._parameters
    )


def _channels(layer: nn.Module) -> int:
    return layer.weight.shape[0] if isinstance(layer.weight, Tensor) else 0


def _factor(norm: _BatchNorm) -> Tensor:
    """float64 [T]."""
    assert norm.running_var is not None
    deviation = (norm.running_var.double() + norm.eps).sqrt()
    return (1.0 if norm.weight is None else norm.weight.double()) / deviation


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    assert isinstance(layer, FOLDED_INTO)
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    factor, weight = _factor(norm), layer.weight
    bias = 0.0 if layer.bias is None else layer.bias.double()
    shift = 0.0 if norm.bias is None else norm.bias.double()
    moved = (bias - norm.running_mean.double()) * factor + shift
    shape = (-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter((weight.double() * factor.view(shape)).to(weight.dtype))
    layer.bias = nn.Parameter(moved.to(weight.dtype))


def _check_outputs(outputs: object) -> None:
    if not isinstance(outputs, Tensor):
        raise UsageError(f"model must return one tensor; got {type(outputs).__name__}")
    if not bool(outputs.isfinite().all()):
        raise UsageError(
            "model must give finite numbers on finite images; it gives NaN or infinity, so look at "
            "its weights and at the statistics of its norms"
        )


def _check_same(outputs: Tensor, expected: Tensor, pairs: dict[str, str]) -> None:
    error = (outputs - expected).abs().max()
    if not error <= TOLERANCE * expected.abs().max() + TOLERANCE:
        raise UsageError(
            f"folding {len(pairs)} batch norms changed the outputs by up to {float(error):.2g}; "
            "the output of a layer before a batch norm must be read by that norm alone, unchanged"
        )
