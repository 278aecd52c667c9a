"""The small graph that becomes C: layers that sum, maps of codes between them, staircases.

Every layer of the graph sums (windows against filters, two maps, or one map over all its pixels),
and what follows a sum until the next code is read (scale, norm, activation, quantiser) is one
staircase per reader. So a layer reads maps of codes and writes maps of codes, and nothing else
exists at run time. Maps lie channels last.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from saa_lite.deploy.staircase import Staircase

Ints = np.ndarray


@dataclass(frozen=True, eq=False)
class Map:
    """Codes between two layers.

    Attributes:
        index: position in :attr:`Graph.maps`.
        channels, rows, columns: its shape.
        type: ``"uint8_t"``, ``"int8_t"``, ``"int16_t"``, or ``"bits"`` for eight signs a byte.
        node: the node of the traced network whose values it holds.
        grid: gives the codes of values.
        shift: added to a code before it is stored.
    """

    index: int
    channels: int
    rows: int
    columns: int
    type: str
    node: str
    grid: Any
    shift: int = 0

    @property
    def per_pixel(self) -> int:
        """Numbers that one pixel takes; eight signs are one."""
        return -(-self.channels // 8) if self.type == "bits" else self.channels

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.rows * self.columns * self.per_pixel * (2 if self.type == "int16_t" else 1)

    def codes(self, values: Tensor) -> Tensor:
        """Whole numbers as they are stored, float64; signs are 0 and 1."""
        codes: Tensor = self.grid.codes(values.double())
        return (codes > 0).double() if self.type == "bits" else codes + self.shift

    def stored(self, values: Tensor) -> Ints:
        """Values [N, C, H, W] or [N, C] → bytes as they lie in memory, uint8 [N, bytes]."""
        maps = values if values.dim() == 4 else values[:, :, None, None]
        codes = self.codes(maps).permute(0, 2, 3, 1)
        whole = np.ascontiguousarray(codes.long().numpy())
        if self.type == "bits":
            return np.packbits(whole > 0, axis=-1, bitorder="little").reshape(len(whole), -1)
        little = whole.astype({"uint8_t": "u1", "int8_t": "i1", "int16_t": "<i2"}[self.type])
        return little.reshape(len(whole), -1).view(np.uint8)


@dataclass(frozen=True, eq=False)
class Output:
    """A map that a layer writes, and the staircase from its sums to the codes in it."""

    map: Map
    stairs: Staircase


@dataclass(frozen=True, eq=False)
class Layer:
    """One step of the network.

    Attributes:
        name: as in ``named_modules()`` of the network, or of the addition.
        kind: ``"adder"``, ``"shift"``, ``"binary"``, ``"multiply"``, ``"add"`` or ``"mean"``.
        inputs: the maps read.
        outputs: what is written.
        weight: int64 [T, C / groups, kh, kw], as stored codes see it; None for additions and means.
        geometry: (rows, columns) of stride and padding, and the groups.
        size: rows and columns of the sums, before any pooling.
        pool: rows and columns of a max pooling over the sums; (1, 1) for none.
    """

    name: str
    kind: str
    inputs: tuple[Map, ...]
    outputs: list[Output] = field(default_factory=list)
    weight: Ints | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    size: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)

    @property
    def taps(self) -> int:
        """Of one filter."""
        return int(self.weight[0].size) if self.weight is not None else 0

    @property
    def pad_code(self) -> int:
        """What a padded pixel holds in memory."""
        return self.inputs[0].shift

    @cached_property
    def bounds(self) -> tuple[Ints, Ints]:
        """int64 [T] each (or [1]): what the sums can lie between, padding included."""
        grid = self.inputs[0].grid
        low, high = grid.low, grid.high
        if self.kind == "add":
            return np.array([2 * low]), np.array([2 * high])
        if self.kind == "mean":
            pixels = self.inputs[0].rows * self.inputs[0].columns
            return np.array([low * pixels]), np.array([high * pixels])
        assert self.weight is not None
        flat = self.weight.reshape(len(self.weight), -1)
        if self.kind == "adder":  # distances of stored codes, which begin at 0
            reach = np.maximum(np.abs(flat), np.abs(high - low - flat)).sum(1)
            return -reach, 0 * reach
        ends = np.stack([flat * low, flat * high, 0 * flat])
        return ends.min(0).sum(1), ends.max(0).sum(1)


@dataclass(eq=False)
class Graph:
    """Layers in the order in which they run.

    Attributes:
        network: the integer network that it was made from.
        maps: all of them; the first is the input, the last the logits.
    """

    network: fx.GraphModule
    layers: list[Layer]
    maps: list[Map]

    @property
    def input(self) -> Map:
        return self.maps[0]

    @property
    def logits(self) -> Map:
        return self.maps[-1]

    @torch.no_grad()
    def expected(self, images: Tensor) -> dict[int, Ints]:
        """Map index → its bytes, uint8 [N, bytes], by the integer network in PyTorch."""
        seen = Values(self.network)
        seen.run(images.double())
        return {found.index: found.stored(seen.values[found.node]) for found in self.maps}


class Values(fx.Interpreter):
    """Keeps every value of a pass, by the name of its node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n.name] = value
        return value
