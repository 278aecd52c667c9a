"""The int8 shift convolutions, with and without products, against the exact int64 one."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_samples import CALM, LAYOUTS, same, shift_codes_case
from torch import Tensor

from saa_lite.ops import (
    reference_shift,
    shift_conv2d,
    shift_conv2d_i8,
    shift_conv2d_i8_matmul,
    shift_i8_plan,
)
from saa_lite.ops.shift import smallest_shift

OPERATORS = [shift_conv2d_i8, shift_conv2d_i8_matmul]
KERNELS = [(1, 1), (3, 3), (1, 3), (3, 2)]
GRID = list(product(KERNELS, [1, 2, (2, 1)], [0, 1, (2, 0)], [1, 2], [1, 2, 4]))


def sample(
    batch: int,
    channels: int,
    filters: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    groups: int = 1,
    bits: int = 4,
) -> tuple[Tensor, Tensor, Tensor]:
    """Random bytes, and codes of which every product's sum fits int32."""
    _, shift, sign = shift_codes_case(batch, channels, filters, size, kernel, groups, bits)
    generator = torch.Generator().manual_seed(batch + channels)
    x = torch.randint(-128, 128, (batch, channels, *size), generator=generator, dtype=torch.int8)
    return x, shift, sign


def narrow(shift: Tensor) -> Tensor:
    """Shifts of which int8 holds the powers."""
    return shift.clamp(min=int(shift.max()) - 6)


def check(x: Tensor, shift: Tensor, sign: Tensor, *geometry: Any, bits: int = 4) -> None:
    """Both operators give the integers of shift_conv2d, in the layout of the input."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for operator, codes in ((shift_conv2d_i8, shift), (shift_conv2d_i8_matmul, narrow(shift))):
        got = operator(x, codes, sign, *geometry, bits=bits)
        assert got.dtype == torch.int32
        assert got.is_contiguous(memory_format=layout)
        same(got.long(), shift_conv2d(x.int(), codes, sign, *geometry, bits=bits))


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups"), GRID)
def test_equals_the_int64_convolution(
    kernel: tuple[int, int], stride: Any, padding: Any, dilation: int, groups: int
) -> None:
    check(*sample(3, 4, 8, (7, 9), kernel, groups), stride, padding, dilation, groups)


@pytest.mark.parametrize("groups", [1, 2])
def test_equals_exact_arithmetic(groups: int) -> None:
    x, shift, sign = sample(2, 4, 6, (5, 6), (3, 2), groups)
    amount, geometry = shift + 7, ((2, 1), (1, 2), (1, 2), groups)
    expected = reference_shift.conv2d(x, amount, sign, *geometry)
    same(shift_conv2d_i8(x, shift, sign, *geometry, bits=4).long(), expected)


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 63, 64, 65])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("size", "kernel"), [((6, 5), (3, 3)), ((4, 4), (1, 1)), ((1, 1), (1, 1))])
def test_batches_around_the_lanes(
    batch: int, layout: str, size: tuple[int, int], kernel: tuple[int, int]
) -> None:
    x, shift, sign = sample(batch, 5, 7, size, kernel)
    move = LAYOUTS[layout]
    check(move(x), move(shift), move(sign), 1, kernel[0] // 2)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("filters", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("columns", [1, 3, 4, 5, 8, 9, 17, 40])
def test_tails_of_tiles_and_of_filters(layout: str, filters: int, columns: int) -> None:
    for rows in (1, 2, 5):
        x, shift, sign = sample(2, 3, filters, (rows, columns), (1, 3))
        check(LAYOUTS[layout](x), shift, sign, 1, (0, 1))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("channels", "width"), [(3, 33), (40, 17), (700, 1), (1, 600)])
def test_runs_longer_and_shorter_than_a_piece(layout: str, channels: int, width: int) -> None:
    x, shift, sign = sample(2, channels, 2, (3, width), (1, 1))
    check(LAYOUTS[layout](x), shift, sign, 1, (1, 2))


@pytest.fixture(params=[(1, 1 << 20), (40, 1 << 20), (1600, 1)], ids=str)
def small_caches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of one or a few channels, or bands of a single row."""
    monkeypatch.setattr(shift_i8_plan, "TILE_LINES", request.param[0])
    monkeypatch.setattr(shift_i8_plan, "LARGEST_BAND", request.param[1])
    shift_i8_plan.plan_arrays.cache_clear()
    yield
    shift_i8_plan.plan_arrays.cache_clear()


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("groups", [1, 2])
def test_blocks_of_channels_and_bands_of_rows(layout: str, groups: int) -> None:
    x, shift, sign = sample(33, 14, 10, (9, 11), (3, 3), groups)
    check(LAYOUTS[layout](x), shift, sign, 2, 1, 1, groups)


def shapes() -> st.SearchStrategy[dict[str, Any]]:
    def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
        return st.tuples(st.integers(low, high), st.integers(low, high))

    return st.fixed_dictionaries(
        {
            "batch": st.integers(0, 70),
            "per_group": st.tuples(st.integers(1, 20), st.integers(1, 20)),
            "groups": st.integers(1, 3),
            "kernel": pairs(1, 4),
            "stride": pairs(1, 3),
            "padding": pairs(0, 3),
            "dilation": pairs(1, 3),
            "extra": pairs(0, 12),
            "bits": st.integers(2, 4),
            "layout": st.sampled_from(sorted(LAYOUTS)),
        }
    )


