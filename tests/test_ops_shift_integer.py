"""The integer shift convolution, against exact arithmetic and the float simulation."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import shift_oracle as oracle
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_samples import CALM, LAYOUTS, same, shift_codes_case, simulate_shift
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops.shift import (
    fixed_point,
    fixed_point_codes,
    shift_codes,
    shift_quantize,
    smallest_shift,
)
from saa_lite.ops.shift_integer import (
    ROUNDINGS,
    _by_taps,
    shift_conv2d,
    shift_scale,
)

KERNELS = [(1, 1), (3, 3), (5, 5), (1, 3), (3, 2)]
GRID = [
    (kernel, stride, padding, dilation, groups)
    for kernel, stride, padding, dilation, groups in product(
        KERNELS, [1, 2, (2, 1)], [0, 1, (2, 0)], [1, 2], [1, 2, 4]
    )
    # odd input sizes 7 × 9; the dilated 5 × 5 kernel spans 9 and needs padding to fit
    if not (kernel == (5, 5) and dilation == 2 and padding != 1)
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups"), GRID)
def test_exact_equals_the_float_simulation_bit_for_bit(
    kernel: tuple[int, int], stride: Any, padding: Any, dilation: int, groups: int
) -> None:
    x, shift, sign = shift_codes_case(2, 4, 8, (7, 9), kernel, groups)
    geometry = (stride, padding, dilation, groups)
    total = shift_conv2d(x, shift, sign, *geometry)
    assert total.dtype == torch.int64
    # terms are multiples of 2^−31 below 2^2, so float64 sums are exact in any order
    same(total.double() * shift_scale(5, 16), simulate_shift(x, shift, sign, *geometry))


def pairs(stride: Any, padding: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
    return tuple((v, v) if isinstance(v, int) else v for v in (stride, padding, dilation))


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups"), GRID[::7])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_kernel_and_torch_path_equal_exact_arithmetic(
    kernel: tuple[int, int], stride: Any, padding: Any, dilation: int, groups: int, rounding: str
) -> None:
    x, shift, sign = shift_codes_case(1, 4, 4, (7, 9), kernel, groups)
    amount = shift + 15 if rounding == "exact" else shift
    geometry = (*pairs(stride, padding, dilation), groups)
    expected = oracle.conv2d(x, amount, sign, *geometry)  # type: ignore[arg-type]
    same(shift_conv2d(x, shift, sign, *geometry, rounding=rounding), expected)
    same(_by_taps(x, amount, sign, Geometry(*geometry)), expected)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_integer_layouts_and_batches(batch: int, layout: str, rounding: str) -> None:
    x, shift, sign = shift_codes_case(batch, 4, 6, (5, 7), (3, 3))
    plain = shift_conv2d(x, shift, sign, 2, 1, rounding=rounding)
    move = LAYOUTS[layout]
    moved = shift_conv2d(move(x), move(shift), move(sign), 2, 1, rounding=rounding)
    same(moved, plain)
    assert plain.shape == (batch, 6, 3, 4)
    amount = shift if rounding == "truncate" else shift + 15
    same(_by_taps(move(x), amount, sign, Geometry((2, 2), (1, 1), (1, 1), 1)), plain)


@settings(CALM, max_examples=60)
@given(st.data())
def test_integer_shapes_by_hypothesis(data: st.DataObject) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups, kernel = number(1, 3), (number(1, 4), number(1, 4))
    stride, padding, dilation = ((number(low, low + 2), number(low, low + 2)) for low in (1, 0, 1))
    size = tuple(
        dilation[i] * (kernel[i] - 1) + 1 + number(0, 6) for i in (0, 1)
    )  # fits even without padding
    bits, rounding = number(2, 5), data.draw(st.sampled_from(ROUNDINGS))
    x, shift, sign = shift_codes_case(
        number(0, 3),
        groups * number(1, 3),
        groups * number(1, 3),
        size,  # type: ignore[arg-type]
        kernel,
        groups,
        bits,
        number(0, 99),
    )
    geometry = (stride, padding, dilation, groups)
    result = shift_conv2d(x, shift, sign, *geometry, bits=bits, rounding=rounding)
    amount = shift if rounding == "truncate" else shift - smallest_shift(bits)
    same(result, _by_taps(x, amount, sign, Geometry(*geometry)))
    if rounding == "exact":
        same(result.double() * shift_scale(bits), simulate_shift(x, shift, sign, *geometry))


def test_a_shift_layer_end_to_end() -> None:
    """Latent weights and activations → what training simulates == what integers compute."""
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    latent = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    for bits in (3, 4, 5):
        weight = shift_quantize(latent, bits)
        simulated = F.conv2d(fixed_point(x).double(), weight.double(), padding=1)
        total = shift_conv2d(fixed_point_codes(x), *shift_codes(weight, bits), 1, 1, bits=bits)
        same(total.double() * shift_scale(bits), simulated)
        # in float32 the simulation itself rounds
        rounded = F.conv2d(fixed_point(x), weight, padding=1)
        torch.testing.assert_close(rounded, simulated.float(), rtol=1e-5, atol=1e-5)


def test_a_linear_layer_is_a_one_pixel_image() -> None:
    x, shift, sign = shift_codes_case(3, 10, 7, (1, 1), (1, 1))
    weight = (sign.double() * 2.0 ** shift.double())[:, :, 0, 0]
    expected = F.linear(x[:, :, 0, 0].double() * 2.0**-16, weight)
    same(shift_conv2d(x, shift, sign)[:, :, 0, 0].double() * shift_scale(), expected)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_truncation_error_is_bounded_by_the_signs(padding: int, seed: int) -> None:
    x, shift, sign = shift_codes_case(2, 8, 4, (7, 7), (3, 3), seed=seed)
    exact = shift_conv2d(x, shift, sign, 1, padding).double() * shift_scale()
    truncated = shift_conv2d(x, shift, sign, 1, padding, rounding="truncate").double()
    error = exact - truncated * shift_scale(rounding="truncate")
    unit = shift_scale(rounding="truncate")
    assert unit == 2.0**-16
    positive, negative = ((sign == d).sum((1, 2, 3))[:, None, None] for d in (1, -1))
    assert bool((error > -negative * unit).all())
    assert bool((error < positive * unit).all())
    assert bool((error < 0).any()), "mixed signs err to both sides"
    assert bool((error > 0).any())


def test_truncation_error_of_one_sign_is_one_sided() -> None:
    x, shift, sign = shift_codes_case(2, 8, 4, (7, 7), (3, 3))
    sign = torch.ones_like(sign)
    for digit in (1, -1):
        exact = shift_conv2d(x, shift, sign * digit, 1, 1).double() * shift_scale()
        truncated = shift_conv2d(x, shift, sign * digit, 1, 1, rounding="truncate")
        error = digit * (exact - truncated.double() * 2.0**-16)
        assert bool((error >= 0).all())
        assert bool((error < 72 * 2.0**-16).all())
        assert error.max() > 10 * 2.0**-16, "the bound is not vacuous"


def test_truncation_rounds_towards_minus_infinity() -> None:
    x = torch.tensor([5, -5, 1, -1], dtype=torch.int32).reshape(4, 1, 1, 1)
    shift = torch.tensor([-1, -1, 0, -15], dtype=torch.int8).reshape(4, 1, 1, 1)
    sign = torch.tensor([1, -1, 1, 1], dtype=torch.int8).reshape(4, 1, 1, 1)
    result = shift_conv2d(x, shift, sign, rounding="truncate")[:, :, 0, 0]
    assert result.tolist() == [[2, -2, 5, 0], [-3, 3, -5, -1], [0, 0, 1, 0], [-1, 1, -1, -1]]


def test_metamorphic_relations() -> None:
    x, shift, sign = shift_codes_case(2, 4, 6, (7, 9), (3, 3), groups=2)
    shift = shift.clamp(max=-1)
    arguments: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
    base = shift_conv2d(x, shift, sign, **arguments)
    same(shift_conv2d(x, shift + 1, sign, **arguments), base * 2)
    same(shift_conv2d(x, shift, -sign, **arguments), -base)
    same(shift_conv2d(x, shift, sign * 0, **arguments), base * 0)
    same(shift_conv2d(x * 4, shift, sign, **arguments), base * 4)
    order = torch.tensor([2, 0, 1, 5, 4, 3])  # within the groups
    same(shift_conv2d(x, shift[order], sign[order], **arguments), base[:, order])
    same(shift_conv2d(x[:1], shift, sign, **arguments), base[:1])


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("groups", [1, 2])
def test_two_threads_give_the_bits_of_one(groups: int) -> None:
    x, shift, sign = shift_codes_case(
        3, 4, 4, (21, 17), (3, 3), groups
    )  # several blocks, the last one partial
    for rounding in ROUNDINGS:
        parallel = shift_conv2d(x, shift, sign, 1, 1, 1, groups, rounding=rounding)
        torch.set_num_threads(1)
        same(shift_conv2d(x, shift, sign, 1, 1, 1, groups, rounding=rounding), parallel)
        torch.set_num_threads(2)
        amount = shift if rounding == "truncate" else shift + 15
        geometry = Geometry((1, 1), (1, 1), (1, 1), groups)
        same(_by_taps(x, amount, sign, geometry), parallel)


@pytest.mark.parametrize(("taps", "fits"), [(1, True), (2, True), (3, False)])
def test_overflow_is_refused_exactly_where_the_bound_says(taps: int, fits: bool) -> None:
    x = torch.full((1, taps, 1, 1), 2**31 - 1, dtype=torch.int32)  # 2·(2^31 − 1)·2^31 < 2^63
    shift = torch.zeros(1, taps, 1, 1, dtype=torch.int8)
    if fits:
        assert shift_conv2d(x, shift, shift + 1, bits=6).item() == taps * (2**31 - 1) * 2**31
        assert shift_conv2d(x, shift, shift - 1, bits=6).item() == -taps * (2**31 - 1) * 2**31
        return
    with pytest.raises(UsageError, match="3 taps of up to 2147483647, shifted left by up to 31"):
        shift_conv2d(x, shift, shift + 1, bits=6)
    assert shift_conv2d(x, shift, shift + 1, bits=6, rounding="truncate").item() == 3 * (2**31 - 1)
    assert shift_conv2d(x // 2, shift, shift + 1, bits=6).item() == 3 * (2**30 - 1) * 2**31


def test_scale() -> None:
    assert shift_scale() == 2.0**-31
    assert shift_scale(3, 8) == 2.0**-11
    assert shift_scale(3, 8, "truncate") == 2.0**-8


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_opcheck_integer(truncate: bool, layout: str) -> None:
    x, shift, sign = shift_codes_case(2, 4, 6, (7, 5), (3, 3), groups=2)
    arguments = (LAYOUTS[layout](x), shift, sign, [2, 1], [1, 0], [1, 2], 2, -15, truncate)
    torch.library.opcheck(torch.ops.saa_lite.shift_conv2d, arguments)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_integer_compiles_as_one_graph(backend: str) -> None:
    torch._dynamo.reset()
    x, shift, sign = shift_codes_case(2, 4, 6, (7, 5), (3, 3))
    compiled = torch.compile(shift_conv2d, fullgraph=True, backend=backend)
    same(compiled(x, shift, sign, 2, 1), shift_conv2d(x, shift, sign, 2, 1))


def broken(**changes: Any) -> Callable[[], Tensor]:
    """A sound call with some arguments replaced."""
    x, shift, sign = shift_codes_case(2, 4, 6, (7, 5), (3, 3))
    arguments: dict[str, Any] = {"input": x, "shift": shift, "sign": sign, **changes}
    return lambda: shift_conv2d(**arguments)


ONES = torch.ones(6, 4, 3, 3, dtype=torch.int8)
BAD_CONVOLUTIONS = [
    (broken(input=torch.ones(2, 4, 7, 5)), TypeError, "input must be torch.int32; got torch.float"),
    (broken(input=torch.ones(2, 4, 7, 5).long()), TypeError, "input must be torch.int32"),
    (broken(input=None), TypeError, "input must be a torch.Tensor; got NoneType"),
    (broken(shift=ONES.float()), TypeError, "shift must be torch.int8; got torch.float32"),
    (broken(sign=ONES.bool()), TypeError, "sign must be torch.int8; got torch.bool"),
    (broken(sign=ONES[:5]), UsageError, r"one shape; got \[6, 4, 3, 3\] and \[5, 4, 3, 3\]"),
    (broken(sign=ONES.to("meta")), UsageError, "on one device; got cpu, cpu and meta"),
    (broken(input=torch.ones(4, 7, 5).int()), UsageError, "input must have shape"),
    (broken(shift=ONES[0], sign=ONES[0]), UsageError, "shift must have shape"),
    (broken(input=torch.ones(2, 3, 7, 5).int()), UsageError, "input must have 4 channels"),
    (broken(groups=4), UsageError, "divisible by groups=4"),
    (broken(groups=0), UsageError, "groups must be an int of at least 1"),
    (broken(stride=0), UsageError, "stride must be at least 1; got 0"),
    (broken(stride=1.0), UsageError, "stride must be an int or a pair"),
    (broken(padding=-1), UsageError, "padding must be at least 0"),
    (broken(padding=(1, 2, 3)), UsageError, "padding must be an int or a pair"),
    (broken(dilation=0), UsageError, "dilation must be at least 1"),
    (broken(dilation=4), UsageError, "fit into the padded input"),
    (broken(bits=7), UsageError, "bits must be an integer from 2 to 6"),
    (broken(rounding="nearest"), UsageError, "rounding must be one of 'exact', 'truncate'"),
    (broken(shift=ONES), UsageError, "shift must lie between -15 and 0; got 1"),
    (broken(shift=ONES * -16), UsageError, "shift must lie between -15 and 0; got -16"),
    (broken(shift=ONES * -4, bits=3), UsageError, "shift must lie between -3 and 0; got -4"),
    (broken(sign=ONES * 2), UsageError, "sign must lie between -1 and 1; got 2"),
    (lambda: shift_scale(5, 16, "floor"), UsageError, "rounding must be one of"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CONVOLUTIONS)
def test_bad_convolutions(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_cuda_gives_the_bits_of_the_cpu(rounding: str) -> None:
    x, shift, sign = shift_codes_case(3, 4, 6, (11, 9), (3, 3), groups=2)
    expected = shift_conv2d(x, shift, sign, 2, 1, 1, 2, rounding=rounding)
    moved = (x.cuda(), shift.cuda(), sign.cuda())
    same(shift_conv2d(*moved, 2, 1, 1, 2, rounding=rounding).cpu(), expected)
