"""The parts of a network that are reconstructed one after another: layers, or blocks."""

from collections.abc import Sequence

from torch import nn

from saa_lite.errors import UsageError
from saa_lite.quantize.calls import Call, used_once

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
