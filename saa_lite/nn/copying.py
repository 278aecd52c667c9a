"""A deep copy of a network whose layers can be exchanged, or a sentence why there is none."""

import copy

import torch
from torch import nn

from saa_lite.errors import UsageError


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
