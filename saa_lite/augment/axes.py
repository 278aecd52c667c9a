"""Which widths a wide network can take, and one draw of them.

An axis is one run of channels that several layers have in common: what one layer writes, the next
one reads, and what the two ends of a shortcut must agree on. The target owns its first channels.

Drawing follows NetAug's official code (``netaug/models/netaug/mbv2.py``): every axis draws its
multiple on its own, uniformly; blocks with an identity shortcut share the axis of their ends; and
the middle of a block has round(expansion · *active* input width) channels.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch


class Configuration(NamedTuple):
    """One draw: multiple of each axis by name, active extra blocks by the block they follow.

    ``kernels`` are sizes by the name of the elastic kernel; of those left out, the largest.
    """

    multiples: dict[str, float]
    depths: dict[str, int]
    kernels: Mapping[str, int] = MappingProxyType({})


class Axis:
    """Channels ``0 … target − 1`` of the target, then those of the augmentation.

    Args:
        target: width in the target.
        multiples: what may be drawn, ascending, the first one 1.
        parent: for the middle of a block, the axis that ``target`` is a multiple of.

    Attributes:
        active: the present width.
        largest: the width that the layers' parameters provide for.
    """

    def __init__(
        self,
        name: str,
        target: int,
        multiples: tuple[float, ...] = (1.0,),
        parent: "Axis | None" = None,
    ) -> None:
        self.name, self.target, self.multiples, self.parent = name, target, multiples, parent
        self.active = target
        self.largest: int = self.width(multiples[-1], None if parent is None else parent.largest)

    @property
    def is_inner(self) -> bool:
        """Whether this is the middle of a block, where *expand* and sorting act."""
        return self.parent is not None

    def width(self, multiple: float, parent_width: int | None) -> int:
        """Channels at ``multiple``, rounded half up as in NetAug."""
        base: float = self.target
        if self.parent is not None and parent_width is not None:
            base = self.target / self.parent.target * parent_width
        return max(self.target, math.floor(base * multiple + 0.5))

    def activate(self, multiple: float) -> None:
        """Set ``active``; the parent must have been activated before."""
        self.active = self.width(multiple, None if self.parent is None else self.parent.active)


def draw(axis: Axis, generator: torch.Generator, fixed: bool) -> float:
    """One of the axis' multiples, or 1 if ``fixed``; takes one number from the generator anyway."""
    index = int(torch.randint(len(axis.multiples), (), generator=generator))
    return axis.multiples[0 if fixed else index]
