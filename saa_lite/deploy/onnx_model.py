"""The integers that the C code computes, as an ONNX model.

Everything between the images and the logits is int32 or int64, so any runtime gives the same bits.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from saa_lite.deploy.graph import Graph, Layer, Map, Output, Values
from saa_lite.deploy.kernels import sum_type
from saa_lite.deploy.layers import OnGrid, Signs
from saa_lite.deploy.onnx_functions import SUMS, Nodes, check_onnx, geometry, run_onnx, taps_of

if TYPE_CHECKING:  # an extra
    from onnx import ModelProto

Ints = np.ndarray
INT32, INT64, DOUBLE = 6, 7, 11  # of onnx.TensorProto


def onnx_model(graph: Graph) -> "ModelProto":
    """``images`` float32 [N, C, H, W] → ``logits`` float64 and ``codes`` int32, [N, classes].

    ``logits`` are those of the integer network, ``codes`` those numbers divided by their step.

    Raises:
        UsageError: the extra is missing.
    """
    check_onnx()
    given, logits = graph.input, graph.logits
    image, outputs = (given.channels, given.rows, given.columns), {"logits": DOUBLE, "codes": INT32}
    return _Integers(graph).model(image, outputs, logits.channels)


@torch.no_grad()
def first_difference(model: "ModelProto", graph: Graph, images: Tensor) -> str | None:
    """The first layer that writes other codes than in PyTorch, by its name; None if all agree."""
    from onnx import helper  # noqa: PLC0415  (an extra)

    written = [(layer.name, output.map, name) for layer, output, name in _outputs(graph)]
    opened = type(model)()
    opened.CopyFrom(model)
    for _, _, name in written:
        opened.graph.output.append(helper.make_tensor_value_info(name, INT32, None))
    found = run_onnx(opened, images, [name for _, _, name in written])
    seen = Values(graph.network)
    seen.run(images.double())
    for (layer, made, _), codes in zip(written, found, strict=True):
        wanted = made.codes(seen.values[made.node]).numpy()
        wanted = 2 * wanted - 1 if made.type == "bits" else wanted
        if not np.array_equal(codes.ravel(), wanted.ravel()):
            return layer
    return None


def _outputs(graph: Graph) -> Iterator[tuple[Layer, Output, str]]:
    """Every output of every layer, and what its codes are called in a model."""
    for layer in graph.layers:
        for position, output in enumerate(layer.outputs):
            yield layer, output, f"{layer.name}:{position}"


class _Integers(Nodes):
    """Writes the layers of a graph one after the other."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.names = {output.map.index: name for _, output, name in _outputs(graph)}
        self.names[graph.input.index] = "input"
        self._input(graph.input)
        for layer in graph.layers:
            sums = self._sums(layer)
            for output in layer.outputs:
                self._staircase(layer, output, sums)
        self._logits(graph.logits)

    def _input(self, given: Map) -> None:
        grid, name = given.grid, self.names[given.index]
        if isinstance(grid, Signs):
            self.add("Cast", [self.add("Signs", ["images"], "signs")], name, to=INT32)
            return
        step = self.constant("input:step", np.float64(grid.step))
        kind = "Quantise" if isinstance(grid, OnGrid) else "QuantiseEven"
        ends = {"low": grid.low, "high": grid.high, "shift": given.shift}
        self.add(kind, ["images", step], name, **ends)

    def _sums(self, layer: Layer) -> str:
        name = f"{layer.name}:sums"
        maps = [self.names[m.index] for m in layer.inputs]
        if layer.kind == "add":
            return self.add("Add", maps, name)
        if layer.kind == "mean":
            return self.add("ReduceSum", [maps[0], self.constant(f"{name}:axes", PLANE)], name)
        wide = sum_type(layer) == "int64_t"
        given = self.add("Cast", maps, f"{name}:wide", to=INT64) if wide else maps[0]
        inputs = [given, *self._weights(layer), self._taps(layer)]
        sums = self.add(SUMS[layer.kind], inputs, name, **self._geometry(layer))
        return self._pooled(layer, sums) if layer.pool != (1, 1) else sums

    def _weights(self, layer: Layer) -> list[str]:
        weight = layer.weight
        assert weight is not None
        if layer.kind != "shift":
            return [self.constant(f"{layer.name}:weight", _small(weight))]
        exponent = np.log2(np.maximum(np.abs(weight), 1)).round().astype(np.int8)
        return [
            self.constant(f"{layer.name}:sign", np.sign(weight).astype(np.int8)),
            self.constant(f"{layer.name}:exponent", exponent),
        ]

    def _taps(self, layer: Layer) -> str:
        assert layer.weight is not None
        columns = layer.inputs[0].columns + 2 * layer.padding[1]
        taps = taps_of(columns, layer.weight.shape[2:], layer.size, layer.stride)
        return self.constant(f"{layer.name}:taps", taps)

    def _geometry(self, layer: Layer) -> dict[str, Any]:
        assert layer.weight is not None
        sides = (layer.stride, layer.padding, layer.groups, layer.size)
        return geometry(layer.weight.shape, *sides, layer.pad_code)

    def _pooled(self, layer: Layer, sums: str) -> str:
        """The greatest of each window; rows and columns beyond the last whole one are left out."""
        made, (down, right), name = layer.outputs[0].map, layer.pool, layer.name
        rows, columns = made.rows, made.columns
        ends = self.constant(f"{name}:ends", np.array([rows * down, columns * right]))
        starts = self.constant(f"{name}:starts", np.zeros(2, dtype=np.int64))
        axes = self.constant(f"{name}:axes", PLANE)
        cut = self.add("Slice", [sums, starts, ends, axes], f"{name}:cut")
        shape = self.constant(f"{name}:split", np.array([0, 0, rows, down, columns, right]))
        split = self.add("Reshape", [cut, shape], f"{name}:windows")
        inner = self.constant(f"{name}:inner", np.array([3, 5]))
        return self.add("ReduceMax", [split, inner], f"{name}:greatest", keepdims=0)

    def _staircase(self, layer: Layer, output: Output, sums: str) -> None:
        stairs, name = output.stairs, self.names[output.map.index]
        columns = {"base": stairs.base, "slope": stairs.slope, "phase": stairs.phase}
        inputs = [
            self.constant(f"{name}:{n}", v.astype(np.int64).reshape(1, -1, 1, 1))
            for n, v in columns.items()
        ]
        inputs.append(self.constant(f"{name}:down", stairs.down.reshape(1, -1, 1, 1)))
        signs = output.map.type == "bits"
        codes = self.add(
            "Staircase",
            [sums, *inputs],
            f"{name}:bits" if signs else name,
            first=stairs.first,
            steps=stairs.steps,
            most=(1 << stairs.digits) - 1,
            scale=1 << stairs.fraction,
        )
        if signs:  # 0 and 1 stand for −1 and +1
            twice = self.add("Add", [codes, codes], f"{name}:twice")
            one = self.constant(f"{name}:one", np.int32(1))
            self.add("Sub", [twice, one], name)

    def _logits(self, logits: Map) -> None:
        flat = self.add("Flatten", [self.names[logits.index]], "codes")
        wide = self.add("Cast", [flat], "codes:double", to=DOUBLE)
        step = self.constant("codes:step", np.float64(logits.grid.step))
        self.add("Mul", [wide, step], "logits")


PLANE = np.array([2, 3])


def _small(weight: Ints) -> Ints:
    """In the narrowest type that holds all of it."""
    low, high = int(weight.min()), int(weight.max())
    kind = np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))
    return weight.astype(kind)
