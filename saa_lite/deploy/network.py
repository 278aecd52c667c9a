"""From a trained network to its integer twin in PyTorch, the one that the C code repeats.

The network is traced into a graph of layers. Adder layers are quantised on a shared scale
(:func:`saa_lite.quantize.quantize`) and sum bytes; shift, binary and multiplicative layers get
whole weights and read codes; norms become one product and one sum per channel. What an addition or
a mean reads, and the logits, are put on grids of their own, so that every value between two layers
is a whole number times a step. Nothing else is changed: the result is a module like any other,
images in and logits out, and its logits are what the C code must give, bit for bit.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.data.batches import image_batches
from saa_lite.deploy.layers import ChannelAffine, IntegerProducts, MeanOfMap, OnGrid, Signs
from saa_lite.errors import UsageError
from saa_lite.nn.adder import AdderLayer
from saa_lite.nn.binary import BinaryConv2d, BinaryLinear
from saa_lite.nn.shift import ShiftConv2d, ShiftLinear, ShiftPSConv2d, ShiftPSLinear
from saa_lite.nn.wrappers import copy_of
from saa_lite.quantize import quantize, to_integer
from saa_lite.quantize.adder_layers import QuantizedAdder
from saa_lite.quantize.calibrate import SMALLEST_RANGE, InputRange, check_images, quantile_index
from saa_lite.quantize.integer import IntegerAdder
from saa_lite.quantize.uniform import check_bits

ALPHA = 0.9992  # quantile of |x| that codes reach, as in quantize()
MAP_BITS = 8  # of what additions and means read, and of the inputs of layers that multiply
LOGIT_BITS = 12

KIND_OF: dict[type[nn.Module], str] = {
    nn.Conv2d: "multiply",
    nn.Linear: "multiply",
    ShiftConv2d: "shift",
    ShiftLinear: "shift",
    ShiftPSConv2d: "shift",
    ShiftPSLinear: "shift",
    BinaryConv2d: "binary",
    BinaryLinear: "binary",
}
MONOTONE = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Identity, nn.Dropout)
ADDITIONS = (operator.add, operator.iadd, torch.add)
RESHAPES = (operator.getitem, torch.flatten, "flatten")


class _Tracer(fx.Tracer):
    """Every module without children is a node."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return not any(True for _ in module.children())


