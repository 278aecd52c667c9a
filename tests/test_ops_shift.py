"""Shift weights and fixed-point activations, against exact arithmetic."""

import math
from collections.abc import Callable

import pytest
import shift_oracle as oracle
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops_samples import CALM, DTYPES, LAYOUTS, elementwise, numbers, same

from saa_lite.errors import UsageError
from saa_lite.ops.shift import (
    fixed_point,
    fixed_point_codes,
    shift_codes,
    shift_power,
    shift_quantize,
    smallest_shift,
)

NAN, INF = math.nan, math.inf

# --- DeepShift-Q ----------------------------------------------------------------------------------

Q_MAGNITUDES = {
    2: [0.5, 1.0],
    3: [0.125, 0.25, 0.5, 1.0],
    4: [2**-7, 2**-6, 2**-5, 2**-4, 0.125, 0.25, 0.5, 1.0],
    5: [2.0**-p for p in range(15, -1, -1)],
}


@pytest.mark.parametrize("bits", Q_MAGNITUDES)
def test_q_takes_exactly_the_values_of_its_bits(bits: int) -> None:
    weight = torch.cat([numbers(4000), torch.zeros(1)])
    values = set(shift_quantize(weight, bits).tolist())
    assert values == {0.0, *Q_MAGNITUDES[bits], *(-m for m in Q_MAGNITUDES[bits])}


def test_q_golden_values() -> None:
    weight = [0.0, 1.0, -1.0, 0.3, -0.3, 0.75, 0.7, 5.0, -5.0, 1e-9, -1e-9, 2**-15, INF, -INF, NAN]
    expected = [0.0, 1, -1, 0.25, -0.25, 1, 0.5, 1, -1, 2**-15, -(2**-15), 2**-15, 1, -1, NAN]
    same(shift_quantize(torch.tensor(weight)), torch.tensor(expected))
    assert shift_quantize(torch.tensor([1e-9, 0.09]), 3).tolist() == [0.125, 0.125]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0, -1, -7, -13])
def test_q_switches_at_root_two_and_nowhere_else(dtype: torch.dtype, p: int) -> None:
    nearest = torch.tensor(math.sqrt(0.5) * 2.0**p, dtype=dtype)
    around = torch.stack(
        [nearest.nextafter(torch.zeros_like(nearest)), nearest, nearest.nextafter(nearest * 2)]
    )
    result = shift_quantize(around)
    same(result, elementwise(lambda w: oracle.quantize(w, -15), around))
    assert result[0] == 2.0 ** (p - 1)
    assert result[2] == 2.0**p
    assert shift_quantize(torch.tensor([0.75 * 2.0**p], dtype=dtype)) == 2.0**p, "not at ¾"


@CALM
@given(
    st.lists(st.floats(width=32), max_size=20),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(2, 6),
)
def test_q_equals_exact_arithmetic(values: list[float], dtype: torch.dtype, bits: int) -> None:
    weight = torch.tensor(values, dtype=dtype)
    lowest = 1 - 2 ** (bits - 1)
    same(shift_quantize(weight, bits), elementwise(lambda w: oracle.quantize(w, lowest), weight))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_q_over_dtypes_and_layouts(dtype: torch.dtype, layout: str) -> None:
    weight = LAYOUTS[layout](numbers(4, 3, 3, 5, dtype=dtype))
    result = shift_quantize(weight)
    same(result, elementwise(lambda w: oracle.quantize(w, -15), weight))
    assert result.stride() == weight.abs().stride()


def test_q_gradient_is_the_identity_even_where_clamped() -> None:
    weight = torch.tensor([0.0, 1e-9, 0.3, 0.99, 7.0, -7.0, NAN, INF], requires_grad=True)
    above = torch.arange(8.0) - 3
    shift_quantize(weight).backward(above)
    same(weight.grad, above)


def test_detach_composition_would_lose_saturated_values() -> None:
    """Why the straight-through functions are custom operators."""
    weight = torch.tensor([3e8, -3e8, INF, -INF])
    exact = shift_quantize(weight)
    same(exact, torch.tensor([1.0, -1, 1, -1]))
    same(weight + (exact - weight), torch.tensor([0.0, 0, NAN, NAN]))


# --- DeepShift-PS ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "lowest"), [(2, 0), (3, -2), (4, -6), (5, -14)])
def test_ps_takes_exactly_the_values_of_its_bits(bits: int, lowest: int) -> None:
    shift = torch.linspace(-20, 3, 400).repeat(3)
    sign = torch.tensor([-0.9, 0.2, 1.7]).repeat_interleave(400)
    magnitudes = {2.0**p for p in range(lowest, 1)}
    values = set(shift_power(shift, sign, bits).tolist())
    assert values == {0.0, *magnitudes, *(-m for m in magnitudes)}


