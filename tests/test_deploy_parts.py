"""Staircases, packed weights, signed digits and the arena, against slow definitions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from deploy_samples import exported
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saa_lite.deploy.arena import plan
from saa_lite.deploy.pack import dense, digit_lists, lanes, on_a_line, sign_bytes, signed_digits
from saa_lite.deploy.staircase import find_staircase
from saa_lite.errors import UsageError


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-300, 300)), min_size=1, max_size=4),
    st.integers(1, 8),
    st.sampled_from([3, 50, 3000]),
)
@settings(deadline=None, max_examples=60)
def test_a_staircase_is_the_function_it_was_found_on(
    channels: list[tuple[float, float]], bits: int, reach: int
) -> None:
    """Affine, ReLU, quantiser: at every sum there is, also where factors are negative or 0."""
    factor, summand = (torch.tensor(column).double() for column in zip(*channels, strict=True))
    most = 2**bits - 1

    def codes(sums: Tensor) -> Tensor:
        values = (sums * factor + summand).relu()
        return (values * (most / (2.0 * reach)) + 0.5).floor().clamp(0, most)

    low = np.full(len(channels), -reach)
    stairs = find_staircase("layer", codes, low, -low)
    every = np.arange(-reach, reach + 1)[:, None].repeat(len(channels), 1)
    wanted = codes(torch.from_numpy(every).double()).long().numpy()
    assert np.array_equal(stairs.first + stairs.counts(every), wanted)


def test_thresholds_that_lie_on_no_line_are_refused() -> None:
    """Squares: nothing affine comes before their codes."""
    with pytest.raises(UsageError, match="behind layer 'odd' lie on no line"):
        find_staircase(
            "odd", lambda s: s.clamp_min(0).sqrt().floor(), np.array([0]), np.array([999])
        )


@given(st.integers(-(2**15), 2**15))
def test_signed_digits_are_the_number_and_have_no_neighbours(value: int) -> None:
    digits = signed_digits(value)
    assert sum(sign * 2**exponent for exponent, sign in digits) == value
    assert all(b[0] - a[0] > 1 for a, b in pairwise(digits))
    assert len(digits) <= max(1, bin(abs(value)).count("1"))


def test_lists_of_taps_are_the_products() -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.integers(-127, 128, (5, 27)), rng.integers(-128, 128, 27)
    lists = digit_lists(weight)
    taps, counts, sums = iter(lists.taps.tolist()), iter(lists.counts.tolist()), []
    for _ in weight:
        total = 0
        for _ in range(lists.exponents):
            total *= 2
            total += sum(int(x[next(taps)]) for _ in range(next(counts)))
            total -= sum(int(x[next(taps)]) for _ in range(next(counts)))
        sums.append(total)
    assert sums == (weight @ x).tolist()


@pytest.mark.parametrize("bits", range(1, 9))
def test_words_hold_the_codes(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (3, 37))
    packed = dense(codes, bits)
    words = packed.words.reshape(3, -1)
    for place in range(37):
        word, at = divmod(place, packed.per_word)
        assert ((words[:, word] >> (at * bits)) % 2**bits == codes[:, place]).all()
    if bits in (1, 2, 4, 8):
        packed = lanes(codes, bits)
        words = packed.words.reshape(3, -1)
        for place in range(37):
            word, at = divmod(place, packed.per_word)
            plane, byte = divmod(at, 4)
            four = (words[:, word] >> (plane * bits)) & (0x01010101 * (2**bits - 1))
            assert ((four >> (8 * byte)) % 256 == codes[:, place]).all()


def test_a_common_factor_takes_no_bits() -> None:
    line = on_a_line(np.array([[3, 7, 15], [3, 11, 3]]))
    assert (line.bits, line.least, line.shift) == (2, 3, 2)
    assert (line.least + (line.codes << line.shift) == [[3, 7, 15], [3, 11, 3]]).all()


def test_signs_take_a_bit_each() -> None:
    weight = np.where(np.arange(2 * 9 * 1 * 2).reshape(2, 9, 1, 2) % 3 == 0, 1, -1)
    packed = sign_bytes(weight).reshape(2, 2, 2)
    for t, x, c in np.ndindex(2, 2, 9):
        assert packed[t, x, c // 8] >> (c % 8) & 1 == (weight[t, c, 0, x] > 0)


@pytest.mark.parametrize(
    ("name", "conv"), [("resnet8", "adder"), ("resnet8", "binary"), ("resnet20", "binary")]
)
def test_maps_that_are_needed_at_once_do_not_meet(name: str, conv: str) -> None:
    graph = exported(name, conv)
    arena = plan(graph)
    assert arena.bytes == arena.predicted  # resnet20: no plain order of its maps does it
    born = {0: 0} | {o.map.index: i for i, x in enumerate(graph.layers) for o in x.outputs}
    read = {m.index: i for i, x in enumerate(graph.layers) for m in x.inputs}
    read[graph.logits.index] = len(graph.layers)
    for one in graph.maps:
        assert arena.maps[one.index] + one.bytes <= arena.bytes
        for other in graph.maps[: one.index]:
            apart = read[one.index] < born[other.index] or read[other.index] < born[one.index]
            # An addition may write over what it reads for the last time.
            adds = graph.layers[born[one.index]].kind == "add"
            replaced = adds and read[other.index] == born[one.index]
            begin, end = arena.maps[one.index], arena.maps[one.index] + one.bytes
            clear = arena.maps[other.index] + other.bytes <= begin or end <= arena.maps[other.index]
            assert apart or replaced or clear
    for index, window in arena.windows.items():
        layer = graph.layers[index]
        for met in (*layer.inputs, *(o.map for o in layer.outputs)):
            assert window >= arena.maps[met.index] + met.bytes or window < arena.maps[met.index]
