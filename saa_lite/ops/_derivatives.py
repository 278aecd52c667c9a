"""Derivatives of custom operators and functions, for every way in which torch differentiates.

``register_autograd`` serves ``backward()``, compiled and exported graphs. The transforms of
``torch.func`` cannot use it, and forward mode takes the derivative for 0, without a word. Torch's
way for both is an ``autograd.Function`` with ``setup_context`` and ``jvp``; but that costs more in
each call, and the compiler cannot trace it. So everything here has both, and a call takes the
second only where something transforms it. Straight-through operators have a third for plain eager
calls, past the dispatcher, which takes longer than a small layer's weights do.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

# Plain eager calls go past the dispatcher, which takes up to 0.2 ms. Torch has no public question
# for tracing, transforms and dispatch modes; where it lacks one of these, no call is plain.
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


def is_transformed() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is at work."""
    if _QUESTIONS is None:
        return True
    in_transform, in_dual_level = _QUESTIONS[1], _QUESTIONS[3]
    return bool(in_transform() or in_dual_level())


# Constant in a graph, which torch compiles anew where it changes. torch.compiler's decorators say
# the same, but import the whole compiler, which took a third of what a process does to begin.
is_transformed.__dict__["_dynamo_marked_constant"] = True  # torch.compiler.assume_constant_result
_not_traced = getattr(torch, "_disable_dynamo", torch.compiler.disable)

Rule = Callable[..., Any]


def transformable(
    plain: Callable[..., Tensor], *, setup_context: Rule, backward: Rule, jvp: Rule
) -> Callable[..., Tensor]:
    """``plain``, but for calls that are transformed: these go by the rules given.

    Args:
        plain: a registered operator with a backward pass and a rule for ``torch.vmap``.
        setup_context, backward, jvp: as in ``torch.autograd.Function``, of the same positional
            arguments, in operations that ``torch.vmap`` knows.
    """
    rules = {"forward": plain, "setup_context": setup_context, "backward": backward, "jvp": jvp}
    members = {name: staticmethod(rule) for name, rule in rules.items()}
    function: Any = type(
        "Transformed", (torch.autograd.Function,), {**members, "generate_vmap_rule": True}
    )

    @_not_traced
    def transformed(*args: Any) -> Tensor:
        found: Tensor = function.apply(*args)
        return found

    def call(*args: Any) -> Tensor:
        return transformed(*args) if is_transformed() else plain(*args)

    return call


def straight_through(
    name: str,
    compute: Callable[..., Tensor],
    rule: Rule,
    setup_context: Rule | None = None,
    vmap: Rule | None = None,
) -> Callable[..., Tensor]:
    """A registered operator with derivatives that are one factor per element.

    Forward and reverse mode multiply by the same factors, hence one rule.

    Args:
        name: of the operator; its result is like its first argument.
        compute: what it does.
        rule: ``(ctx, numbers)`` → for each argument of the operator, numbers times its factors;
            None for arguments that are no tensors.
        setup_context: keeps what the rule needs, see :func:`save`.
        vmap: as for ``register_vmap``; default: of an operator that treats elements alike.
    """

    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        given = [(i, tangent) for i, tangent in enumerate(tangents) if tangent is not None]
        first, *others = (rule(ctx, tangent)[i] for i, tangent in given)
        # a view, as torch takes no input's tangent for the output's
        return sum(others, start=first.view_as(first))

    def elementwise(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return operator(*in_front(info, in_dims, args)), 0

    remember = setup_context or nothing
    operator = torch.library.custom_op(f"saa_lite::{name}", compute, mutates_args=())
    operator.register_fake(lambda first, *_: torch.empty_like(first))
    operator.register_autograd(rule, setup_context=remember)
    operator.register_vmap(vmap or elementwise)
    registered = transformable(operator, setup_context=remember, backward=rule, jvp=jvp)

    def forward(ctx: Any, *args: Any) -> Tensor:
        """Context and computation in one: torch looks up signatures of forward without ctx."""
        output = compute(*args)
        remember(ctx, args, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(rule)}
    eager: Any = type("Eager", (torch.autograd.Function,), members)

    def call(*args: Any) -> Tensor:
        plain = is_plain(*(arg for arg in args if isinstance(arg, Tensor)))
        return eager.apply(*args) if plain else registered(*args)

    return call


def save(ctx: Any, *tensors: Tensor) -> None:
    """Keep tensors for both modes."""
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def in_front(info: Any, in_dims: tuple[int | None, ...], args: tuple[Any, ...]) -> list[Any]:
    """``args`` with the dimension that vmap hides in front of every tensor."""

    def moved(arg: Any, dim: int | None) -> Any:
        if not isinstance(arg, Tensor):
            return arg
        return arg.expand(info.batch_size, *arg.shape) if dim is None else arg.movedim(dim, 0)

    return [moved(arg, dim) for arg, dim in zip(args, in_dims, strict=True)]


def nothing(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """The derivatives need nothing kept."""
