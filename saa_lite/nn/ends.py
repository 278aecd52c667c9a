"""Which layers a network begins and ends with.

The papers keep multiplication in the first and in the last layer. The order in which layers are
*defined* does not tell which these are: a head may be defined before the body, and there may be
several. What tells is where numbers flow: a first layer's input comes from no other layer, a last
layer's output reaches the network's without passing another one. Three sources, the first that
there is: a pass over an example, the ``torch.fx`` graph, the order of definition.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.nn.placement import trace
from saa_lite.nn.structure import listed
from saa_lite.nn.wrappers import copy_of, named_inside

PLAIN = (nn.Conv2d, nn.Linear)


class Ends(NamedTuple):
    """Names of the layers at either end of a network."""

    first: set[str]
    last: set[str]
    guessed: bool = False  # by the order of definition


OTHERWISE = (
    "the network begins and ends with other layers than by the order of definition, which "
    "convert() went by: {} no longer multiply; name them in keep=, or give an example="
)


def find_ends(network: nn.Module, names: list[str], example: Any = None) -> Ends:
    """The ends among the named layers.

    Args:
        names: in definition order.
        example: an input of the network, or a tuple of its positional inputs; None if there is
            none at hand.

    Raises:
        UsageError: a pass over the example calls none of the layers.
    """
    if example is not None:
        return _in_pass(network, names, example)
    return _in_graph(network, names) or Ends(set(names[:1]), set(names[-1:]), True)


def _in_graph(network: nn.Module, names: list[str]) -> Ends | None:
    """None where the network cannot be traced, or its graph calls no layer."""
    inner, prefix = named_inside(network)
    graph = trace(inner)
    # A node may call a module of torch that is not traced, with several layers inside.
    layers: dict[Any, list[str]] = {}
    for node in graph.nodes if graph is not None else ():
        if node.op == "call_module":
            called = prefix + str(node.target)
            held = [n for n in names if n == called or n.startswith(f"{called}.")]
            if held:
                layers[node] = held
    if graph is None or not layers:
        return None
    calls = [(node, node.all_input_nodes) for node in layers]
    outputs = [node for node in graph.nodes if node.op == "output"]
    first, last = _flow(calls, outputs, lambda node: node.all_input_nodes)
    if not last:
        return None
    return Ends({layers[node][0] for node in first}, {layers[node][-1] for node in last})


def _in_pass(network: nn.Module, names: list[str], example: Any) -> Ends:
    copied = copy_of(network, "convert").eval().requires_grad_(True)
    with torch.enable_grad(), PassEnds(copied, names) as found:
        outputs = copied(*(example if isinstance(example, tuple) else (example,)))
    ends = found.ends(outputs)
    if not ends.last:
        raise UsageError("a pass over the example must call the layers; this one called none")
    return ends


class PassEnds:
    """Inside, calls of the named layers are noted; autograd's graph tells what depends on what.

    Where there are no gradients, or none reach the output, the order of the calls has to do.

    Args:
        first, last: which of the ends were to multiply, for :meth:`sentences`.
    """

    def __init__(
        self, network: nn.Module, names: Iterable[str], first: bool = True, last: bool = True
    ) -> None:
        parts = dict(network.named_modules())
        self.layers = {name: parts[name] for name in names if name in parts}
        self.wanted = first, last
        self.made: list[tuple[Any, str]] = []
        self.given: list[list[Any]] = []
        self.handles: list[Any] = []

    def __enter__(self) -> "PassEnds":
        self.handles = [
            layer.register_forward_hook(self._hook(name)) for name, layer in self.layers.items()
        ]
        return self

    def __exit__(self, *args: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: Any, output: Tensor) -> None:
            self.made.append((output.grad_fn, name))
            self.given.append(list(_nodes(args)))

        return note

    def ends(self, outputs: Any) -> Ends:
        """Which of the layers are first and last, after the pass."""
        order = [name for _, name in self.made]
        by_order = Ends(set(order[:1]), set(order[-1:]))
        if any(node is None for node, _ in self.made):
            return by_order
        name_of = dict(self.made)
        calls = [(node, given) for (node, _), given in zip(self.made, self.given, strict=True)]
        first, last = _flow(
            calls, _nodes(outputs), lambda node: (parent for parent, _ in node.next_functions)
        )
        if not last:  # a class instead of logits, say
            return by_order
        return Ends({name_of[node] for node in first}, {name_of[node] for node in last})

    def sentences(self, output: Any) -> Iterator[str]:
        """Names the ends that do not multiply though they were to."""
        pairs = zip(self.ends(output)[:2], self.wanted, strict=True)
        found = {name for names, wanted in pairs if wanted for name in names}
        free = [n for n, layer in self.layers.items() if n in found and type(layer) not in PLAIN]
        if free:
            yield OTHERWISE.format(listed(free, None))


def _flow(
    calls: list[tuple[Any, list[Any]]], outputs: Iterable[Any], parents: Callable[[Any], Any]
) -> tuple[list[Any], list[Any]]:
    """Calls that depend on no other, and those on which the outputs depend directly.

    Args:
        calls: what a layer made, and what it was given, as nodes of a graph.
        parents: the nodes that a node is computed from.
    """
    made = {node for node, _ in calls}

    def reached(starts: Iterable[Any]) -> list[Any]:
        waiting, seen, found = list(starts), set(), []
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in made:
                found.append(node)
            else:
                waiting += parents(node)
        return found

    return [node for node, given in calls if not reached(given)], reached(outputs)


def _nodes(values: Any) -> Iterator[Any]:
    """Autograd's nodes of the tensors in a nest of tuples, lists and dicts."""
    if isinstance(values, Tensor):
        yield values.grad_fn
    elif isinstance(values, Mapping):
        yield from _nodes(tuple(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _nodes(value)
