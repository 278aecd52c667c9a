"""What is augmented and how: the configuration, and the widths that can be drawn.

An *axis* is one run of channels that several layers have in common: what one layer writes, the next
one reads, and what the two ends of a shortcut must agree on. The target owns its first channels.

Drawing follows NetAug's official code (``netaug/models/netaug/mbv2.py``): every axis draws its
multiple on its own, uniformly; blocks with an identity shortcut share the axis of their ends; and
the middle of a block has round(expansion · *active* input width) channels.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from saa_lite.augment.remap import REMAPS
from saa_lite.errors import UsageError, check_choice


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


READINGS = ("block", "output", "input", "free")
COMBINES = ("norm", "scale", "sum")
SCALED = ("rescale", "analytic", "affine-z", "affine-logit", "matrix")
IMPORTANCES = ("weight", "remapped")
FANS = ("own", "wide")

# NetAug's official lists for MobileNetV2 and for MCUNet.
WIDTH = (1.0, 1.8, 2.6)
EXPAND = (1.0, 1.6, 2.2, 2.8)


@dataclass(frozen=True)
class Mutation:
    """Block mutation: blocks start as convolutions and turn multiplication-free (Fig. 4).

    Our reading: block j, counted from the input, turns in epoch ``start + j·every`` (from 0),
    blended over ``blend`` epochs. In the i-th of them (from 0) the multiplication-free share is
    (i + 1)/(blend + 1), afterwards 1; ``blend=0`` flips it at once, ``every=0`` all blocks
    together.
    """

    start: int
    every: int = 0
    blend: int = 5

    def __post_init__(self) -> None:
        for name in ("start", "every", "blend"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise UsageError(f"{name} must be an integer of at least 0; got {value!r}")

    def share(self, block: int, epoch: int) -> float:
        """Multiplication-free share of a block, 0..1."""
        done = epoch - self.start - block * self.every + 1
        return min(max(done / (self.blend + 1), 0.0), 1.0)

    def last_epoch(self, blocks: int) -> int:
        """The first epoch (from 0) in which all blocks are multiplication-free."""
        return self.start + (blocks - 1) * self.every + self.blend


@dataclass(frozen=True)
class Around:
    """One given network around the target, in place of the same multiples and depth everywhere.

    Attributes:
        multiples: name of an axis → what its width may be multiplied by, from 1 on; an axis that
            is not named keeps the target's.
        extra: name of a block that ends a stage of inverted blocks → expansion and kernel of each
            extra block behind it.
    """

    multiples: Mapping[str, tuple[float, ...]]
    extra: Mapping[str, tuple[tuple[int, int], ...]]

    def __post_init__(self) -> None:
        for name, multiples in self.multiples.items():
            _check_multiples(f"multiples of {name}", multiples)
        for name, blocks in self.extra.items():
            numbers = [n for block in blocks for n in block]
            if any(len(block) != 2 for block in blocks) or any(
                type(n) is not int or n < 1 for n in numbers
            ):
                raise UsageError(
                    f"extra blocks of {name} must be pairs of an expansion and a kernel; got "
                    f"{blocks!r}"
                )

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON values by field name."""
        return {
            "multiples": {name: list(values) for name, values in self.multiples.items()},
            "extra": {name: [list(b) for b in blocks] for name, blocks in self.extra.items()},
        }


