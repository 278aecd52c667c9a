"""Shapes of the commonest results on the "meta" device, worked out here.

torch's own rules for these operators load its compiler, which takes two seconds the first time, and
then half of the time of a count. For all other operators torch's rules are asked.
"""

from collections.abc import Callable
from itertools import zip_longest
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
    first = args[0][0] if args and isinstance(args[0], list) and args[0] else next(iter(args), None)
    if rule is None or not isinstance(first, Tensor) or not first.is_meta:
        return None
    return first if in_place else rule(args)


def _alike(args: Arguments) -> Tensor:
    return args[0].new_empty(args[0].shape)


def _norm(args: Arguments) -> tuple[Tensor, ...]:
    """The normalised input, and statistics that nobody reads in inference."""
    return _alike(args), args[0].new_empty(0), args[0].new_empty(0)


def _broadcast(args: Arguments) -> Tensor | None:
    first, second = args[:2]
    other = second.shape if isinstance(second, Tensor) else ()
    pairs = list(zip_longest(reversed(first.shape), reversed(other), fillvalue=1))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return None
    shape = [b if a == 1 else a for a, b in reversed(pairs)]
    return first.new_empty(shape, dtype=torch.result_type(first, second))


def _quotient(args: Arguments) -> Tensor | None:
    """Of integers torch makes fractions, or not, as it is asked to."""
    return _broadcast(args) if args[0].is_floating_point() else None


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


def _convolution(args: Arguments) -> Tensor | None:
    input, weight, _, *window, transposed, _, groups = args
    fits = input.dim() == weight.dim() and input.shape[1] == weight.shape[1] * groups
    if transposed or not fits or input.dtype != weight.dtype:
        return None
    shape = zip(input.shape[2:], weight.shape[2:], *window, strict=True)
    sizes = [(n + 2 * pad - gap * (k - 1) - 1) // stride + 1 for n, k, stride, pad, gap in shape]
    return input.new_empty(input.shape[0], weight.shape[0], *sizes) if min(sizes) > 0 else None


def _cat(args: Arguments) -> Tensor | None:
    parts, dim = (*args, 0)[:2]
    dim %= max(1, parts[0].dim())
    rest = {(part.dtype, *part.shape[:dim], -1, *part.shape[dim + 1 :]) for part in parts}
    if len(rest) > 1 or not parts[0].dim():
        return None
    joined = sum(part.shape[dim] for part in parts)
    return parts[0].new_empty(*parts[0].shape[:dim], joined, *parts[0].shape[dim + 1 :])


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
    "cat": _cat,
    "convolution": _convolution,
    "div": _quotient,
    "mean": _mean,
}  # fmt: skip
