"""The small graph that becomes C: layers that sum, maps of codes between them, staircases.

Every layer of the graph sums (windows against filters, two maps, or one map over all its pixels),
and what follows a sum until the next code is read (scale, norm, activation, quantiser) is one
staircase per reader. So a layer reads maps of codes and writes maps of codes, and nothing else
exists at run time. Maps lie channels last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from saa_lite.deploy.layers import IntegerProducts, MeanOfMap, OnGrid, Signs
from saa_lite.deploy.network import ADDITIONS, layer_values
from saa_lite.deploy.staircase import Staircase, find_staircase
from saa_lite.errors import UsageError
from saa_lite.quantize.integer import IntegerAdder

Ints = np.ndarray
INPUT = "input"


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
    def bytes(self) -> int:
        """Size in memory."""
        if self.type == "bits":
            return self.rows * self.columns * -(-self.channels // 8)
        return self.rows * self.columns * self.channels * (2 if self.type == "int16_t" else 1)

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
        seen = _Values(self.network)
        seen.run(images.double())
        return {found.index: found.stored(seen.values[found.node]) for found in self.maps}


class _Values(fx.Interpreter):
    """Keeps every value of a pass."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n.name] = value
        return value


@torch.no_grad()
def lower(network: fx.GraphModule, image_shape: Sequence[int]) -> Graph:
    """The graph of an integer network for images of one shape, (channels, rows, columns).

    Raises:
        UsageError: the network cannot run on that shape, or a layer is used in a way that has no
            counterpart in C, by the layer's name.
    """
    seen = _Values(network)
    try:
        seen.run(torch.zeros(1, *image_shape, dtype=torch.float64))
    except RuntimeError as error:
        raise UsageError(
            f"the network cannot run on an image of {tuple(image_shape)}: {error}"
        ) from error
    return _Lowering(network, {name: tuple(v.shape[1:]) for name, v in seen.values.items()}).graph


