"""Shapes of the commonest results on the "meta" device, worked out here.

torch's own rules for these operators load its compiler, which takes two seconds the first time, and
then half of the time of a count. For all other operators torch's rules are asked.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Arguments = tuple[Any, ...]


def blank_result(name: str, args: Arguments, *, in_place: bool) -> Any:
    """The operator's result without numbers; ``None`` where torch is to be asked.

    Args:
        name: without namespace and trailing underscore.
        args: positional arguments.
        in_place: the result is the first argument itself.
    """
    rule = RULES.get(name)
    if rule is None or not args or not isinstance(args[0], Tensor) or not args[0].is_meta:
        return None
    return args[0] if in_place else rule(args)


def _alike(args: Arguments) -> Tensor:
    return torch.empty_like(args[0])


def _norm(args: Arguments) -> tuple[Tensor, ...]:
    """The normalised input, and statistics that nobody reads in inference."""
    return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)


def _broadcast(args: Arguments) -> Tensor:
    first, second = args[:2]
    other = second.shape if isinstance(second, Tensor) else ()
    shape = torch.broadcast_shapes(first.shape, other)
    return first.new_empty(shape, dtype=torch.result_type(first, second))


def _addmm(args: Arguments) -> Tensor | None:
    _, first, second = args[:3]
    fits = first.shape[1] == second.shape[0]
    return first.new_empty(first.shape[0], second.shape[1]) if fits else None


def _mean(args: Arguments) -> Tensor | None:
    input, dims, keep = (*args, None, False)[:3]
    if not isinstance(dims, (list, tuple)) or not dims:
        return None
    gone = {dim % input.dim() for dim in dims}
    sizes = [1 if dim in gone else size for dim, size in enumerate(input.shape)]
    kept = [size for dim, size in enumerate(sizes) if keep or dim not in gone]
    return input.new_empty(kept)


RULES: dict[str, Callable[[Arguments], Any]] = {
    **dict.fromkeys(("native_batch_norm", "native_layer_norm", "native_group_norm"), _norm),
    **dict.fromkeys(
        (
            "relu", "hardtanh", "sigmoid", "tanh", "gelu", "silu", "hardswish", "hardsigmoid",
            "elu", "leaky_relu", "mish", "_softmax", "_safe_softmax",
        ),
        _alike,
    ),
    **dict.fromkeys(("add", "sub", "mul"), _broadcast),
    "addmm": _addmm,
    "mean": _mean,
}  # fmt: skip
