"""Layers in places where they cannot learn.

**Adder layers without normalisation behind them.** Their output is never positive and its mean
grows with the number of taps; a network that feeds it on as it is stays at chance (users' reports
on the official code). Straight into a ReLU, nothing passes at all.

**Binary layers behind a ReLU.** The sign of a number that is never negative is always +1, so the
layer sees a constant. BinaryNet's order is batch norm → Hardtanh → binary layer.

Both are looked up in the ``torch.fx`` graph. Where a network cannot be traced, adder layers are
judged by the order in which modules were defined, binary layers not at all. That order also clears
most networks of the first fault without a trace.
"""

import copy
import warnings
from typing import Any

from torch import fx, nn

from saa_lite.nn.adder import AdderConv2d, AdderLinear
from saa_lite.nn.binary import BinaryLayer
from saa_lite.nn.plumbing import OptionsLayer

ADDERS = (AdderConv2d, AdderLinear)
WEIGHTED = (nn.Conv2d, nn.Linear)
# Lower-case names of modules, functions and methods, as ``_operation`` gives them.
RECTIFIERS = {"relu", "relu_", "relu6", "relu6_", "sigmoid", "softplus"}
SIGN_KEEPING = {
    "dropout",
    "dropout2d",
    "identity",
    "flatten",
    "view",
    "reshape",
    "add",
    "iadd",
    "cat",
}


def unnormalised_adders(module: nn.Module) -> list[str]:
    """Names of the adder layers whose output reaches the next weights without normalisation."""
    suspects = _by_definition_order(module)
    graph = trace(module) if suspects else None
    if graph is None:
        return suspects
    parts = dict(module.named_modules())
    calls = {node.target: node for node in graph.nodes if node.op == "call_module"}
    return [name for name in suspects if name not in calls or not _cleared(calls[name], parts)]


def rectified_binaries(module: nn.Module) -> list[str]:
    """Names of the binary layers whose input is never negative."""
    parts = dict(module.named_modules())
    graph = trace(module) if any(isinstance(p, BinaryLayer) for p in parts.values()) else None
    nodes = graph.nodes if graph is not None else ()
    binaries = [
        node
        for node in nodes
        if node.op == "call_module" and isinstance(parts[str(node.target)], BinaryLayer)
    ]
    blind = [
        str(n.target) for n in binaries if all(_rectified(i, parts) for i in n.all_input_nodes)
    ]
    return list(dict.fromkeys(blind))


def _by_definition_order(module: nn.Module) -> list[str]:
    """Adder layers that were defined with no normalisation before the next layer with weights."""
    suspects: list[str] = []
    pending = None
    for name, part in module.named_modules():
        if isinstance(part, WEIGHTED):
            suspects += [pending] if pending is not None else []
            pending = name if isinstance(part, ADDERS) else None
        elif _is_norm(type(part).__name__) and not any(part.children()):
            pending = None
    return suspects + ([pending] if pending is not None else [])


class _LayerTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OptionsLayer) or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module, training: bool | None = None) -> fx.Graph | None:
    """The graph of ``module``, or None where its forward cannot be traced.

    Args:
        training: the mode that is traced; by default the one the module is in.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Tracing runs the user's forward, which may store what it sees: hence on a copy.
            copied = copy.deepcopy(module)
            return _LayerTracer().trace(copied if training is None else copied.train(training))
    except Exception:  # a forward may do anything with its input; most control flow cannot trace
        return None


def _cleared(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    """Whether every path from ``node`` meets a normalisation before weights, ReLU or the end."""
    waiting, seen = list(node.users), set()
    while waiting:
        user = waiting.pop()
        name = _operation(user, parts)
        if user in seen or _is_norm(name):
            continue
        seen.add(user)
        weighted = user.op == "call_module" and isinstance(parts[str(user.target)], WEIGHTED)
        if weighted or user.op == "output" or name in RECTIFIERS:
            return False
        waiting += list(user.users)
    return True


def _rectified(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    """Whether the value of ``node`` is never negative, as far as names tell."""
    name = _operation(node, parts)
    if name in RECTIFIERS:
        return True
    keeps_sign = name in SIGN_KEEPING or "pool" in name
    return keeps_sign and all(_rectified(source, parts) for source in node.all_input_nodes)


def _is_norm(name: str) -> bool:
    return "norm" in name.lower()


def _operation(node: fx.Node, parts: dict[str, nn.Module]) -> str:
    """Lower-case name of the module class, function or method a node calls."""
    target: Any = node.target
    if node.op == "call_module":
        return type(parts[target]).__name__.lower()
    return str(getattr(target, "__name__", target)).lower()
