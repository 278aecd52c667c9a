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
from torch.autograd import forward_ad
from torch.nn import Parameter

PLAIN = (Tensor, Parameter)


def _questions() -> tuple[Callable[[], Any], ...] | None:
    """Each answers with something false in plain eager mode."""
    try:
        found = (
            torch._C._len_torch_dispatch_stack,
            torch._C._functorch.peek_interpreter_stack,
            torch._C._get_tracing_state,
            lambda: forward_ad._current_level >= 0,
        )
        for question in found:
            question()
    except AttributeError:
        return None
    return found


_QUESTIONS = _questions()


def is_plain(*tensors: Tensor) -> bool:
    """Whether a call with these tensors may go to the kernels directly."""
    if torch.compiler.is_compiling() or _QUESTIONS is None:
        return False
    for tensor in tensors:  # loops, as every call of a layer comes here: generators take longer
        if type(tensor) not in PLAIN:
            return False
    for question in _QUESTIONS:
        if question():
            return False
    return tensors[0].device.type in ("cpu", "cuda")


@torch.compiler.assume_constant_result  # in a graph, which torch compiles anew where it changes
def is_transformed() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is at work."""
    if _QUESTIONS is None:
        return True
    in_transform, in_dual_level = _QUESTIONS[1], _QUESTIONS[3]
    return bool(in_transform() or in_dual_level())