# shift, sign, value, dL/dshift for dL/dvalue = 1 (ln 2 left out); dL/dsign is 1 everywhere
PS_TABLE = [
    (0.0, 1.0, 1.0, 1.0),
    (-1.0, 0.6, 0.5, 0.5),
    (-1.0, -0.6, -0.5, -0.5),
    (-2.4, 3.0, 0.25, 0.25),
    (-2.5, 1.0, 0.25, 0.25),  # half to even: −2
    (-3.5, 1.0, 0.0625, 0.0625),  # half to even: −4
    (2.0, 1.0, 1.0, 1.0),  # clamped to 0, yet it learns
    (-99.0, -1.0, -(2**-14), -(2**-14)),  # clamped to −14
    (-1.0, 0.5, 0.0, 0.0),  # |s| ≤ ½ is 0
    (-1.0, -0.5, 0.0, 0.0),
    (-1.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("p", "s", "value", "slope"), PS_TABLE)
def test_ps_value_and_gradient_table(
    dtype: torch.dtype, p: float, s: float, value: float, slope: float
) -> None:
    shift = torch.full((2,), p, dtype=dtype, requires_grad=True)
    sign = torch.full((2,), s, dtype=dtype, requires_grad=True)
    result = shift_power(shift, sign)
    above = torch.tensor([1.0, -3.0], dtype=dtype)
    result.backward(above)
    assert result.tolist() == [value, value]
    assert shift.grad is not None
    torch.testing.assert_close(shift.grad, above * slope * math.log(2))
    same(sign.grad, above)


@CALM
@given(
    st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), max_size=20), st.integers(2, 6)
)
def test_ps_equals_exact_arithmetic(values: list[tuple[float, float]], bits: int) -> None:
    shift, sign = torch.tensor(values).reshape(-1, 2).unbind(1)
    before = shift.clone(), sign.clone()
    lowest = 2 - 2 ** (bits - 1)
    result = shift_power(shift, sign, bits)
    same(result, elementwise(lambda p, s: oracle.power(p, s, lowest), shift, sign))
    same(shift, before[0])
    same(sign, before[1])


def test_ps_gradient_of_one_parameter_alone() -> None:
    shift = torch.full((3,), -1.0, requires_grad=True)
    sign = torch.full((3,), 1.0)
    shift_power(shift, sign).sum().backward()
    assert shift.grad is not None
    torch.testing.assert_close(shift.grad, torch.full((3,), 0.5 * math.log(2)))


def test_ps_range_is_one_exponent_shorter_than_q() -> None:
    assert [smallest_shift(b) for b in (2, 3, 4, 5, 6)] == [-1, -3, -7, -15, -31]
    assert [smallest_shift(b, "shift-ps") for b in (2, 3, 4, 5, 6)] == [0, -2, -6, -14, -30]


# --- fixed point ----------------------------------------------------------------------------------


def test_fixed_point_golden_values() -> None:
    x = torch.tensor([0.0, 0.1, -0.1, 2**-16, -1e-9, 1e-9, 4e4, -4e4, INF, -INF, NAN])
    unit = 2.0**-16
    expected = [0.0, 6553 * unit, -6554 * unit, unit, -unit, 0, 32767, -32768, 32767, -32768, NAN]
    same(fixed_point(x), torch.tensor(expected))
    assert fixed_point(torch.tensor([7.9, -9.0, 0.3]), 2, 4).tolist() == [7.0, -8.0, 0.25]
    assert fixed_point_codes(torch.tensor([0.1, -0.1, INF])).tolist() == [
        6553,
        -6554,
        2**31 - 2**16,
    ]


