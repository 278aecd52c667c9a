"""Multiplications that no exchange of layers reaches: with parameters that are no layer's.

Operators are exchanged, and weights quantised, in layers. A network may also multiply with
parameters of its own (``F.conv2d(x, self.weight)``, ``x @ self.matrices[0]``, a layer of another
library, the table of an embedding as a classifier), or hold layers where torch does not look for
them, as in a plain list. Neither changes; the first shows in a pass, the second in the attributes.

What counts as a factor is what depends on such parameters alone, so ``self.weight.T`` and a weight
that is standardised first do, and the attention of queries and keys, which depend on the input,
does not.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from saa_lite.nn.reads import is_template
from saa_lite.nn.structure import hidden_modules, listed, multiplies, unregistered
from saa_lite.nn.whole import Whole
from saa_lite.nn.wrappers import copy_of

PRODUCTS = {
    "linear", "bilinear", "matmul", "mm", "bmm", "mv", "dot", "inner", "tensordot", "vecdot",
}  # fmt: skip
WITH_ADDEND = {"addmm", "addbmm", "baddbmm", "addmv"}  # which comes before the factors
BY_NAME = {"einsum", "multi_dot", "chain_matmul"}  # any number of factors
SCALING = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)
CONSTANTS = {"arange", "eye", "tensor"}  # what makes something of no tensor
OWN = (
    "the network multiplies with parameters that belong to no nn.Conv2d or nn.Linear, and goes on "
    "doing so: {}"
)
HIDDEN = (
    "layers that torch does not see stay as they are: {}; put them into an nn.ModuleList (or "
    "nn.ModuleDict), without which no optimiser, .to() or state_dict() reaches them either"
)


class OwnProducts(TorchFunctionMode):
    """Inside, products of something with a parameter that is no layer's are noted.

    Attributes:
        found: names of such parameters.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.own = own_parameters(network)
        self.found: set[str] = set()
        # What depends on own parameters, buffers and constants alone → those parameters. The
        # tensors are kept, too: an id is only theirs as long as they live.
        self.fixed: dict[int, tuple[Tensor, set[str]]] = {
            id(buffer): (buffer, set()) for buffer in network.buffers()
        }
        for name, parameter in self.own.items():
            self.fixed[id(parameter)] = parameter, {name}

    def sentences(self, output: Any) -> Iterator[str]:
        """What to say of a converted network after a pass."""
        if self.found:
            yield OWN.format(listed([name for name in self.own if name in self.found], None))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operation = getattr(func, "__name__", "").partition(".")[0]
        given = [*args, *(kwargs or {}).values()]
        result = func(*args, **(kwargs or {}))
        known = [self.fixed.get(id(tensor)) for tensor in _tensors(given)]
        names = {name for entry in known if entry is not None for name in entry[1]}
        if _is_fixed(operation, known):
            for tensor in _tensors([result]):
                self.fixed[id(tensor)] = tensor, names
        else:
            if names:
                self._note(operation, given)
            changed = args[:1] if operation == "__setitem__" else ()
            for tensor in _tensors([result, *changed]):  # in place
                self.fixed.pop(id(tensor), None)
        return result

    def _note(self, operation: str, given: list[Any]) -> None:
        for tensor in _tensors(given[_factors(operation)]):
            _, names = self.fixed.get(id(tensor), (None, ()))
            self.found.update(names)


def _is_fixed(operation: str, known: list[Any]) -> bool:
    """Whether the result depends on nothing that a pass brings.

    New memory may be filled past torch's functions, by a kernel of another library.
    """
    if not known:
        return operation in CONSTANTS
    return None not in known and not is_template(operation)


def _factors(operation: str) -> slice:
    """Where the factors of an operation are among its arguments."""
    operation = operation.removeprefix("linalg_")
    if operation in WITH_ADDEND:
        return slice(1, 3)
    if operation in BY_NAME:
        return slice(None)
    # Convolutions of torch and of other libraries, such as deform_conv2d of torchvision.
    return slice(2) if operation in PRODUCTS or "conv" in operation else slice(0)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def own_products(network: nn.Module, inputs: tuple[Any, ...]) -> list[str]:
    """What to say of a network after a pass over ``inputs``, in evaluation mode on a copy."""
    copied = copy_of(network, "convert").eval()
    with torch.no_grad(), OwnProducts(copied) as products:
        copied(*inputs)
    return list(products.sentences(None))


def own_parameters(network: nn.Module) -> dict[str, Tensor]:
    """Name → parameter that no layer holds which multiplies, in any network or replica of one.

    Those that only scale are left out.
    """
    parts = list(network.named_modules())
    for hidden, module in hidden_modules(network).items():
        parts += module.named_modules(prefix=hidden)
    layers = [part for _, part in parts if multiplies(part) or isinstance(part, Whole)]
    theirs = {id(parameter) for layer in layers for parameter in layer.parameters()}
    found: dict[str, Tensor] = {}
    for name, part in parts:
        for key, parameter in _held(part):
            if id(parameter) not in theirs and not isinstance(part, SCALING):
                found[f"{name}.{key}" if name else key] = parameter
    return found


def _held(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((key, p) for key, p in part._parameters.items() if p is not None)
    yield from getattr(part, "_former_parameters", {}).items()  # of a replica
    for key, value in unregistered(part):
        if isinstance(value, nn.Parameter):
            yield key, value


def hidden_sentences(network: nn.Module) -> list[str]:
    """What to say of layers that torch does not see, before anything runs."""
    classes: dict[str, dict[str, None]] = {}
    for name, module in hidden_modules(network).items():
        for part in module.modules():
            if multiplies(part):
                attribute = classes.setdefault(name.partition("[")[0], {})
                attribute[type(part).__name__] = None
    names = [f"{name!r} ({', '.join(kinds)})" for name, kinds in classes.items()]
    return [HIDDEN.format(", ".join(names))] if names else []
