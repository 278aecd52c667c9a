"""What a candidate costs, composed of blocks that are counted once, and what it may cost.

A network of a space is a chain: nothing is alive across two blocks but what the one hands to the
next. So products and parameters of the whole are sums over its blocks, and its peak of activation
memory is that of its worst block. Each block is counted by :func:`saa_lite.costs.count` the first
time that it is met, 4 ms; after that a network takes a fraction of one. Energies are added product
by product in the order of the network, so that they equal those of ``count`` to the last bit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from torch import nn

from saa_lite.costs import ACCOUNTINGS, Costs, count
from saa_lite.costs.energy import energy
from saa_lite.errors import UsageError, check_choice
from saa_lite.models.inverted import BlockShape, block_shapes, first_shape, multiplicative
from saa_lite.search.space import Candidate, Space

METRICS = {
    "energy_A": "mJ",
    "energy_B": "mJ",
    "energy_C": "mJ",
    "products": "",
    "parameters": "",
    "peak_bytes": "bytes",
}
"""What can be limited, and its unit."""


class Entry(NamedTuple):
    """One piece of a network: energies are (arithmetic, memory) in mJ of each product."""

    products: int
    parameters: int
    peak_bytes: float
    energies: tuple[tuple[tuple[float, float], ...], ...]


def predict(space: Space, candidate: Candidate) -> dict[str, float]:
    """Costs of one image by the names of :data:`METRICS`, equal to those of the built network."""
    entries = list(_entries(space, candidate))
    found: dict[str, float] = {}
    for index, name in enumerate(ACCOUNTINGS):
        compute = memory = 0.0
        for arithmetic, traffic in chain.from_iterable(e.energies[index] for e in entries):
            compute += arithmetic
            memory += traffic
        found[f"energy_{name}"] = compute + memory
    return found | {
        "products": sum(entry.products for entry in entries),
        "parameters": sum(entry.parameters for entry in entries),
        "peak_bytes": max(entry.peak_bytes for entry in entries),
    }


def counted(costs: Costs) -> dict[str, float]:
    """The same numbers of a network that has been counted as a whole."""
    found = {f"energy_{name}": _total(costs, name) for name in ACCOUNTINGS}
    return found | {
        "products": costs.taps,
        "parameters": costs.parameters,
        "peak_bytes": costs.peak.bytes,
    }


@dataclass(frozen=True)
class Budget:
    """The most that a network may cost: metric → limit.

    Raises:
        UsageError: no limit, an unknown metric, or a limit that is not above 0.
    """

    limits: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.limits:
            raise UsageError(f"a budget needs a limit of one of {', '.join(METRICS)}; got none")
        for name, limit in self.limits.items():
            check_choice("budget", name, METRICS)
            if not isinstance(limit, int | float) or not limit > 0:
                raise UsageError(f"the limit of {name} must be a number above 0; got {limit!r}")

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """By how much each limit is passed; at most 0 where it is kept, as Optuna wants it."""
        return {name: costs[name] - limit for name, limit in self.limits.items()}

    def allows(self, costs: Mapping[str, float]) -> bool:
        """Whether every limit is kept."""
        return all(excess <= 0 for excess in self.excess(costs).values())

    def check(self, space: Space) -> None:
        """Refuse a limit that the smallest network of the space does not keep.

        Raises:
            UsageError: naming the smallest network's cost.
        """
        for name, limit in self.limits.items():
            least = cheapest(space, name)
            if least > limit:
                unit = f" {METRICS[name]}" if METRICS[name] else ""
                raise UsageError(
                    f"no network of the space has {name} of at most {limit:g}{unit}: its cheapest "
                    f"has {least:g}{unit}"
                )


def cheapest(space: Space, metric: str) -> float:
    """The metric's value for the smallest network with the operator that is cheapest by it."""
    check_choice("metric", metric, METRICS)
    return min(predict(space, space.extreme(0, operator))[metric] for operator in space.operators)


def _total(costs: Costs, accounting: str) -> float:
    priced = costs.energy(accounting)
    if priced is None:
        raise UsageError(f"accounting {accounting} has no price for a layer of this network")
    return priced.total


def _entries(space: Space, candidate: Candidate) -> Iterable[Entry]:
    """Stem, blocks, head, in the order in which they run."""
    size = space.image_size
    yield _stem(space.in_channels, candidate.stem, size)
    stages = zip(candidate.layers, space.strides, strict=True)
    layers = tuple(stage._replace(stride=stride) for stage, stride in stages)
    first = first_shape(candidate.first, candidate.stem, candidate.stem // 2)
    for shape in (first, *block_shapes("conv", first.c_out, layers)):
        yield _block(shape, size)
        size = -(-size // shape.stride)
    yield _head(candidate.stages[-1].width, space.num_classes, size)


@cache
def _stem(channels: int, width: int, size: int) -> Entry:
    return _count(multiplicative("conv", channels, width, 1, groups=1), channels, size)


@cache
def _block(shape: BlockShape, size: int) -> Entry:
    return _count(shape.build(), shape.c_in, size)


@cache
def _head(width: int, classes: int, size: int) -> Entry:
    layers = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    return _count(nn.Sequential(*layers), width, size)


def _count(module: nn.Module, channels: int, size: int) -> Entry:
    costs = count(module, (1, channels, size, size))
    products = [product for layer in costs.layers for product in layer.products]
    energies: list[Any] = []
    for accounting in ACCOUNTINGS:
        priced = [energy([product], accounting) for product in products]
        energies.append(tuple((p.compute, p.memory) for p in priced if p is not None))
    return Entry(costs.taps, costs.parameters, costs.peak.bytes, tuple(energies))