@CALM
@given(
    st.lists(st.floats(allow_nan=False, width=32), max_size=20),
    st.sampled_from([(16, 16), (0, 2), (8, 8), (3, 29), (30, 2)]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_fixed_point_equals_exact_arithmetic(
    values: list[float], form: tuple[int, int], dtype: torch.dtype
) -> None:
    if form == (3, 29):  # 2^28 − 1 needs float64
        dtype = torch.float64
    x = torch.tensor(values, dtype=dtype)
    codes = torch.tensor([oracle.fixed_code(v, *form) for v in x.tolist()], dtype=torch.int32)
    same(fixed_point_codes(x, *form), codes)
    same(fixed_point(x, *form), (codes.double() * 2.0 ** -form[0]).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_fixed_point_rounds_down_over_dtypes_and_layouts(dtype: torch.dtype, layout: str) -> None:
    x = LAYOUTS[layout](numbers(2, 3, 4, 5, dtype=dtype))
    result = fixed_point(x)
    assert result.dtype == dtype
    assert result.stride() == x.abs().stride()
    lost = x.double() - result.double()
    assert bool(((lost >= 0) & (lost < 2.0**-16)).all())
    assert bool((result.double() * 2**16 % 1 == 0).all())


@pytest.mark.parametrize("threads", [1, 2])
def test_fixed_point_of_large_maps_is_that_of_double_precision(threads: int) -> None:
    """Large enough for several threads; scaling is exact, so float64 takes the same floor."""
    x = 100 * torch.randn(8, 16, 65, 65, generator=torch.Generator().manual_seed(0))
    x.view(-1)[:5] = torch.tensor([NAN, INF, -INF, -0.0, 32767.5])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for images in (x, x.contiguous(memory_format=torch.channels_last), x[:, ::2]):
            same(fixed_point(images), fixed_point(images.double()).float())
    finally:
        torch.set_num_threads(before)


def test_fixed_point_gradient_is_the_identity_even_where_clamped() -> None:
    x = torch.tensor([0.1, -0.1, 1e6, -1e6, NAN], requires_grad=True)
    above = torch.tensor([1.0, -2, 3, -4, 5])
    fixed_point(x).backward(above)
    same(x.grad, above)


# --- codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_codes_rebuild_the_weights(dtype: torch.dtype, bits: int) -> None:
    weight = shift_quantize(
        torch.cat([numbers(200, dtype=dtype), torch.zeros(3, dtype=dtype)]), bits
    )
    shift, sign = shift_codes(weight, bits)
    assert (shift.dtype, sign.dtype) == (torch.int8, torch.int8)
    same(sign.to(dtype) * (2.0 ** shift.double()).to(dtype), weight)
    assert shift.min() >= smallest_shift(bits)
    assert set(shift[-3:].tolist()) == {0}


BAD_WEIGHTS = [
    (lambda: shift_quantize(torch.ones(3, dtype=torch.int64)), TypeError, "weight must be float32"),
    (
        lambda: shift_quantize(torch.ones(3, dtype=torch.complex64)),
        TypeError,
        "got torch.complex64",
    ),
    (lambda: shift_quantize([0.5]), TypeError, "must be a torch.Tensor; got list"),  # type: ignore[arg-type]
    (lambda: shift_quantize(torch.ones(3), 1), UsageError, "bits must be an integer from 2 to 6"),
    (lambda: shift_quantize(torch.ones(3), 7), UsageError, "got 7"),
    (lambda: shift_quantize(torch.ones(3), 5.0), UsageError, "got 5.0"),  # type: ignore[arg-type]
    (lambda: shift_quantize(torch.ones(3), True), UsageError, "got True"),
    (lambda: shift_quantize(torch.ones(3).half(), 6), UsageError, "float16 holds no power of two"),
    (lambda: shift_power(torch.ones(3), torch.ones(4)), UsageError, "agree in shape"),
    (
        lambda: shift_power(torch.ones(3), torch.ones(3).double()),
        UsageError,
        "agree in shape, dtype",
    ),
    (lambda: shift_power(torch.ones(3), torch.ones(3, device="meta")), UsageError, "on meta"),
    (lambda: shift_power(torch.ones(3).int(), torch.ones(3)), TypeError, "shift must be float32"),
    (lambda: shift_power(torch.ones(3), torch.ones(3).int()), TypeError, "sign must be float32"),
    (lambda: fixed_point(torch.ones(3).int()), TypeError, "x must be float32"),
    (lambda: fixed_point(torch.ones(3), -1), UsageError, "fraction_bits=-1"),
    (lambda: fixed_point(torch.ones(3), 16, 1), UsageError, "integer_bits=1"),
    (lambda: fixed_point(torch.ones(3), 17, 16), UsageError, "their sum at most 32"),
    (lambda: fixed_point_codes(torch.tensor([NAN])), UsageError, "got NaN"),
    (lambda: shift_codes(torch.tensor([0.3])), UsageError, "only 0 and ±2\\^p.*got 0.3"),
    (lambda: shift_codes(torch.tensor([2.0])), UsageError, "p from -15 to 0"),
    (lambda: shift_codes(torch.tensor([2.0**-4]), 3), UsageError, "p from -3 to 0.*got 0.0625"),
    (lambda: shift_codes(torch.tensor([NAN])), UsageError, "got nan"),
    (lambda: shift_codes(torch.tensor([INF])), UsageError, "got inf"),
    (lambda: smallest_shift(5, "q"), UsageError, "kind must be one of 'shift', 'shift-ps'"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_WEIGHTS)
def test_bad_weights(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
