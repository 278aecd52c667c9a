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
from saa_lite.nn.copying import copy_of
from saa_lite.nn.placement import trace
from saa_lite.nn.wrappers import named_inside


class Ends(NamedTuple):
    """Names of the layers at either end of a network."""

    first: set[str]
    last: set[str]


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
    found = _in_graph(network, names)
    return Ends(found.first or set(names[:1]), found.last or set(names[-1:]))


def _in_graph(network: nn.Module, names: list[str]) -> Ends:
    """Both are empty where the network cannot be traced."""
    inner, prefix = named_inside(network)
    graph = trace(inner)
    # A node may call a module of torch that is not traced, with several layers inside.
    inside: dict[Any, list[str]] = {}
    for node in graph.nodes if graph is not None else ():
        if node.op == "call_module":
            called = prefix + str(node.target)
            held = [n for n in names if n == called or n.startswith(f"{called}.")]
            if held:
                inside[node] = held
    calls = [(node, node.all_input_nodes) for node in inside]
    outputs = [node for node in graph.nodes if node.op == "output"] if graph is not None else []
    first, last = _flow(calls, outputs, lambda node: node.all_input_nodes)
    return Ends({inside[node][0] for node in first}, {inside[node][-1] for node in last})


def _in_pass(network: nn.Module, names: list[str], example: Any) -> Ends:
    """By autograd's graph of a pass of a copy, in evaluation mode."""
    copied = copy_of(network, "convert").eval().requires_grad_(True)
    made: dict[Any, str] = {}
    calls: list[tuple[Any, list[Any]]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: Any, output: Tensor) -> None:
            made[output.grad_fn] = name
            calls.append((output.grad_fn, list(_nodes(args))))

        return hook

    for name in names:
        copied.get_submodule(name).register_forward_hook(note(name))
    with torch.enable_grad():
        outputs = copied(*(example if isinstance(example, tuple) else (example,)))
    first, last = _flow(calls, _nodes(outputs), lambda node: (n for n, _ in node.next_functions))
    if not first or not last:
        raise UsageError(
            "a pass over the example must call the layers that are to be converted, with gradients "
            "on; this one called none, or its output does not depend on them"
        )
    return Ends({made[node] for node in first}, {made[node] for node in last})


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
