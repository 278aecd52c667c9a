"""What each module of a network is given, and gives, in one pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.errors import UsageError


@dataclass(frozen=True)
class Call:
    """One call of a module; a side that is anything else than one tensor is None."""

    name: str
    input: Tensor | None
    output: Tensor | None


class _StopError(Exception):
    """Ends a pass once everything wanted of it is known."""


@torch.no_grad()
def trace_calls(model: nn.Module, images: Tensor) -> list[Call]:
    """Every call of every module on ``images`` [B,C,H,W], in the order in which they end.

    The tensors are the ones that went by, not copies: equal identity means the same tensor.
    """
    calls: list[Call] = []
    handles = []

    def noted(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            calls.append(Call(name, _only_tensor(given), _tensor(output)))

        return hook

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(noted(name)))
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def used_once(calls: list[Call]) -> dict[str, Call]:
    """Name → call of the modules called exactly once, with one tensor in and one out."""
    names = [call.name for call in calls]
    single = (call for call in calls if call.input is not None and call.output is not None)
    return {call.name: call for call in single if names.count(call.name) == 1}


@contextmanager
def hooked(handle: Any) -> Iterator[None]:
    """Remove a hook at the end."""
    try:
        yield
    finally:
        handle.remove()


def inputs_of(model: nn.Module, name: str, images: Tensor, batch_size: int) -> Tensor:
    """What the module ``name`` is given on ``images``, [N, …]; the pass ends there."""
    caught: list[Tensor] = []

    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        caught.append(given[0].detach().clone())
        raise _StopError

    with hooked(model.get_submodule(name).register_forward_pre_hook(hook)):
        _run(model, images, batch_size)
    return torch.cat(caught)


def outputs_of(model: nn.Module, name: str, images: Tensor, batch_size: int) -> Tensor:
    """What the module ``name`` gives on ``images``, [N, …]; the pass ends there."""
    caught: list[Tensor] = []

    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        caught.append(output.detach().clone())
        raise _StopError

    with hooked(model.get_submodule(name).register_forward_hook(hook)):
        _run(model, images, batch_size)
    return torch.cat(caught)


@torch.no_grad()
def _run(model: nn.Module, images: Tensor, batch_size: int) -> None:
    for batch in images.split(batch_size):
        try:
            model(batch)
        except _StopError:
            continue


def _tensor(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) else None


def _only_tensor(given: tuple[Any, ...]) -> Tensor | None:
    return _tensor(given[0]) if len(given) == 1 else None


def ordered_layers(model: nn.Module, calls: list[Call]) -> list[str]:
    """Names of the convolutions and linear layers that work in a pass, first to last.

    Exactly ``nn.Conv2d`` and ``nn.Linear``: subclasses may use their weight in ways of their own.

    Raises:
        UsageError: there is none, or one works more than once in a pass.
    """
    kinds = {name: type(module) for name, module in model.named_modules()}
    names = [call.name for call in calls if kinds[call.name] in (nn.Conv2d, nn.Linear)]
    if not names:
        raise UsageError("model must use at least one nn.Conv2d or nn.Linear; it uses none")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"layer {name!r} is used {names.count(name)} times in one pass; give each use a "
                "layer of its own"
            )
    return names
