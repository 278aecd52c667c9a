"""A deep copy of a network, or a sentence why there is none."""

import copy

from torch import nn

from saa_lite.errors import UsageError


def copy_of(model: object, function: str) -> nn.Module:
    """Deep copy of ``model``.

    Raises:
        TypeError: it is not an ``nn.Module``.
        UsageError: torch cannot copy it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # pruning and the old weight_norm keep a computed weight
        raise UsageError(
            f"{function}() works on a copy, and model cannot be copied: {error}"
        ) from error
