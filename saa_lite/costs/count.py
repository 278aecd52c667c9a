"""``count(model, ...)``: what one forward pass of any network costs."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.costs.liveness import peak_activation
from saa_lite.costs.result import Costs, LayerCost
from saa_lite.costs.trace import Tally, Trace, trace
from saa_lite.errors import UsageError

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
        input: height = width of one colour image; or the shape of one input, batch included; or
            one input or a tuple of them, of which only shape and type matter.
        real: run with numbers at once.

    Raises:
        UsageError: the network cannot run on such an input.
    """
    inputs = _inputs(input)
    traced = None if real else _try_without_numbers(model, inputs)
    if traced is None:
        traced = _with_numbers(model, inputs)
    return _costs(model, traced)


def _inputs(given: int | Sequence[int] | Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, int):
        given = (1, 3, given, given)
    if given and all(isinstance(part, Tensor) for part in given):
        return list(given)  # type: ignore[arg-type]
    if not given or not all(isinstance(n, int) and n > 0 for n in given):
        raise UsageError(f"input must be a size, a shape or tensors; got {given!r}")
    return [torch.empty(*given, device="meta")]


def _try_without_numbers(model: nn.Module, inputs: Sequence[Tensor]) -> Trace | None:
    """The trace on the meta device; ``None`` where the network needs numbers."""
    blank = [tensor.to("meta") for tensor in inputs]
    try:
        return trace(_copy(model, without_numbers=True), blank)
    except (NotImplementedError, RuntimeError, ValueError, TypeError):
        return None


def _with_numbers(model: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise UsageError("the network lies on the meta device and cannot be counted there")
    filled = [torch.zeros_like(t, device=device) if t.is_meta else t.to(device) for t in inputs]
    try:
        return trace(_copy(model, without_numbers=False), filled)
    except (RuntimeError, ValueError, TypeError) as error:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise UsageError(f"the network cannot run on {shapes}: {error}") from error


def _copy(model: nn.Module, *, without_numbers: bool) -> nn.Module:
    """A copy in inference mode; without numbers it shares the originals' shapes and ties."""
    memo: dict[int, Any] = {}
    if without_numbers:
        for tensor in (*model.parameters(), *model.buffers()):
            blank = torch.empty_like(tensor, device="meta")
            if isinstance(tensor, nn.Parameter):
                blank = nn.Parameter(blank, requires_grad=tensor.requires_grad)
            memo[id(tensor)] = blank
    return copy.deepcopy(model, memo).eval()


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
        if parameter.requires_grad and id(parameter) not in seen:
            own += parameter.numel()
        seen.add(id(parameter))
    return own, own // 2 if isinstance(module, NORMS) else own