class _Watch(fx.Interpreter):
    """Shapes and ranges of every value while batches run."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.ranges: dict[str, InputRange] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape[1:])
            found = self.ranges.setdefault(n.name, InputRange())
            flat = value.detach().flatten().float()
            rank = quantile_index(len(flat), ALPHA)
            bound = float(flat.abs().kthvalue(rank + 1).values)
            found.bound = max(found.bound, bound, SMALLEST_RANGE)
            found.least = min(found.least, float(flat.min()))
            found.greatest = max(found.greatest, float(flat.max()))
        return value


@torch.no_grad()
def integer_network(
    network: nn.Module, calibration_batches: Iterable[Any], *, bits: int = 4
) -> fx.GraphModule:
    """The integer twin of a trained network: images [N, C, H, W] → logits [N, classes], float64.

    Args:
        network: of layers of :mod:`saa_lite.nn`, convolutions and linear maps, batch norms, ReLU,
            ReLU6, Hardtanh, max and mean pooling and additions; or what ``quantize()`` made of one,
            with one group of filters per layer.
        calibration_batches: normalised images, or tuples that hold them.
        bits: of the codes that adder and shift layers read; binary layers read signs, and layers
            that multiply read and hold 8 bits.

    Raises:
        UsageError: a layer that cannot be exported, by its name; bits out of range; no images.
        TypeError: ``network`` is no module.
    """
    check_bits("bits", bits)
    batches = list(image_batches("calibration_batches", calibration_batches))
    if not batches:
        raise UsageError("calibration_batches must hold at least one batch of images; got none")
    for position, batch in enumerate(batches):
        check_images(f"calibration batch {position}", batch)
    plain = copy_of(network, "integer_network").eval()
    _check_layers(plain)
    if any(
        isinstance(m, AdderLayer) and not isinstance(m, QuantizedAdder) for m in plain.modules()
    ):
        plain = quantize(plain, batches, bits=bits, groups=1)
    traced = _trace(plain)
    watch = _Watch(traced)
    for batch in batches:
        watch.run(batch)
    _replace_layers(traced, watch.ranges, bits)
    _put_on_grids(traced, watch.ranges)
    return _integers(traced)


def _trace(network: nn.Module) -> fx.GraphModule:
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # any: the network may be a user's own
        raise UsageError(
            f"{type(network).__name__} cannot be traced into a graph of layers: {error}"
        ) from error
    traced = fx.GraphModule(network, graph)
    traced.graph.eliminate_dead_code()
    for node in graph.nodes:
        _check_node(traced, node)
    return traced


def _check_layers(network: nn.Module) -> None:
    """Raise for a layer that cannot be exported, before anything is computed."""
    for name, layer in network.named_modules():
        if any(True for _ in layer.children()) or not name:
            continue
        _check_layer(name, layer)


def _check_layer(name: str, layer: nn.Module) -> None:
    known = (*KIND_OF, *MONOTONE, nn.Flatten, nn.AdaptiveAvgPool2d, nn.MaxPool2d)
    if not (type(layer) in known or isinstance(layer, (_BatchNorm, AdderLayer))):
        raise UsageError(
            f"layer {name!r} ({type(layer).__name__}) cannot be exported; what can are adder, "
            "shift, binary and plain convolutions and linear maps, batch norm, ReLU, ReLU6, "
            "Hardtanh, max pooling, the mean of a map, and additions"
        )
    if isinstance(layer, nn.Conv2d):
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        if not zeros or tuple(layer.dilation) != (1, 1):
            raise UsageError(
                f"layer {name!r} must pad with a number of zeros and have dilation 1 to be "
                f"exported; got padding={layer.padding!r}, padding_mode={layer.padding_mode!r}, "
                f"dilation={layer.dilation!r}"
            )
        if layer.groups != 1 and isinstance(layer, BinaryConv2d):
            raise UsageError(
                f"layer {name!r} must have groups=1 to be exported, as signs are packed over the "
                f"channels; got groups={layer.groups}"
            )
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size not in (1, (1, 1)):
        raise UsageError(
            f"layer {name!r} must take the mean of the whole map to be exported; got "
            f"output_size={layer.output_size!r}"
        )
    if isinstance(layer, nn.MaxPool2d):
        plain = layer.padding in (0, (0, 0)) and layer.dilation in (1, (1, 1))
        if not plain or layer.stride != layer.kernel_size or layer.ceil_mode:
            raise UsageError(
                f"layer {name!r} must have stride equal to its kernel, no padding and no ceil_mode "
                f"to be exported; got {layer.extra_repr()}"
            )
    if isinstance(layer, QuantizedAdder) and len(layer.bound) > 1:
        raise UsageError(
            f"layer {name!r} must have one group of filters to be exported (quantize with "
            f"groups=1); got {len(layer.bound)}"
        )


def _check_node(traced: fx.GraphModule, node: fx.Node) -> None:
    known = (*ADDITIONS, *RESHAPES)
    if node.op == "call_module":
        _check_layer(str(node.target), traced.get_submodule(str(node.target)))
        used = [n for n in traced.graph.nodes if n.op == node.op and n.target == node.target]
        if len(used) > 1 and type(traced.get_submodule(str(node.target))) not in MONOTONE:
            raise UsageError(
                f"layer {node.target!r} is used {len(used)} times in one pass; give each use a "
                "layer of its own"
            )
    elif node.op in ("call_function", "call_method") and node.target not in known:
        where = ", ".join(str(a.target) for a in node.all_input_nodes)
        raise UsageError(f"{node.name} behind layer {where!r} cannot be exported")
    elif node.op == "get_attr":
        raise UsageError(f"the network reads {node.target!r} itself, which cannot be exported")
    elif node.op in ("placeholder", "output") and len(node.all_input_nodes) > 1:
        raise UsageError("a network must give one tensor to be exported")


def _replace_layers(traced: fx.GraphModule, ranges: dict[str, InputRange], bits: int) -> None:
    for node in list(traced.graph.nodes):
        if node.op != "call_module":
            continue
        name = str(node.target)
        layer = traced.get_submodule(name)
        source = node.all_input_nodes[0]
        if kind := KIND_OF.get(type(layer)):
            if kind == "binary":
                grid: OnGrid | Signs = Signs()
            else:
                grid = OnGrid(ranges[source.name], MAP_BITS if kind == "multiply" else bits)
            traced.set_submodule(name, IntegerProducts(layer, kind, grid))
        elif isinstance(layer, _BatchNorm):
            traced.set_submodule(name, ChannelAffine(name, layer))
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            one = math.prod(source.meta["shape"][1:]) == 1
            traced.set_submodule(name, nn.Identity() if one else MeanOfMap())


def _put_on_grids(traced: fx.GraphModule, ranges: dict[str, InputRange]) -> None:
    """Insert a grid before every addition, every mean, and the end."""
    for node in list(traced.graph.nodes):
        sources = list(node.all_input_nodes)
        mean = node.op == "call_module" and isinstance(
            traced.get_submodule(str(node.target)), MeanOfMap
        )
        if not (node.target in ADDITIONS or mean or node.op == "output"):
            continue
        found = InputRange()
        for source in sources:
            seen = ranges[source.name]
            found.bound = max(found.bound, seen.bound)
            found.least = min(found.least, seen.least)
            found.greatest = max(found.greatest, seen.greatest)
        if node.op == "output":
            found.bound = max(found.bound, -found.least, found.greatest)
        for place, source in enumerate(sources):
            name = f"{node.name}_grid_{place}".replace(".", "_")
            grid = OnGrid(found, LOGIT_BITS if node.op == "output" else MAP_BITS)
            traced.add_submodule(name, grid)
            with traced.graph.inserting_before(node):
                inserted = traced.graph.call_module(name, (source,))
            node.replace_input_with(source, inserted)


def _integers(traced: fx.GraphModule) -> fx.GraphModule:
    """Adder layers sum bytes, and everything is float64."""
    traced.recompile()
    wide: nn.Module = traced.double()
    if any(isinstance(layer, QuantizedAdder) for layer in wide.modules()):
        wide = to_integer(wide)
    assert isinstance(wide, fx.GraphModule)
    return wide.eval()


def layer_values(layer: nn.Module, sums: Tensor) -> Tensor:
    """What the sums [K, T, 1, 1] of a layer of an integer network stand for."""
    if isinstance(layer, IntegerAdder):
        whole = sums[:, :, 0, 0] - layer.excess
        step = (layer.bound / layer.levels)[layer.group_of]
        return (whole * step + layer.offset)[:, :, None, None]
    assert isinstance(layer, IntegerProducts)
    return layer.values(sums)
