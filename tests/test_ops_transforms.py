"""Operators under torch.func, in forward mode and within compiled code: the rules of backward()."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from adder_samples import KINDS, Case
from ops_samples import numbers, same
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, linearize, vmap

from saa_lite.ops import adder_conv2d, adder_linear, reference
from saa_lite.ops.binary import binary_sign, binary_weight
from saa_lite.ops.shift import fixed_point, shift_power, shift_quantize

# Torch's own forward mode still compiles some of its rules with torch.jit.script.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

OTHER = torch.linspace(-2.4, 2.4, 12, dtype=torch.float64).reshape(3, 4)  # learned signs


def power(x: Tensor) -> Tensor:
    """sgn(round(s))·2^round(p) for p = x and s = OTHER, written anew."""
    return OTHER.round().sign() * 2 ** x.clamp(-14, 0).round()


def filter_slopes(x: Tensor) -> Tensor:
    """1/n + α·1[|w| ≤ 1] (XNOR-Net, §3.1), filter by filter."""
    rows = [[1 / 4 + sum(map(abs, r)) / 4 * (abs(w) <= 1) for w in r] for r in x.tolist()]
    return torch.tensor(rows, dtype=x.dtype)


# operator, and what stands for its derivative, element by element
OPERATORS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "shift_quantize": (shift_quantize, torch.ones_like),
    "fixed_point": (fixed_point, torch.ones_like),
    "shift": (lambda x: shift_power(x, OTHER), lambda x: power(x) * math.log(2)),
    "sign": (lambda x: shift_power(OTHER, x), torch.ones_like),
    "binary_sign": (binary_sign, lambda x: (x.abs() <= 1).to(x)),
    "binary_weight": (binary_weight, filter_slopes),
}


def dual(function: Callable[[Tensor], Tensor], x: Tensor, along: Tensor) -> Tensor | None:
    """Forward mode without torch.func, of an input that backward() would also visit."""
    with forward_ad.dual_level():
        number = forward_ad.make_dual(x.clone().requires_grad_(), along)
        tangent: Tensor | None = forward_ad.unpack_dual(function(number)).tangent
        return tangent if tangent is None else tangent.detach()


FORWARD: dict[str, Callable[..., Any]] = {
    "jvp": lambda f, x, along: jvp(f, (x,), (along,))[1],
    "dual numbers": dual,
    "linearize": lambda f, x, along: linearize(f, x)[1](along),
    "jvp of compiled": lambda f, x, along: jvp(compiled(f), (x,), (along,))[1],
    "compiled jvp": lambda f, x, along: compiled(lambda a: jvp(f, (a,), (along,))[1])(x),
    "jacfwd": lambda f, x, along: (jacfwd(f)(x) * along).sum((-1, -2)),
    "jacrev": lambda f, x, along: (jacrev(f)(x) * along).sum((-1, -2)),
    "grad": lambda f, x, along: grad(lambda a: (f(a) * along).sum())(x),
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch._dynamo.reset()
    found: Callable[..., Any] = torch.compile(function, backend="eager")
    return found


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # linearize
@pytest.mark.parametrize("mode", FORWARD)
@pytest.mark.parametrize("name", OPERATORS)
def test_forward_and_reverse_mode_give_the_straight_through_derivative(
    name: str, mode: str
) -> None:
    operator, slopes = OPERATORS[name]
    x, along = (numbers(3, 4, dtype=torch.float64, seed=seed) for seed in (1, 2))
    torch.testing.assert_close(FORWARD[mode](operator, x, along), slopes(x) * along)


@pytest.mark.parametrize("name", OPERATORS)
def test_vmap_repeats(name: str) -> None:
    operator, slopes = OPERATORS[name]
    x = numbers(3, 2, 4, dtype=torch.float64, seed=1)  # copies along dimension 1
    copies = x.unbind(1)
    same(vmap(operator, in_dims=1)(x), torch.stack([operator(c) for c in copies]))
    expected = torch.stack([2 * operator(c) * slopes(c) for c in copies])
    squares = vmap(grad(lambda a: operator(a).square().sum()), in_dims=1)
    torch.testing.assert_close(squares(x), expected)
    assert not torch.equal(expected[0], expected[1])


def test_vmap_over_one_of_two_arguments() -> None:
    shifts = numbers(2, 3, 4, dtype=torch.float64, seed=1)
    expected = torch.stack([shift_power(s, OTHER) for s in shifts])
    same(vmap(shift_power, (0, None))(shifts, OTHER), expected)


def test_second_derivative_of_a_power() -> None:
    x = numbers(3, 4, dtype=torch.float64, seed=1)
    second = hessian(lambda a: shift_power(a, OTHER).sum())(x).reshape(12, 12)
    expected = (power(x) * math.log(2) ** 2).flatten().diag()
    torch.testing.assert_close(second, expected)
    assert expected.count_nonzero() > 4


CASES = [
    Case(3, 4, (6, 5), (3, 2), padding=(1, 0), batch=1),
    Case(2, 3, (5, 6), (2, 3), stride=(2, 1), dilation=(1, 2), groups=2),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kinds", KINDS, ids=str)
@pytest.mark.parametrize("dims", [(0, None), (None, 0), (1, 2)], ids=str)
def test_adders_under_vmap(case: Case, kinds: tuple[str, str], dims: tuple) -> None:
    """Outputs and both gradients of three copies, against the definitions for one at a time."""
    weight_kind, input_kind = kinds
    given = [
        t if dim is None else torch.stack([t, 0.5 * t, -2 * t], dim)
        for t, dim in zip(case.tensors(torch.float64), dims, strict=True)
    ]
    names = {"weight_gradient": weight_kind, "input_gradient": input_kind}

    def layer(x: Tensor, w: Tensor) -> Tensor:
        return adder_conv2d(x, w, *case.geometry, **names)

    both = vmap(grad(lambda x, w: layer(x, w).square().sum() / 2, (0, 1)), dims)
    outputs, gradients = vmap(layer, dims)(*given), both(*given)
    for i in range(3):
        x, w = (t if d is None else t.select(d, i) for t, d in zip(given, dims, strict=True))
        y = reference.adder_conv2d(x, w, *case.geometry)
        torch.testing.assert_close(outputs[i], y)
        dx = reference.adder_input_gradient(y, x, w, *case.geometry, input_kind)
        dw = reference.adder_weight_gradient(y, x, w, *case.geometry, weight_kind)
        torch.testing.assert_close((gradients[0][i], gradients[1][i]), (dx, dw))


def test_adder_jacobians_and_linear_layers() -> None:
    x, w = numbers(5, dtype=torch.float64), numbers(3, 5, dtype=torch.float64, seed=1)
    distance = w - x
    same(jacrev(adder_linear)(x, w), distance.clamp(-1, 1))
    expected = torch.stack([torch.diag_embed(-distance[:, k]) for k in range(5)], -1)
    torch.testing.assert_close(jacrev(adder_linear, 1)(x, w), expected)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: jvp(f, (x,), (x,)),
        lambda f, x: jacfwd(f)(x),
        lambda f, x: hessian(lambda a: f(a).sum())(x),
        lambda f, x: dual(f, x, x),
        lambda f, x: compiled(lambda a: jvp(f, (a,), (a,)))(x),
        lambda f, x: jvp(compiled(f), (x,), (x,)),
    ],
)
def test_adders_refuse_forward_mode(transform: Callable[..., Any]) -> None:
    """Torch would silently take the derivative of an operator without a rule for 0."""
    w = numbers(3, 5)
    with pytest.raises(NotImplementedError, match="forward-mode differentiation"):
        transform(lambda a: adder_linear(a, w), numbers(2, 5))


@pytest.mark.parametrize("which", [*product((0, 1), (0, 1))])
def test_adders_refuse_second_derivatives(which: tuple[int, int]) -> None:
    x, w = numbers(2, 5), numbers(3, 5)
    first, second = which

    def slope(*both: Tensor) -> Tensor:
        return grad(lambda *a: adder_linear(*a).sum(), first)(*both).sum()

    assert slope(x, w).isfinite()
    with pytest.raises(NotImplementedError, match="second derivatives are not defined"):
        grad(slope, second)(x, w)
