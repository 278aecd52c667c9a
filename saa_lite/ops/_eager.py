"""Whether a call is plain eager torch, or something watches, traces or transforms it.

Operators written in Python cost the dispatcher up to 0.2 ms a call, as long as a small layer takes.
Plain calls can go to the kernels directly. What must not be bypassed: ``torch.compile`` and export,
``torch.func`` transforms, dispatch modes (fake tensors, operation counters), ``torch.jit.trace``
and tensor subclasses. Torch has no public question for these; where a version
lacks one of the private ones below, every call goes through the dispatcher.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

PLAIN = (Tensor, Parameter)


def _questions() -> tuple[Callable[[], Any], ...] | None:
    """Each answers with something false in plain eager mode."""
    try:
        found = (
            torch._C._len_torch_dispatch_stack,
            torch._C._functorch.peek_interpreter_stack,
            torch._C._get_tracing_state,
        )
    except AttributeError:
        return None
    return found


_QUESTIONS = _questions()


def is_plain(input: Tensor, weight: Tensor) -> bool:
    """Whether a call with these tensors may go to the kernels directly."""
    return (
        not torch.compiler.is_compiling()
        and _QUESTIONS is not None
        and type(input) in PLAIN
        and type(weight) in PLAIN
        and input.device.type in ("cpu", "cuda")
        and not any(question() for question in _QUESTIONS)
    )


def refuse_forward_mode(operator: str) -> None:
    """NotImplementedError inside ``torch.func.jvp`` and ``jacfwd``.

    A registered operator without a rule for forward mode has derivative 0 there, silently.
    """
    if torch.compiler.is_compiling():
        return
    functorch = getattr(torch._C, "_functorch", None)
    stack = functorch.get_interpreter_stack() if functorch is not None else None
    if any(str(interpreter.key()) == "TransformType.Jvp" for interpreter in stack or ()):
        raise NotImplementedError(
            f"{operator}: forward-mode differentiation (torch.func.jvp, jacfwd) is not defined for "
            "its surrogate gradients; use torch.autograd.grad or backward()"
        )
