"""A trained network in floating point as an ONNX model, its operators as functions.

Weights are those that a layer computes with: powers of two as exponents and signs, signs with their
scale beside them. Sums are added in another order than PyTorch's, so the outputs are close, not
equal; :mod:`saa_lite.deploy.formats` says how close.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.deploy.graph import Values
from saa_lite.deploy.network import ADDITIONS, _trace
from saa_lite.deploy.onnx_functions import SUMS, Nodes, check_onnx, geometry, taps_of
from saa_lite.errors import UsageError
from saa_lite.nn.adder import AdderLayer
from saa_lite.nn.binary import BinaryLayer
from saa_lite.nn.shift import ShiftLayer
from saa_lite.ops.shift import shift_codes
from saa_lite.quantize.adder_layers import QuantizedAdder

if TYPE_CHECKING:  # an extra
    from onnx import ModelProto

FLOAT = 1  # of onnx.TensorProto
FIXED = {"low": -32768.0, "high": 32767.0}  # of shift layers' inputs and biases


@torch.no_grad()
def onnx_float_model(network: nn.Module, images: Tensor) -> "ModelProto":
    """``images`` float32 [N, C, H, W] → ``logits`` float32 [N, classes], in evaluation mode.

    Args:
        network: as for :func:`~saa_lite.deploy.integer_network`, not yet quantised.
        images: one or more of the size that the model takes.

    Raises:
        UsageError: a layer that cannot be exported, by its name; the extra is missing.
    """
    check_onnx()
    traced = _trace(network.eval())
    seen = Values(traced)
    logits = seen.run(images[:1])
    written = _Floats(traced, {name: tuple(v.shape[1:]) for name, v in seen.values.items()})
    return written.model(images.shape[1:], {"logits": FLOAT}, logits.shape[1])


class _Floats(Nodes):
    """Walks the traced network once, from the images to the logits."""

    def __init__(self, traced: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.traced, self.shapes = traced, shapes
        self.names: dict[fx.Node, str] = {}
        for node in traced.graph.nodes:
            sources = [self.names[source] for source in node.all_input_nodes]
            self.names[node] = self._write(node, sources)

    def _write(self, node: fx.Node, sources: list[str]) -> str:
        if node.op == "placeholder":
            return "images"
        if node.op == "output":
            return self.add("Identity", sources, "logits")
        if node.op == "call_module":
            name = str(node.target)
            return self._module(node, name, self.traced.get_submodule(name), sources[0])
        if node.target in ADDITIONS:
            return self.add("Add", sources, node.name)
        return self._reshaped(node, sources[0])

    def _reshaped(self, node: fx.Node, source: str) -> str:
        """As many numbers in the same order, in another shape."""
        shape = self.constant(f"{node.name}:shape", np.array([0, *self.shapes[node.name]]))
        return self.add("Reshape", [source, shape], node.name)

    def _module(self, node: fx.Node, name: str, layer: Any, source: str) -> str:
        if isinstance(layer, (AdderLayer, ShiftLayer, BinaryLayer)):
            return self._operator(node, name, layer, source)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            return self._product(name, layer, source)
        if isinstance(layer, _BatchNorm):
            return self._norm(name, layer, source)
        if isinstance(layer, (nn.MaxPool2d, nn.AdaptiveAvgPool2d)):
            return self._pooled(name, layer, source)
        if isinstance(layer, nn.Flatten):
            return self._reshaped(node, source)
        return self._activation(name, layer, source)

    def _pooled(self, name: str, layer: Any, source: str) -> str:
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return self.add("GlobalAveragePool", [source], name)
        window = np.broadcast_to(layer.kernel_size, 2).tolist()
        return self.add("MaxPool", [source], name, kernel_shape=window, strides=window)

    def _activation(self, name: str, layer: Any, source: str) -> str:
        if isinstance(layer, (nn.Identity, nn.Dropout)):
            return source
        if type(layer) is nn.ReLU:
            return self.add("Relu", [source], name)
        ends = [
            self.constant(f"{name}:{end}", np.float32(value))
            for end, value in (("least", layer.min_val), ("most", layer.max_val))
        ]
        return self.add("Clip", [source, *ends], name)

    def _product(self, name: str, layer: Any, source: str) -> str:
        inputs = [source, self.constant(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            inputs.append(self.constant(f"{name}.bias", layer.bias))
        if isinstance(layer, nn.Linear):
            return self.add("Gemm", inputs, name, transB=1)
        pads = [*layer.padding, *layer.padding]
        sides = {"strides": list(layer.stride), "pads": pads, "group": layer.groups}
        return self.add("Conv", inputs, name, **sides)

    def _norm(self, name: str, layer: Any, source: str) -> str:
        ones = torch.ones_like(layer.running_var)
        parts = {
            "weight": ones if layer.weight is None else layer.weight,
            "bias": 0 * ones if layer.bias is None else layer.bias,
            "running_mean": layer.running_mean,
            "running_var": layer.running_var,
        }
        inputs = [self.constant(f"{name}.{part}", value) for part, value in parts.items()]
        return self.add("BatchNormalization", [source, *inputs], name, epsilon=layer.eps)

    def _operator(self, node: fx.Node, name: str, layer: Any, source: str) -> str:
        """Sums of one of our layers, its scale and its bias; a linear one reads single pixels."""
        given, made = self.shapes[node.all_input_nodes[0].name], self.shapes[node.name]
        linear = len(given) == 1
        if linear:
            shape = self.constant(f"{name}:pixel", np.array([0, *given, 1, 1]))
            source = self.add("Reshape", [source, shape], f"{name}:pixels")
        stride, padding, groups = ((1, 1), (0, 0), 1) if linear else (
            layer.stride, layer.padding, layer.groups)  # fmt: skip
        size = (1, 1) if linear else made[1:]
        kind, prepared, weights, scale = self._weights(name, layer, source)
        shape_of = tuple(layer.weight.shape) + (1, 1) * linear
        columns = 1 if linear else given[2] + 2 * padding[1]
        taps = self.constant(f"{name}:taps", taps_of(columns, shape_of[2:], size, stride))
        sides = geometry(shape_of, stride, padding, groups, size)
        found = self.add(SUMS[kind], [prepared, *weights, taps], f"{name}:sums", **sides)
        for step, value in (("Mul", scale), ("Add", self._bias(layer))):
            if value is not None:
                column = self.constant(f"{name}:{step}", value.reshape(-1, 1, 1))
                found = self.add(step, [found, column], f"{name}:{step}ed")
        if linear:
            shape = self.constant(f"{name}:flat", np.array([0, *made]))
            return self.add("Reshape", [found, shape], name)
        return self.add("Identity", [found], name)

    def _weights(
        self, name: str, layer: Any, source: str
    ) -> tuple[str, str, list[str], Tensor | None]:
        """Kind, what the sums read, constants, a scale per filter."""
        if isinstance(layer, AdderLayer):
            if isinstance(layer, QuantizedAdder) or layer.squared:
                raise UsageError(
                    f"layer {name!r} must be a plain adder layer to be exported in floating point; "
                    f"got {type(layer).__name__} with squared={layer.squared:g}"
                )
            return "adder", source, [self.constant(f"{name}.weight", layer.weight)], None
        if isinstance(layer, ShiftLayer):
            weight: Any = layer._shift_weight(layer.weight)  # type: ignore[arg-type]
            power, sign = shift_codes(weight, layer.bits)
            held = [self.constant(f"{name}.sign", sign), self.constant(f"{name}.exponent", power)]
            return "shift", self._fixed(name, layer, source), held, None
        signs = torch.where(layer.weight < 0, -1, 1).to(torch.int8)
        scale = layer.weight.abs().flatten(1).mean(1) if layer.scale else None
        read = self.add("Signs", [source], f"{name}:signs")
        return "binary", read, [self.constant(f"{name}.weight", signs)], scale

    def _fixed(self, name: str, layer: ShiftLayer, source: str) -> str:
        if layer.fraction_bits is None:
            return source
        scale = 2.0**layer.fraction_bits
        return self.add("FixedPoint", [source], f"{name}:fixed", scale=scale, **FIXED)

    def _bias(self, layer: Any) -> Tensor | None:
        bias: Tensor | None = layer._parameters["bias"]
        return layer._fix(bias) if bias is not None and isinstance(layer, ShiftLayer) else bias
