"""Exchange the operator of a whole network: multiplications to shifts, additions, signs, and back.

The copy keeps its layer objects; only their class and options change. Whatever hangs on a layer
(name, hooks, shared use, tied weight, bias, dtype, device, ``requires_grad``, training flag,
geometry) therefore stays as it was.

**Which layers.** Exactly ``nn.Conv2d``, ``nn.Linear`` and the layers of this folder. Other layers
that multiply are left alone, and named in a warning: 1-D, 3-D and transposed convolutions,
``nn.MultiheadAttention``, recurrent layers, lazily built ones, subclasses written by others. So are
layers whose weight the network reads itself instead of calling them (:mod:`saa_lite.nn.reads`), and
parameters that are no layer's (:mod:`saa_lite.nn.own_products`). What can only be seen in a pass is
said after the one over an ``example``, or else in the first pass of the converted network; a
network that only ever runs compiled has no such pass, so give an ``example``.

**Where multiplication is kept** (as in the papers): in the layers that the network begins and ends
with, and in depthwise convolutions, unless told otherwise. Which these are is read off a pass over
an ``example``, or off the ``torch.fx`` graph; where there is neither, the first and the last in
definition order are taken, and the first pass warns if it is otherwise. A kept layer that is not a
multiplication returns to one. With ``kind="conv"`` there is nothing to keep.

**Weights**, ``weights="auto"``: operators that approximate the same function hand their weights
over: conv, shift (the latent weight), shift-ps (p = round(log2|w|), sign; back: the value ±2^p)
and binary (the latent weight). To or from an adder layer they are drawn anew, with the bias:
−Σ|x − w| computes something else than Σ x·w, its weights live on the scale of the activations,
and a network that starts from the other's weights sticks at chance (users' reports). ``"keep"``
always hands over, ``"init"`` always draws anew. Drawing anew uses each layer's own
``reset_parameters`` and torch's global generator.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from saa_lite.errors import UsageError, check_choice
from saa_lite.nn.ends import PassEnds
from saa_lite.nn.factory import CONVS, KINDS, LINEARS
from saa_lite.nn.first_pass import Probe, watch_first_pass
from saa_lite.nn.own_products import OwnProducts, hidden_sentences, own_parameters, own_products
from saa_lite.nn.placement import rectified_binaries, unnormalised_adders
from saa_lite.nn.plan import KIND_OF, Change, Keeps, kind_of, layers_of, plan_of
from saa_lite.nn.plumbing import OptionsLayer, replace_parameters
from saa_lite.nn.reads import READ, reads_in_graph, reads_of
from saa_lite.nn.shift import PowerSignLayer
from saa_lite.nn.structure import (
    is_bypassed,
    leave_fused_paths,
    listed,
    listed_by_class,
    other_multiplications,
    why_no_layers,
)
from saa_lite.nn.wrappers import check_layers, copy_of, named_inside

WEIGHTS = ("auto", "keep", "init")


def convert(
    module: nn.Module,
    kind: str,
    *,
    keep_first: bool = True,
    keep_last: bool = True,
    keep_depthwise: bool = True,
    keep: Iterable[str] = (),
    example: Any = None,
    weights: str = "auto",
    **options: Any,
) -> nn.Module:
    """Return a deep copy of ``module`` whose layers use the operator ``kind``.

    Args:
        kind: one of :data:`~saa_lite.nn.KINDS`.
        keep_first, keep_last: leave multiplication in the first, the last layer, or layers where
            several begin or end the network (:mod:`saa_lite.nn.ends`). A bare layer given as
            ``module`` is no network: it is converted whatever these say.
        keep_depthwise: leave multiplication in convolutions with groups = in_channels > 1.
        keep: names of further layers to leave multiplication in, or patterns of names
            (:mod:`fnmatch`), such as ``["head*"]``.
        example: an input of ``module``, or a tuple of its positional inputs. A pass over it tells
            which layers are first and last, also where ``torch.fx`` cannot trace the network.
        weights: ``"auto"``, ``"keep"`` or ``"init"``, see above. Layers that have the operator
            already are not touched.
        options: options of the new layers, for instance ``bits=4`` or ``adaptive_lr="backward"``.

    Raises:
        TypeError: ``module`` is not an ``nn.Module``.
        UsageError: unknown kind, weights, option or name; an example that reaches no layer; a
            scripted network; a layer to be converted carries more than weight and bias
            (``weight_norm``, pruning); a weight to be drawn anew or split is tied to a layer that
            is not; torch cannot copy the module.

    Warns:
        UserWarning: when nothing could be converted; when layers, or the network itself, go on
            multiplying where :func:`convert` cannot exchange it; when no normalisation follows an
            adder layer or a ReLU stands before a binary one (:mod:`saa_lite.nn.placement`; a bare
            layer is not judged).
    """
    _check_arguments(module, kind, weights, options)
    named = (keep,) if isinstance(keep, str) else tuple(keep)
    keeps = Keeps(keep_first, keep_last, keep_depthwise, named, example)
    plan, guessed = plan_of(module, kind, keeps, weights)
    read, unproven = _find_reads(module, plan)
    plan = {name: change for name, change in plan.items() if name not in read}
    _check_plain(module, plan)
    _check_ties(module, plan)
    converted = _exchanged(module, plan, kind, options)
    # Those that belong to no layer show in a pass, here or in the first one.
    own = kind != "conv" and bool(own_parameters(module))
    _watch(converted, unproven, keeps if guessed else None, own and example is None)
    if kind != "conv":
        said = hidden_sentences(module)
        if own and example is not None:
            said += own_products(module, example if isinstance(example, tuple) else (example,))
        _warn_of_multiplications(converted, read, said)
    _warn(converted, kind)
    return converted


def _exchanged(
    module: nn.Module, plan: dict[str, Change], kind: str, options: dict[str, Any]
) -> nn.Module:
    """A copy with every layer of the plan changed; ``options`` are those of the ``kind``."""
    converted = copy_of(module, "convert")
    ties: dict[tuple[int, ...], dict[str, nn.Parameter]] = {}
    for name, change in plan.items():
        chosen = options if change.kind == kind else {}
        _exchange(converted.get_submodule(name), change, chosen, ties)
    leave_fused_paths(converted)
    return converted


def _check_arguments(module: object, kind: str, weights: str, options: dict[str, Any]) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module; got {type(module).__name__}")
    check_layers(module, "convert")
    check_choice("kind", kind, KINDS)
    check_choice("weights", weights, WEIGHTS)
    allowed = getattr(CONVS[kind], "OPTIONS", {})
    for name in options:
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise UsageError(f"options of kind {kind!r} are: {known}; got {name!r}")


def _find_reads(module: nn.Module, plan: dict[str, Change]) -> tuple[list[str], list[str]]:
    """Layers to be exchanged that would go on multiplying, and those that may.

    A bare layer is called by whoever holds it. To become a multiplication is always safe.
    """
    names = [name for name, change in plan.items() if change.kind != "conv" and name]
    bypassed = [name for name in names if is_bypassed(module, name)]
    called = [name for name in names if name not in bypassed]
    read, unproven = reads_in_graph(module, called) if called else ([], [])
    return bypassed + read, unproven


def _watch(converted: nn.Module, unproven: list[str], guessed: Keeps | None, own: bool) -> None:
    """Have the first pass tell where it is otherwise than assumed."""
    _, prefix = named_inside(converted)
    probes: list[Callable[[nn.Module], Probe]] = []
    if unproven:
        names = [name.removeprefix(prefix) for name in unproven]
        probes.append(partial(reads_of, names=names))
    if guessed is not None:
        layers = [name.removeprefix(prefix) for name, _, _ in layers_of(converted)]
        probes.append(partial(PassEnds, names=layers, first=guessed.first, last=guessed.last))
    if own:
        probes.append(OwnProducts)
    if probes:
        watch_first_pass(converted, *probes)


def _check_plain(module: nn.Module, plan: dict[str, Change]) -> None:
    for name in plan:
        layer = module.get_submodule(name)
        held = [n for n, _ in [*layer.named_parameters(), *layer.named_buffers()]]
        extras = [n for n in held if n not in ("weight", "bias", "shift", "sign")]
        if extras:
            raise UsageError(
                f"layer {name!r} carries more than weight and bias ({', '.join(extras)}); remove "
                "its parametrisation (weight_norm, pruning, …) before converting"
            )


def _check_ties(module: nn.Module, plan: dict[str, Change]) -> None:
    """A weight that is drawn anew or split must not belong to a layer that does something else."""
    holders: dict[int, list[str]] = {}
    for name, part in module.named_modules():
        for parameter in part._parameters.values():
            holders.setdefault(id(parameter), []).append(name)
    for name, change in plan.items():
        if not (change.draws or change.splits):
            continue
        for parameter in _weights(module.get_submodule(name)).values():
            others = [n for n in holders[id(parameter)] if plan.get(n) != change]
            if others:
                raise UsageError(
                    f"the weight of layer {name!r} is tied to {others[0]!r}, which is not "
                    "converted in the same way; untie them, or use weights='keep' with another "
                    "kind than 'shift-ps'"
                )


def _weights(layer: nn.Module) -> dict[str, nn.Parameter]:
    named = layer.named_parameters(recurse=False)
    return {name: parameter for name, parameter in named if name != "bias"}


@torch.no_grad()
def _exchange(
    layer: Any,
    change: Change,
    options: dict[str, Any],
    ties: dict[tuple[int, ...], dict[str, nn.Parameter]],
) -> None:
    """Change class, parameters and options of one layer of the copy, in place."""
    value = layer.weight.detach().clone()
    if isinstance(layer, OptionsLayer):
        layer._clear_options()
    layer.__class__ = (CONVS if isinstance(layer, nn.Conv2d) else LINEARS)[change.kind]
    if change.splits:
        _replace_weight(layer, value, ties)
    if isinstance(layer, OptionsLayer):
        layer._set_options(**{**layer.OPTIONS, **options})
    if change.draws:
        layer.reset_parameters()
    elif isinstance(layer, PowerSignLayer):
        layer.set_weight(value)
    elif change.splits:
        layer.weight.copy_(value)


def _replace_weight(
    layer: nn.Module,
    value: torch.Tensor,
    ties: dict[tuple[int, ...], dict[str, nn.Parameter]],
) -> None:
    """Split ``weight`` into ``shift`` and ``sign``, or the reverse; tied layers stay tied."""
    old = _weights(layer)
    key = tuple(id(parameter) for parameter in old.values())
    if key not in ties:
        names = ("shift", "sign") if isinstance(layer, PowerSignLayer) else ("weight",)
        trained = any(parameter.requires_grad for parameter in old.values())
        ties[key] = {name: nn.Parameter(torch.empty_like(value), trained) for name in names}
    replace_parameters(layer, tuple(old), ties[key])


FAULTS = {
    "adder": (
        unnormalised_adders,
        "no normalisation follows {}: the output of an adder layer is never positive and far from "
        "0, so training is likely to stay at chance; put a BatchNorm directly behind each",
    ),
    "binary": (
        rectified_binaries,
        "a ReLU stands before {}: the sign of its output is always +1, so the layer sees a "
        "constant; replace such activations by nn.Hardtanh",
    ),
}


def _warn_of_multiplications(converted: nn.Module, read: list[str], said: list[str]) -> None:
    others = other_multiplications(converted, KIND_OF)
    if others:
        message = f"convert() leaves as they are: {listed_by_class(others)}"
        warnings.warn(message, UserWarning, stacklevel=3)
    if read:
        said = [f"not converted: {READ.format(listed(read, None))}", *said]
    for sentence in said:
        warnings.warn(sentence, UserWarning, stacklevel=3)


def _warn(converted: nn.Module, kind: str) -> None:
    kinds = [found for _, _, found in layers_of(converted)]
    if kind not in kinds:
        reason = f"its {len(kinds)} layer(s) are all kept" if kinds else "it has no such layer"
        reason += "" if kinds else why_no_layers(converted)
        message = f"no nn.Conv2d or nn.Linear of the module became {kind!r}: {reason}"
        warnings.warn(message, UserWarning, stacklevel=3)
    if kind not in FAULTS or kind_of(converted) is not None:
        return
    search, message = FAULTS[kind]
    found = search(converted)
    if found:
        layers = f"{len(found)} {kind} layer(s) ({listed(found)})"
        warnings.warn(message.format(layers), UserWarning, stacklevel=3)
