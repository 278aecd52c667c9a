"""From an integer network in PyTorch to the graph that becomes C."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from saa_lite.deploy.graph import Graph, Layer, Map, Output, Values
from saa_lite.deploy.layers import IntegerProducts, MeanOfMap, OnGrid, Signs
from saa_lite.deploy.network import ADDITIONS, layer_values
from saa_lite.deploy.staircase import find_staircase
from saa_lite.errors import UsageError
from saa_lite.quantize.integer import IntegerAdder


@torch.no_grad()
def lower(network: fx.GraphModule, image_shape: Sequence[int]) -> Graph:
    """The graph of an integer network for images of one shape, (channels, rows, columns).

    Raises:
        UsageError: the network cannot run on that shape, or a layer is used in a way that has no
            counterpart in C, by the layer's name.
    """
    seen = Values(network)
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
