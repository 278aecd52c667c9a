"""What :func:`saa_lite.nn.convert` is going to do to which layer."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import nn

from saa_lite.errors import UsageError
from saa_lite.nn.ends import find_ends
from saa_lite.nn.factory import CONVS, LINEARS
from saa_lite.nn.structure import plain_class

KIND_OF = {layer: kind for table in (CONVS, LINEARS) for kind, layer in table.items()}


class Change(NamedTuple):
    """What happens to one layer."""

    kind: str
    draws: bool  # weights are drawn anew
    splits: bool  # ``weight`` becomes ``shift`` and ``sign``, or back


class Keeps(NamedTuple):
    """Where multiplication is kept."""

    first: bool
    last: bool
    depthwise: bool
    named: tuple[str, ...]  # patterns
    example: Any


def kind_of(layer: nn.Module) -> str | None:
    """Operator of a layer this module may convert, else None.

    A parametrised layer has a class of its own; it counts as what it was, so that the plan sees
    it and :func:`convert` can name it.
    """
    return KIND_OF.get(plain_class(layer))


def layers_of(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, layer, kind) of every convertible layer in definition order, shared ones once."""
    for name, layer in module.named_modules():
        kind = kind_of(layer)
        if kind is not None:
            yield name, layer, kind


def plan_of(
    module: nn.Module, kind: str, keeps: Keeps, weights: str
) -> tuple[dict[str, Change], bool]:
    """Name → change, for the layers that change, and whether the ends of the network are a guess.

    Raises:
        UsageError: a name to be kept is none of a layer.
    """
    layers = list(layers_of(module))
    kept, guessed = set[str](), False
    if kind != "conv":
        kept, guessed = _kept(module, [name for name, _, _ in layers], keeps)
    plan = {}
    for name, _, old in layers:
        new = "conv" if name in kept else kind
        if new != old:
            draws = weights == "init" or (weights == "auto" and "adder" in (old, new))
            plan[name] = Change(new, draws, "shift-ps" in (old, new))
    return plan, guessed


def _kept(module: nn.Module, names: list[str], keeps: Keeps) -> tuple[set[str], bool]:
    """A bare layer is no network, and has no ends."""
    guessed = False
    kept = set(_named(keeps.named, names))
    if keeps.depthwise:
        kept.update(name for name in names if _is_depthwise(module.get_submodule(name)))
    if (keeps.first or keeps.last) and names and "" not in names:
        ends = find_ends(module, names, keeps.example)
        guessed = ends.guessed
        kept |= (ends.first if keeps.first else set()) | (ends.last if keeps.last else set())
    return kept, guessed


def _named(patterns: Iterable[str], names: list[str]) -> Iterator[str]:
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            listed = ", ".join(map(repr, names)) or "none"
            raise UsageError(f"keep must name layers, which are: {listed}; got {pattern!r}")
        yield from found


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