@dataclass(frozen=True)
class AugmentConfig:
    """The wide network around a target.

    Attributes:
        width, expand: multiples of block widths and of the channels inside blocks; each begins
            with 1 (NetAug's lists for MobileNetV2; its MCUNet has width (1, 1.6, 2.2)).
        depth: extra residual blocks after each stage: identity shortcut, stride 1,
            multiplicative, active only in the augmented pass.
        reading: which part of a hybrid layer is multiplication-free. With n of the outputs and m
            of the inputs the target's: ``"block"`` outputs :n from inputs :m (default);
            ``"output"`` outputs :n from all inputs; ``"input"`` all outputs from inputs :m;
            ``"free"`` everything, the control with multiplication-free width. The sources settle
            none of them.
        combine: how a multiplication-free and a multiplicative addend meet: ``"norm"`` each
            behind its own batch norm; ``"scale"`` the former divided by √(m·d²), one norm;
            ``"sum"`` as they are. None: ``"norm"`` for adder, ``"sum"`` for shift targets.
        remap: None, or a name of :data:`saa_lite.augment.remap.REMAPS`: the target's weights are
            then generated from a shared convolution weight.
        remap_spread: how many times wider than the map's own they start in adder layers, see
            :mod:`saa_lite.models.calm`; for maps that start from a scale.
        mutation: None, or the schedule from convolution to the target's operator.
        importance: L1 norm of the consuming weights as stored (NetAug) or as ``"remapped"``.
        fan: ``"wide"`` draws the whole wide network anew, each convolution with the fan of its
            widest form, inside the target and around it, as NetAug does; ``"own"`` leaves targets
            that are neither remapped nor mutate at the fan that they would have alone. Adder
            weights that are not remapped keep AdderNet's N(0, 1) either way.
        kernels: smaller sizes that multiplicative depthwise kernels may be drawn with, odd and
            ascending; the target has its own, the largest.
        around: takes the place of ``width``, ``expand`` and ``depth``.
    """

    width: tuple[float, ...] = WIDTH
    expand: tuple[float, ...] = EXPAND
    depth: int = 0
    reading: str = "block"
    combine: str | None = None
    remap: str | None = None
    remap_spread: float = 1.0
    mutation: Mutation | None = None
    importance: str = "weight"
    fan: str = "own"
    kernels: tuple[int, ...] = ()
    around: Around | None = None

    def __post_init__(self) -> None:
        for name in ("width", "expand"):
            _check_multiples(name, getattr(self, name))
        if type(self.depth) is not int or self.depth < 0:
            raise UsageError(f"depth must be an integer of at least 0; got {self.depth!r}")
        check_choice("reading", self.reading, READINGS)
        check_choice("combine", self.combine, (None, *COMBINES))
        check_choice("remap", self.remap, (None, *REMAPS))
        check_choice("importance", self.importance, IMPORTANCES)
        check_choice("fan", self.fan, FANS)
        _check_kernels(self.kernels)
        if not isinstance(self.around, Around | None):
            raise UsageError(f"around must be an Around or None; got {self.around!r}")
        if not 0 < self.remap_spread < math.inf:
            raise UsageError(f"remap_spread must be positive and finite; got {self.remap_spread!r}")
        if not isinstance(self.mutation, Mutation | None):
            raise UsageError(f"mutation must be a Mutation or None; got {self.mutation!r}")
        if self.remap_spread != 1 and self.remap not in SCALED:
            listed = ", ".join(map(repr, SCALED))
            raise UsageError(f"remap_spread needs a remap among {listed}; got {self.remap!r}")

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON values by field name."""
        values = asdict(self) | {"width": list(self.width), "expand": list(self.expand)}
        del values["kernels"], values["around"]
        if self.fan == "own":
            del values["fan"]  # added later, as the next two: older runs keep their identity
        if self.kernels:
            values["kernels"] = list(self.kernels)
        if self.around:
            values["around"] = self.around.as_settings()
        return values

    def multiples(self, axis: str, inner: bool) -> tuple[float, ...]:
        """What the width of an axis may be multiplied by."""
        if self.around is not None:
            return self.around.multiples.get(axis, (1.0,))
        return self.expand if inner else self.width


def _check_kernels(given: object) -> None:
    odd = isinstance(given, tuple) and all(type(k) is int and k % 2 and k > 0 for k in given)
    if not odd or list(given) != sorted(set(given)):  # type: ignore[call-overload]
        raise UsageError(f"kernels must be a tuple of ascending odd sizes; got {given!r}")


def _check_multiples(name: str, given: object) -> None:
    numbers = isinstance(given, tuple) and all(
        type(x) in (int, float) and math.isfinite(x) for x in given
    )
    if not numbers or not given or given[0] != 1 or list(given) != sorted(set(given)):  # type: ignore[index, call-overload]
        raise UsageError(f"{name} must be a tuple of ascending multiples from 1 on; got {given!r}")
