"""What every straight-through operator owes torch: registration, layouts, autocast, compilation."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops_samples import DTYPES, LAYOUTS, numbers, same
from torch import Tensor

from saa_lite.ops.binary import binary_sign, binary_weight
from saa_lite.ops.shift import fixed_point, shift_power, shift_quantize

OPS = torch.ops.saa_lite

OPERATORS: dict[str, tuple[Any, Callable[[Tensor], tuple[Any, ...]]]] = {
    "shift_quantize": (OPS.shift_quantize, lambda t: (t, -15)),
    "shift_power": (OPS.shift_power, lambda t: (t, t.detach().clone().requires_grad_(), -14)),
    "fixed_point": (OPS.fixed_point, lambda t: (t, 16, 16)),
    "binary_sign": (OPS.binary_sign, lambda t: (t,)),
    "binary_weight": (OPS.binary_weight, lambda t: (t,)),
}

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "shift_quantize": shift_quantize,
    "shift_power": lambda t: shift_power(t, t * 2),
    "fixed_point": fixed_point,
    "binary_sign": binary_sign,
    "binary_weight": binary_weight,
}


# opcheck itself reads .grad of the copies it makes of the inputs
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "empty"])
def test_opcheck(name: str, dtype: torch.dtype, layout: str) -> None:
    shape = (0, 3, 3, 3) if layout == "empty" else (2, 3, 3, 5)
    t = LAYOUTS["contiguous" if layout == "empty" else layout](numbers(*shape, dtype=dtype))
    operator, arguments = OPERATORS[name]
    torch.library.opcheck(operator, arguments(t.requires_grad_()))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_changes_nothing(name: str, dtype: torch.dtype, layout: str) -> None:
    plain = numbers(4, 3, 3, 5, dtype=dtype).requires_grad_()
    moved = LAYOUTS[layout](plain.detach()).requires_grad_()
    a, b = FUNCTIONS[name](plain), FUNCTIONS[name](moved)
    same(b, a)
    assert b.dtype == dtype
    assert b.stride() == moved.abs().stride()
    above = numbers(4, 3, 3, 5, dtype=dtype, seed=1)
    a.backward(above)
    b.backward(above)
    assert plain.grad is not None
    same(moved.grad, plain.grad)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_input_is_left_alone(name: str) -> None:
    x = numbers(4, 3)
    before = x.clone()
    assert FUNCTIONS[name](x).data_ptr() != x.data_ptr()
    same(x, before)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_keeps_dtype_and_bits(name: str) -> None:
    x = numbers(3, 4)
    expected = FUNCTIONS[name](x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same(FUNCTIONS[name](x), expected)


ODD_SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (3, 0, 2), (0, 3), (2, 1)]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in FUNCTIONS
        for shape in ODD_SHAPES
        if name != "binary_weight" or len(shape) > 1  # it refuses these: test_ops_binary.py
    ],
)
def test_odd_shapes(name: str, shape: tuple[int, ...]) -> None:
    x = torch.full(shape, -0.3, requires_grad=True)
    result = FUNCTIONS[name](x)
    result.sum().backward()
    assert result.shape == shape
    assert x.grad is not None
    assert x.grad.shape == shape


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiles_as_one_graph(name: str, backend: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend=backend)
    x, y = (numbers(4, 5).requires_grad_() for _ in range(2))
    a, b = FUNCTIONS[name](x), compiled(y)
    same(b, a)
    a.square().sum().backward()
    b.square().sum().backward()
    assert x.grad is not None
    same(y.grad, x.grad)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_gives_the_values_of_the_cpu(name: str, dtype: torch.dtype) -> None:
    here = numbers(500, 4, dtype=dtype)
    here[:2, 0] = torch.tensor([math.nan, math.inf])
    there = here.cuda().requires_grad_()
    here.requires_grad_()
    a, b = FUNCTIONS[name](here), FUNCTIONS[name](there)
    a.sum().backward()
    b.sum().backward()
    # only the mean of binary_weight adds in another order
    torch.testing.assert_close(b.cpu(), a, equal_nan=True)
    assert here.grad is not None
    assert there.grad is not None
    torch.testing.assert_close(there.grad.cpu(), here.grad, equal_nan=True)
