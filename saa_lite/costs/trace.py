"""One forward pass without numbers, written down operator by operator.

The network runs on torch's "meta" device: shapes and types are computed, values are not, so
ResNet-50 takes a tenth of a second. torch's dispatcher reports every operator, whoever calls it:
a layer, a function or the operator +. For each tensor four things are known:

* whether it depends on the input. What does not (quantised weights, position tables) is computed
  once and for all before the network is used, and costs nothing here;
* what its numbers are: "float", "integer", "fixed" point, "shift" (±2^p) or "binary", and how many
  bits they take. Quantisers set it, operators that only move numbers hand it on;
* its storage, so that views and in-place results count once;
* the layer, the innermost module, in whose forward pass it was made.

What a layer computes outside torch (NumPy, say) nobody reports. Such a layer is known by numbers
that no operator has made, or by a result that does not depend on the input: it is named as doing
:data:`OUTSIDE`, and what follows in its wake counts. Without numbers nothing can leave torch.

A module may count itself: if it has a method ``count_operations(inputs, output)``, its answer, a
mapping of names to numbers (``multiply``, ``add``, ``shift``, ``xnor`` or any other), stands in
place of whatever runs inside it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saa_lite.costs.blank import blank_result
from saa_lite.costs.operations import CHEAP, MOVES, Product, base_name
from saa_lite.costs.products import Operand, find, product, shift_bits

OWN_METHOD = "count_operations"
OUTSIDE = "work outside torch"
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Buffer:
    """A piece of memory: an identity and a size in bits."""

    storage: int
    elements: int
    bits: int


@dataclass(frozen=True)
class Step:
    """One operator on numbers that depend on the input."""

    layer: str
    category: str  # of rules.CATEGORIES, "product", "move" or "unknown"
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]


@dataclass
class Tally:
    """Everything one layer did."""

    products: list[Product] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    calls: int = 0


@dataclass
class Trace:
    """Tallies by module name in order of first use, steps in order, modules nobody needed."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def tally(self, layer: str) -> Tally:
        """The layer's tally, made if it is new."""
        return self.tallies.setdefault(layer, Tally())