@settings(CALM)
@given(case=shapes())
def test_any_configuration(case: dict[str, Any]) -> None:
    kernel, padding, dilation = case["kernel"], case["padding"], case["dilation"]
    reach = [dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i] for i in (0, 1)]
    size = (max(1, reach[0]) + case["extra"][0], max(1, reach[1]) + case["extra"][1])
    channels, filters = (number * case["groups"] for number in case["per_group"])
    codes = sample(case["batch"], channels, filters, size, kernel, case["groups"], case["bits"])
    x, shift, sign = codes
    geometry = case["stride"], padding, dilation, case["groups"]
    check(LAYOUTS[case["layout"]](x), shift, sign, *geometry, bits=case["bits"])


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_every_format(bits: int) -> None:
    x, shift, sign = sample(3, 4, 6, (5, 7), (3, 3), bits=bits)
    if bits == 6:
        shift = shift.clamp(max=-13)  # 36 taps of 2^18 and inputs of 128: just below 2^31
    check(x, shift, sign, 1, 1, bits=bits)
    smallest = torch.full_like(shift, smallest_shift(bits))
    check(x, smallest, sign, 1, 1, bits=bits)


@pytest.mark.parametrize("taps", [1, 2, 127, 128, 255, 256, 257, 510, 511, 1000])
@pytest.mark.parametrize("extreme", [-128, 127])
def test_sixteen_bits_never_overflow(taps: int, extreme: int) -> None:
    """255 inputs of −128 fill them; every sign, alone and mixed, at one and at many shifts."""
    x = torch.full((2, taps, 1, 9), extreme, dtype=torch.int8)
    for digits in ([1], [-1], [1, 1, -1], [1, 0]):
        sign = torch.tensor(digits, dtype=torch.int8).repeat(taps)[:taps].view(1, taps, 1, 1)
        for shifts in ([0], [-7], [0, -1], [0, -7], range(-7, 1)):
            by = torch.tensor(list(shifts), dtype=torch.int8).repeat(taps)[:taps].view_as(sign)
            check(x, by, sign)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", [-128, 127])
def test_the_largest_sums_of_an_int32(operator: Any, value: int) -> None:
    """511 taps of 2^15 and one of 2^14, 2^13 … 1: together 2^24 − 1 times an input."""
    amounts = [15] * 511 + list(range(15))
    shift = (torch.tensor(amounts, dtype=torch.int8) - 15).view(1, -1, 1, 1)
    if operator is shift_conv2d_i8_matmul:
        shift = shift[:, :511]
    x = torch.full((1, shift.shape[1], 1, 1), value, dtype=torch.int8)
    for sign in (1, -1):
        got = operator(x, shift, torch.full_like(shift, sign))
        units = int((2 ** (shift.long() + 15)).sum())
        assert got.item() == sign * value * units
    assert units == 2**24 - 1 or operator is shift_conv2d_i8_matmul


@pytest.mark.parametrize("operator", OPERATORS)
def test_filters_of_zeros_and_of_one_sign(operator: Any) -> None:
    x, shift, sign = sample(3, 4, 6, (5, 7), (3, 3))
    shift = narrow(shift)
    sign[0], sign[1], sign[2], sign[3, 1:] = 0, 1, -1, 0
    got = operator(x, shift, sign, 1, 1, bits=4)
    same(got.long(), shift_conv2d(x.int(), shift, sign, 1, 1, bits=4))
    assert not got[:, 0].any()
    same(operator(x, shift, sign * 0, 1, 1, bits=4), torch.zeros_like(got))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("batch", "channels", "filters"), [(0, 8, 8), (2, 8, 0), (2, 0, 8), (0, 0, 0)]
)
@pytest.mark.parametrize("kernel", [1, 3])
def test_empty(operator: Any, batch: int, channels: int, filters: int, kernel: int) -> None:
    x = torch.ones(batch, channels, 5, 6, dtype=torch.int8)
    codes = torch.zeros(filters, channels, kernel, kernel, dtype=torch.int8)
    got = operator(x, codes, codes + 1, padding=kernel // 2)
    same(got, torch.zeros(batch, filters, 5, 6, dtype=torch.int32))


def test_relations_that_need_no_reference() -> None:
    x, shift, sign = sample(5, 4, 6, (8, 9), (3, 3), 2)
    shift, x = shift.clamp(max=-1), x // 2
    arguments: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2, "bits": 4}
    base = shift_conv2d_i8(x, shift, sign, **arguments)
    same(shift_conv2d_i8(x, shift + 1, sign, **arguments), base * 2)
    same(shift_conv2d_i8(x, shift, -sign, **arguments), -base)
    same(shift_conv2d_i8(x * 2, shift, sign, **arguments), base * 2)
    order = torch.tensor([2, 0, 1, 5, 4, 3])  # within the groups
    same(shift_conv2d_i8(x, shift[order], sign[order], **arguments), base[:, order])
    same(shift_conv2d_i8(x[2:3], shift, sign, **arguments), base[2:3])
    same(shift_conv2d_i8(x.flip(0), shift, sign, **arguments), base.flip(0))