class _Lowering:
    """Walks the traced network once, from the input to the logits."""

    def __init__(self, network: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> None:
        self.modules = dict(network.named_modules())
        self.shapes = shapes
        self.graph = Graph(network, [], [])
        self.layer_of: dict[fx.Node, Layer] = {}  # the node that sums
        self.map_of: dict[tuple[str, Any], Map] = {}
        for node in network.graph.nodes:
            self._visit(node)
        self._find_staircases()

    def _visit(self, node: fx.Node) -> None:
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, (IntegerAdder, IntegerProducts)):
            self._filters(node, module)
        elif isinstance(module, MeanOfMap):
            self._layer(node, str(node.target), "mean", node.all_input_nodes)
        elif node.target in ADDITIONS:
            self._layer(node, _where(node), "add", list(node.args))
        elif node.op == "output":
            self._read(node.all_input_nodes[0], "int16_t")

    def _layer(self, node: fx.Node, name: str, kind: str, sources: Sequence[Any]) -> None:
        maps = tuple(self._read(source) for source in sources)
        self._enter(node, Layer(name, kind, maps, size=self._size(node)))

    def _filters(self, node: fx.Node, module: IntegerAdder | IntegerProducts) -> None:
        """A layer of filters; a linear one reads the whole map as a window."""
        name, source = str(node.target), node.all_input_nodes[0]
        if isinstance(module, IntegerAdder):
            kind, weight = "adder", module.codes.long().numpy()
            plain: Any = module
            grid: Any = AdderGrid(module)
        else:
            kind, weight = module.kind, module.weight.long().numpy()
            plain, grid = module, module.grid
        inputs = self._read(source, grid=grid, shift=-grid.low if kind == "adder" else 0)
        linear = len(self.shapes[source.name]) == 1
        if linear:
            weight = weight.reshape(len(weight), inputs.channels, inputs.rows, inputs.columns)
        padding, stride, groups = ((0, 0), (1, 1), 1) if linear else (
            _pair(plain.padding), _pair(plain.stride), plain.groups)  # fmt: skip
        pool = self._pooling(node)
        layer = Layer(
            name, kind, (inputs,), [], weight, stride, padding, groups, self._size(node), pool
        )
        self._enter(node, layer)

    def _enter(self, node: fx.Node, layer: Layer) -> None:
        self.layer_of[node] = layer
        self.graph.layers.append(layer)

    def _size(self, node: fx.Node) -> tuple[int, int]:
        shape = self.shapes[node.name]
        return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)

    def _pooling(self, node: fx.Node) -> tuple[int, int]:
        """The window of a max pooling that reads the sums of this layer; nothing else may."""
        users = list(node.users)
        pools = [user for user in users if self._is_pool(user)]
        if not pools:
            return (1, 1)
        if len(users) > 1:
            raise UsageError(
                f"layer {node.target!r} must be read by its max pooling alone to be exported"
            )
        return _pair(self.modules[str(pools[0].target)].kernel_size)

    def _is_pool(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(self.modules[str(node.target)], nn.MaxPool2d)

    def _read(self, source: fx.Node, type: str = "", grid: Any = None, shift: int = 0) -> Map:
        """The map that holds the codes of a node's values; a new one if there is none."""
        node = source
        while _reshapes(node, self.modules):
            node = node.all_input_nodes[0]
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if grid is None:  # an addition, a mean or the end: they read from a grid of their own
            assert isinstance(module, OnGrid)
            grid, node = module, node.all_input_nodes[0]
            while _reshapes(node, self.modules):
                node = node.all_input_nodes[0]
        if not type:
            type = (
                "bits"
                if isinstance(grid, Signs)
                else "uint8_t"
                if grid.low + shift >= 0
                else "int8_t"
            )
        key = (node.name, (type, shift, grid.low, grid.high, float(grid.step)))
        if key not in self.map_of:
            shape = self.shapes[node.name]
            channels, rows, columns = shape if len(shape) == 3 else (shape[0], 1, 1)
            made = Map(len(self.graph.maps), channels, rows, columns, type, node.name, grid, shift)
            self.graph.maps.append(made)
            self.map_of[key] = made
        return self.map_of[key]

    def _find_staircases(self) -> None:
        nodes = {node.name: node for node in self.graph.network.graph.nodes}
        for made in self.graph.maps:
            node = nodes[made.node]
            path: list[fx.Node] = []
            while node not in self.layer_of and node.op != "placeholder":
                path.insert(0, node)
                node = node.all_input_nodes[0]
            if node.op == "placeholder":
                if made.index or path:
                    raise UsageError(
                        f"the images must be read by one layer alone to be exported; they are also "
                        f"read on the way to {made.node!r}"
                    )
                continue
            self._add_output(made, node, path)

    def _add_output(self, made: Map, node: fx.Node, path: list[fx.Node]) -> None:
        layer = self.layer_of[node]
        module = self.modules.get(str(node.target))
        pixels = layer.inputs[0].rows * layer.inputs[0].columns
        steps = [self._function(step, layer) for step in path]

        def codes(sums: Tensor) -> Tensor:
            values: Any = sums[:, :, None, None]
            if layer.kind == "add":
                values = values * layer.inputs[0].grid.step
            elif layer.kind == "mean":
                values = values * layer.inputs[0].grid.step / pixels
            else:
                assert module is not None
                values = layer_values(module, values)
            for step in steps:
                values = step(values)
            return made.codes(values)[:, :, 0, 0]

        stairs = find_staircase(layer.name, codes, *layer.bounds)
        layer.outputs.append(Output(made, stairs))

    def _function(self, node: fx.Node, layer: Layer) -> Any:
        """One step of the way from sums to values, for a column of pixels."""
        if self._is_pool(node):
            if node.all_input_nodes[0] not in self.layer_of:
                raise UsageError(
                    f"max pooling {node.target!r} must read the sums of a layer, before its norm "
                    "and activation, to be exported"
                )
            return nn.Identity()
        if _reshapes(node, self.modules):
            return nn.Identity()
        module = self.modules[str(node.target)]
        if layer.kind in ("add", "mean") and hasattr(module, "factor"):
            raise UsageError(
                f"layer {node.target!r}, a norm behind an addition or a mean, cannot be exported"
            )
        return module


class AdderGrid:
    """The grid of an integer adder layer's inputs."""

    def __init__(self, layer: IntegerAdder) -> None:
        self.grid = layer.input_grid(0)
        self.low, self.high, self.step = self.grid.low, self.grid.high, self.grid.step

    def codes(self, values: Tensor) -> Tensor:
        """Whole numbers, float64."""
        return self.grid.codes(values)


def _reshapes(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node only gives its input another shape."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], (nn.Flatten, nn.Identity, nn.Dropout))
    return node.op in ("call_function", "call_method") and node.target not in ADDITIONS


def _where(node: fx.Node) -> str:
    """A name for an addition: that of the module in which it is."""
    stack = node.meta.get("nn_module_stack") or {}
    inside = [name for name, _ in stack.values()]
    return f"{inside[-1]}.add" if inside and inside[-1] else node.name


def _pair(given: Any) -> tuple[int, int]:
    return (given, given) if isinstance(given, int) else (given[0], given[1])
