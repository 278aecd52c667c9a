"""Which adder layers no normalisation follows.

The output of an adder layer is never positive and its mean grows with the number of taps, so a
network without normalisation behind its adder layers stays at chance (users' reports on the
official code). The search is a heuristic in two stages: the order in which modules were defined
clears most networks at no cost; layers still under suspicion are looked up in the ``torch.fx``
graph, if the network can be traced.
"""

import copy
import warnings
from typing import Any

from torch import fx, nn

from saa_lite.nn.adder import AdderConv2d, AdderLinear
from saa_lite.nn.plumbing import OptionsLayer

ADDERS = (AdderConv2d, AdderLinear)
# A rectifier straight behind an adder layer passes nothing: its input is never positive.
RECTIFIERS = ("relu", "relu_", "relu6", "relu6_")


def unnormalised_adders(module: nn.Module) -> list[str]:
    """Names of the adder layers whose output reaches the next weights without normalisation."""
    suspects = _by_definition_order(module)
    return _by_graph(module, suspects) if suspects else []


def _is_norm(name: str) -> bool:
    return "norm" in name.lower()


def _by_definition_order(module: nn.Module) -> list[str]:
    """Adder layers that were defined with no normalisation before the next layer with weights."""
    suspects: list[str] = []
    pending = None
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            suspects += [pending] if pending is not None else []
            pending = name if isinstance(part, ADDERS) else None
        elif _is_norm(type(part).__name__) and not any(part.children()):
            pending = None
    return suspects + ([pending] if pending is not None else [])


class _LayerTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OptionsLayer) or super().is_leaf_module(m, module_qualified_name)


def _by_graph(module: nn.Module, suspects: list[str]) -> list[str]:
    """The suspects that the traced graph does not clear; all of them when there is no graph."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Tracing runs the user's forward, which may store what it sees: hence on a copy.
            graph = _LayerTracer().trace(copy.deepcopy(module))
    except Exception:  # a forward may do anything with its input; most control flow cannot trace
        return suspects
    parts = dict(module.named_modules())
    calls = {node.target: node for node in graph.nodes if node.op == "call_module"}
    return [name for name in suspects if name not in calls or not _cleared(calls[name], parts)]


def _cleared(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    """Whether every path from ``node`` meets a normalisation before weights, ReLU or the end."""
    waiting, seen = list(node.users), set()
    while waiting:
        user = waiting.pop()
        name = _operation(user, parts)
        if user in seen or _is_norm(name):
            continue
        seen.add(user)
        weighted = user.op == "call_module" and isinstance(
            parts[str(user.target)], nn.Conv2d | nn.Linear
        )
        if weighted or user.op == "output" or name in RECTIFIERS:
            return False
        waiting += list(user.users)
    return True


def _operation(node: fx.Node, parts: dict[str, nn.Module]) -> str:
    """Lower-case name of the module class, function or method a node calls."""
    target: Any = node.target
    if node.op == "call_module":
        return type(parts[target]).__name__.lower()
    return str(getattr(target, "__name__", target)).lower()