class Recorder(TorchDispatchMode):
    """Writes a :class:`Trace` while a network runs."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.trace = Trace()
        self._stack: list[str] = [""]
        self._counting_itself = 0
        self._kept: list[Tensor] = list(inputs)  # alive, so that storages keep their identity
        self._dependent = {_storage(tensor) for tensor in inputs}
        self._operands: dict[int, Operand] = {}  # by id of a kept tensor
        self._touched: set[int] = set()  # storages that any operator has read
        self._known = set(self._dependent)  # storages whose origin has been seen
        self._blank = all(tensor.is_meta for tensor in inputs)
        buffers = tuple(self._buffer(tensor) for tensor in inputs)
        self.trace.steps.append(Step("", "move", (), buffers))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would load its compiler, two seconds, only to keep it away from this class."""
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = base_name(function._schema.name)
        in_place = function._schema.name.endswith("_")
        output = blank_result(name, args, in_place=in_place)
        if output is None:
            output = function(*args, **kwargs)
        self._see(name, _named(function, args, kwargs), output)
        return output

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Know the innermost module for as long as the context lasts."""
        handles = []
        for name, module in model.named_modules():
            own = [tensor for tensor in _tensors(vars(module)) if not is_lazy(tensor)]
            self._known.update(map(_storage, own))
            handles.append(module.register_forward_pre_hook(self._enter(name)))
            handles.append(module.register_forward_hook(self._leave(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def unused(self, model: nn.Module) -> list[str]:
        """Modules with parameters of their own that no operator has read."""
        found = []
        for name, module in model.named_modules():
            own = [_storage(parameter) for parameter in module.parameters(recurse=False)]
            if own and not self._touched.intersection(own):
                found.append(name)
        return found

    def _enter(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            self._stack.append(name)
            self.trace.tally(name).calls += 1
            self._counting_itself += hasattr(module, OWN_METHOD)

        return hook

    def _leave(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._stack.pop()
            self._from_outside(name, _tensors(output))
            if hasattr(module, OWN_METHOD):
                self._counting_itself -= 1
                if not self._counting_itself:
                    own = getattr(module, OWN_METHOD)(inputs, output)
                    self.trace.tally(name).own.update(own)

        return hook

    def _see(self, name: str, arguments: dict[str, Any], output: Any) -> None:
        inputs = _tensors(list(arguments.values()))
        outputs = _tensors(output)
        self._touched.update(map(_storage, inputs))
        self._kept += inputs + outputs
        if name == "lift_fresh" and not self._blank:  # a literal, or a result from NumPy
            self._from_outside(self._stack[-1], inputs)
        self._known.update(map(_storage, outputs))
        if not outputs:
            return
        operand = _quantised(name, arguments) or self._handed_on(name, inputs)
        for tensor in outputs:
            self._operands[id(tensor)] = operand or _by_type(tensor)
        if not (sources := self._depends(inputs)):
            return
        self._dependent.update(map(_storage, outputs))
        category = self._count(name, arguments, outputs[0])
        reads, writes = (tuple(map(self._buffer, found)) for found in (sources, outputs))
        self.trace.steps.append(Step(self._stack[-1], category, reads, writes))

    def _depends(self, tensors: list[Tensor]) -> list[Tensor]:
        """Those that depend on the input."""
        return [tensor for tensor in tensors if _storage(tensor) in self._dependent]

    def _from_outside(self, layer: str, tensors: list[Tensor]) -> None:
        """Name the layer if no operator has made these, and take them for dependent."""
        strangers = {_storage(tensor) for tensor in tensors} - self._known
        if strangers and not self._counting_itself:
            self.trace.tally(layer).unknown[OUTSIDE] += 1
        self._known |= strangers
        self._dependent |= strangers

    def finish(self, result: Any) -> None:
        """Hold the result to the end; one without a trace of the input came from outside."""
        outputs = _tensors(result)
        if outputs and not self._depends(outputs):
            self.trace.tally("").unknown[OUTSIDE] += 1
        self.trace.steps.append(Step("", "move", tuple(map(self._buffer, outputs)), ()))

    def _count(self, name: str, arguments: dict[str, Any], output: Tensor) -> str:
        """Add one operator to the layer's tally; return its category."""
        tally = Tally() if self._counting_itself else self.trace.tally(self._stack[-1])
        if (found := find(name, arguments, output)) is not None:
            for one in found:
                operands = self._operand(one.inputs), self._operand(one.weights)
                tally.products.append(product(one, *operands, output))
            if _has_bias(name, arguments):
                tally.other["bias"] += output.numel()
            return "product"
        if name in CHEAP:
            category, cost = CHEAP[name]
            tally.other[category] += cost(list(arguments.values()), output)
            return category
        if name in MOVES:
            return "move"
        tally.unknown[name] += 1
        return "unknown"

    def _operand(self, tensor: Tensor) -> Operand:
        return self._operands.get(id(tensor)) or _by_type(tensor)

    def _handed_on(self, name: str, inputs: list[Tensor]) -> Operand | None:
        return self._operand(inputs[0]) if name in MOVES and inputs else None

    def _buffer(self, tensor: Tensor) -> Buffer:
        storage = tensor.untyped_storage()
        elements = storage.nbytes() // max(1, tensor.element_size())
        return Buffer(_storage(tensor), elements, self._operand(tensor).bits)


def trace(model: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    """Run ``model(*inputs)`` as it is, on the inputs' device, and write down what happens."""
    recorder = Recorder(inputs)
    device = inputs[0].device if inputs else torch.device("cpu")
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(device)  # what the network makes on the way lies there too
        stack.enter_context(recorder.inside(model))
        stack.enter_context(recorder)
        result = model(*inputs)
    recorder.finish(result)
    recorder.trace.unused = recorder.unused(model)
    return recorder.trace


def _named(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, in its order, defaults filled in."""
    named = {}
    for position, argument in enumerate(function._schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        else:
            named[argument.name] = kwargs.get(argument.name, argument.default_value)
    return named


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _by_type(tensor: Tensor) -> Operand:
    number = "integer" if tensor.dtype in INTEGERS else "float"
    return Operand(number, 1 if tensor.dtype == torch.bool else 8 * tensor.element_size())


def _quantised(name: str, arguments: dict[str, Any]) -> Operand | None:
    """What a quantiser makes of numbers."""
    if name in ("shift_quantize", "shift_power"):
        kind = "shift" if name == "shift_quantize" else "shift-ps"
        return Operand("shift", shift_bits(arguments["smallest"], kind))
    if name == "fixed_point":
        return Operand("fixed", arguments["fraction_bits"] + arguments["integer_bits"])
    return Operand("binary", 1) if name in ("binary_sign", "binary_weight") else None


def _has_bias(name: str, arguments: dict[str, Any]) -> bool:
    if name in ("addmm", "_addmm_activation", "baddbmm", "addbmm", "addmv"):
        return True
    return arguments.get("bias") is not None
