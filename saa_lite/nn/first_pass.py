"""What only a pass can tell about a converted network is told in the first one that its user makes.

Where a network cannot be traced, and no example is at hand, :func:`saa_lite.nn.convert` has to
assume how it uses its layers. Probes look at the first pass, and warn if it is otherwise.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import nn

from saa_lite.nn.wrappers import unwrapped


class Probe(Protocol):
    """A context around a pass."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *args: Any) -> None: ...

    def sentences(self, output: Any) -> Iterable[str]:
        """What to warn of, after the pass that gave ``output``."""


class FirstPass:
    """Hooks of a network that warn once, after its first pass, and then are gone.

    Args:
        makers: make a probe of the network; they are copied and stored with it.
    """

    def __init__(self, makers: Iterable[Callable[[nn.Module], Probe]]) -> None:
        self.makers = list(makers)
        self.network: nn.Module | None = None  # while it is in its first pass
        self.probes: list[Probe] = []

    def before(self, network: nn.Module, args: Any) -> None:
        if _is_recorded() or self.network is not None:
            return
        self.network, self.probes = network, [make(network) for make in self.makers]
        for probe in self.probes:
            probe.__enter__()

    def after(self, network: nn.Module, args: Any, output: Any) -> None:
        if _is_recorded() or self.network is not network:
            return
        probes, self.network, self.probes = self.probes, None, []
        for probe in reversed(probes):
            probe.__exit__(None, None, None)
        if output is None:
            return  # the pass ended in an error
        self._leave(network)
        for probe in probes:
            for sentence in probe.sentences(output):
                warnings.warn(sentence, UserWarning, stacklevel=2)

    def _leave(self, network: nn.Module) -> None:
        """Found by what they are: copies of a network have handles of the original's hooks."""
        for hooks in (network._forward_pre_hooks, network._forward_hooks):
            for key in [k for k, hook in hooks.items() if getattr(hook, "__self__", None) is self]:
                del hooks[key]
                network._forward_hooks_always_called.pop(key, None)


def _is_recorded() -> bool:
    """Whether torch records the pass: what is only done once must not become part of it."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def watch_first_pass(network: nn.Module, *makers: Callable[[nn.Module], Probe]) -> None:
    """Have the network inside all wrappers warn after its first pass of what the probes find."""
    inner, watch = unwrapped(network), FirstPass(makers)
    inner.register_forward_pre_hook(watch.before)
    inner.register_forward_hook(watch.after, always_call=True)
