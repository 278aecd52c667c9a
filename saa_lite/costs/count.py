"""``count(model, ...)``: what one forward pass of any network costs."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from saa_lite.costs.liveness import peak_activation
from saa_lite.costs.result import Costs, LayerCost
from saa_lite.costs.trace import Tally, Trace, trace
from saa_lite.errors import UsageError, reason

NORMS = (nn.modules.batchnorm._BatchNorm,)


def count(
    model: nn.Module,
    input: int | Sequence[int] | Tensor | tuple[Tensor, ...],
    *,
    real: bool = False,
) -> Costs:
    """Costs of ``model(*inputs)`` in inference mode, layer by layer.

    The model itself is left as it is: a copy without numbers runs on torch's "meta" device. A
    network that looks at its numbers on the way (``.item()``, tensors of its own that are neither
    parameter nor buffer) cannot run there; it is then run once with numbers, on a copy.

    Args:
        input: height = width of one colour image; or the shape of one input, batch included (of
            the parameters' type, e.g. float16); or one input or a tuple of them, of which only
            shape and type matter.
        real: run with numbers at once.

    Raises:
        UsageError: not a network, or it cannot run on such an input.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"model must be a torch.nn.Module (create_model makes one of a name); got {model!r}"
        )
    inputs = _inputs(input, _dtype(model))
    counted = None if real else _try_without_numbers(model, inputs)
    return _costs(*(counted or _with_numbers(model, inputs)))


def _dtype(model: nn.Module) -> torch.dtype:
    """The type of the parameters, which inputs of that network usually have."""
    types = (parameter.dtype for parameter in model.parameters())
    return next((dtype for dtype in types if dtype.is_floating_point), torch.get_default_dtype())


def _inputs(
    given: int | Sequence[int] | Tensor | tuple[Tensor, ...], dtype: torch.dtype
) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, int):
        given = (1, 3, given, given)
    parts: list[Any] = list(given) if isinstance(given, Sequence) else []
    if parts and all(isinstance(part, Tensor) for part in parts):
        return parts
    if not parts or not all(isinstance(n, int) and n > 0 for n in parts):
        raise UsageError(f"input must be a size, a shape or tensors; got {given!r}")
    return [torch.empty(*parts, dtype=dtype, device="meta")]


def _try_without_numbers(
    model: nn.Module, inputs: Sequence[Tensor]
) -> tuple[nn.Module, Trace] | None:
    """A copy and its trace on the meta device; ``None`` where the network needs numbers."""
    blank = [tensor.to("meta") for tensor in inputs]
    try:
        copied = _copy(model, without_numbers=True)
        return copied, trace(copied, blank)
    except Exception:  # any: what a network that needs numbers stumbles over is its own affair
        return None


def _with_numbers(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, Trace]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise UsageError("the network lies on the meta device and cannot be counted there")
    filled = [torch.zeros_like(t, device=device) if t.is_meta else t.to(device) for t in inputs]
    try:
        copied = _copy(model, without_numbers=False)
        return copied, trace(copied, filled)
    except Exception as error:  # any: the network may be a user's own
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise UsageError(f"the network cannot run on {shapes}: {reason(error)}") from error


def _copy(model: nn.Module, *, without_numbers: bool) -> nn.Module:
    """A copy in inference mode; without numbers it shares the originals' shapes and ties."""
    memo: dict[int, Any] = {id(tensor): tensor.detach() for tensor in _computed(model)}
    if without_numbers:
        for tensor in (*model.parameters(), *model.buffers(), *_computed(model)):
            if is_lazy(tensor):  # has no size before the first run
                continue
            blank = torch.empty_like(tensor, device="meta")
            if isinstance(tensor, nn.Parameter):
                blank = nn.Parameter(blank, requires_grad=tensor.requires_grad)
            memo[id(tensor)] = blank
    return copy.deepcopy(model, memo).eval()


def _computed(model: nn.Module) -> list[Tensor]:
    """Tensors kept from an earlier run (pruned weights, say); torch refuses to copy them."""
    kept = (value for module in model.modules() for value in vars(module).values())
    return [value for value in kept if isinstance(value, Tensor) and not value.is_leaf]


def _costs(model: nn.Module, traced: Trace) -> Costs:
    modules = dict(model.named_modules())
    seen: set[int] = set()
    layers = []
    for name, module in modules.items():
        own, folded = _parameters(module, seen)
        tally = traced.tallies.get(name, Tally())
        if name in traced.tallies or own:
            layers.append(_layer(name, module, tally, own, folded))
    order = {name: index for index, name in enumerate(traced.tallies)}
    layers.sort(key=lambda layer: order.get(layer.name, len(order)))
    kept = tuple(x for x in layers if _says_something(x))
    return Costs(kept, peak_activation(traced.steps), tuple(traced.unused))


def _layer(name: str, module: nn.Module, tally: Tally, own: int, folded: int) -> LayerCost:
    return LayerCost(
        name,
        type(module).__name__,
        tally.calls,
        tuple(tally.products),
        dict(tally.other),
        dict(tally.own),
        dict(tally.unknown),
        own,
        folded,
    )


def _says_something(layer: LayerCost) -> bool:
    return bool(layer.products or layer.other or layer.own or layer.unknown or layer.parameters)


def _parameters(module: nn.Module, seen: set[int]) -> tuple[int, int]:
    """Trained numbers of the module alone, not yet seen; and with a batch norm folded."""
    own = 0
    for parameter in module.parameters(recurse=False):
        if is_lazy(parameter):  # of a layer that never ran
            continue
        if parameter.requires_grad and id(parameter) not in seen:
            own += parameter.numel()
        seen.add(id(parameter))
    return own, own // 2 if isinstance(module, NORMS) else own
