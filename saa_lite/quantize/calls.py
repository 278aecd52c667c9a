"""What each module is given, and gives, in a pass; the blocks that are reconstructed in turn."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.errors import UsageError


def uncompiled() -> AbstractContextManager[Any]:
    """Passes inside run as written, a compiled network's too: hooks are not for compiled ones.

    A network can be compiled only after torch's compiler was imported, which takes seconds and is
    not done here.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@dataclass(frozen=True)
class Call:
    """One call of a module; a side that is anything else than one tensor is None.

    Attributes:
        versions: how often the input and the output had been written to when the call ended.
    """

    name: str
    input: Tensor | None
    output: Tensor | None
    versions: tuple[int | None, int | None]


class _StopError(Exception):
    """Ends a pass once everything wanted of it is known."""


@torch.no_grad()
def trace_calls(model: nn.Module, images: Tensor) -> list[Call]:
    """Every call of every module on ``images`` [B,C,H,W], in the order in which they end.

    The tensors are the ones that went by, not copies: equal identity means the same tensor, and
    with an equal version also the same values.
    """
    calls: list[Call] = []
    handles = []

    def noted(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            given, result = _only_tensor(args, kwargs), _tensor(output)
            calls.append(Call(name, given, result, (_version(given), _version(result))))

        return hook

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(noted(name), with_kwargs=True))
        # Inference tensors do not count what is written to them. To leave their mode also turns
        # gradients on.
        with torch.inference_mode(False), torch.no_grad():
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


@contextmanager
def inputs_seen(
    model: nn.Module, names: Iterable[str], note: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call ``note(name, input)`` whenever a named layer is called, with what it is given."""

    def noted(name: str) -> Any:
        return lambda layer, args, kwargs: note(name, args[0] if args else kwargs["input"])

    handles = [
        model.get_submodule(name).register_forward_pre_hook(noted(name), with_kwargs=True)
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def inputs_of(model: nn.Module, name: str, images: Tensor, batch_size: int) -> Tensor:
    """What the module ``name`` is given on ``images``, [N, …]; the pass ends there."""
    caught: list[Tensor] = []

    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        given = _only_tensor(args, kwargs)
        assert given is not None, "units are called with one tensor"
        caught.append(given.detach().clone())
        raise _StopError

    unit = model.get_submodule(name)
    with hooked(unit.register_forward_pre_hook(hook, with_kwargs=True)):
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


def _only_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Layers of torch call theirs ``input``, where it is not given by position."""
    given = [*args, *kwargs.values()]
    return _tensor(given[0]) if len(given) == 1 and set(kwargs) <= {"input"} else None


def _version(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.is_inference() else tensor._version


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


CHAINS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def find_blocks(
    model: nn.Module, calls: list[Call], layers: list[str], named: Sequence[str] | None = None
) -> list[str]:
    """Names of the blocks, in the order of their first layers; "" is the whole network.

    BRECQ reconstructs residual blocks, and single layers outside of them. Our reading for any
    network: going down from the top through ``nn.Sequential`` and lists, a module with a
    ``forward`` of its own (a residual block) is a block, and so is whatever holds one layer only
    (convolution, norm, activation). A module that is used twice in a pass, or with anything else
    than one tensor in and out, is taken apart.

    Args:
        layers: the layers to be covered, in the order of the pass.
        named: modules to take as blocks instead; layers outside of them stand alone.

    Raises:
        UsageError: ``named`` holds a name that is no usable module with layers, or two that
            overlap.
    """
    usable = used_once(calls)
    if named is None:
        blocks = _descend(model, "", layers, set(usable))
    else:
        _check_named(named, layers, set(usable))
        covered = {layer for block in named for layer in _held(block, layers)}
        blocks = [*named, *(layer for layer in layers if layer not in covered)]
    return sorted(blocks, key=lambda block: layers.index(_held(block, layers)[0]))


def _held(name: str, layers: Sequence[str]) -> list[str]:
    """Layers inside the module ``name``, itself included."""
    return [n for n in layers if name in ("", n) or n.startswith(f"{name}.")]


def _descend(module: nn.Module, name: str, layers: list[str], usable: set[str]) -> list[str]:
    held = _held(name, layers)
    if not held:
        return []
    whole = len(held) == 1 or (name != "" and not isinstance(module, CHAINS))
    if held == [name] or (whole and name in usable):
        return [name]
    children = ((f"{name}.{n}" if name else n, child) for n, child in module.named_children())
    return [block for n, child in children for block in _descend(child, n, layers, usable)]


def _check_named(named: Sequence[str], layers: list[str], usable: set[str]) -> None:
    seen: set[str] = set()
    for name in named:
        held = _held(name, layers)
        if name not in usable or not held:
            raise UsageError(
                "blocks must name modules that hold layers and are called once, with one tensor "
                f"in and one out; got {name!r}"
            )
        if seen & set(held):
            raise UsageError(f"blocks must not overlap; {name!r} holds layers of another one")
        seen |= set(held)
