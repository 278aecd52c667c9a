"""What torch's wrappers do to the names of a network's tensors.

``DataParallel`` and ``DistributedDataParallel`` put ``module.`` before all names, ``torch.compile``
puts ``_orig_mod.`` before those of what it compiled, which may be a part, and so do
``FullyShardedDataParallel`` and checkpointed activations with names of theirs. The tensors are the
network's own, so states are compared and loaded by the names that it has without wrappers.

Copies that keep what a network is, whatever wraps it.
"""

import copy
from collections.abc import Iterable

import torch
from torch import nn

from saa_lite.errors import UsageError

PARALLEL = "module."
INSERTED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside whatever wrappers are around it."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
            continue
        inner = next((part for name, part in model._modules.items() if name in INSERTED), None)
        if inner is None:
            return model
        model = inner


def named_inside(network: nn.Module) -> tuple[nn.Module, str]:
    """The network inside wrappers such as ``nn.DataParallel``, and what its names begin with."""
    inner = unwrapped(network)
    name = next(name for name, part in network.named_modules() if part is inner)
    return inner, f"{name}." if name else ""


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without what wrappers added → the name as given, in the order given."""
    given = list(names)
    plain = [".".join(part for part in n.split(".") if part not in INSERTED) for n in given]
    while plain and all(name.startswith(PARALLEL) for name in plain):
        plain = [name.removeprefix(PARALLEL) for name in plain]
    return dict(zip(plain, given, strict=True))


def check_layers(model: nn.Module, function: str) -> None:
    """Raise :class:`UsageError` for a network of which a part with weights is compiled code."""
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule) and any(True for _ in part.parameters()):
            raise UsageError(
                f"{function}() exchanges layers; {f'part {name!r}' if name else 'the network'} is "
                f"scripted or traced by torch.jit, with none in it: call {function}() before that"
            )


def copy_of(model: object, function: str) -> nn.Module:
    """Deep copy of ``model``.

    Raises:
        TypeError: it is not an ``nn.Module``.
        UsageError: torch cannot copy it, or it is scripted.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    check_layers(model, function)
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # pruning and the old weight_norm keep a computed weight
        raise UsageError(
            f"{function}() works on a copy, and model cannot be copied: {error}"
        ) from error
