"""The uint8 adder convolution against integer sums over indices: every kernel, every axis."""

import itertools
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_samples import CALM, LAYOUTS, same
from torch import Tensor
from torch.nn import functional as F

from saa_lite.errors import UsageError
from saa_lite.kernels import machine
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import _launch, adder_conv2d_u8, adder_u8

SUPPORTED = machine.supported_bits()
PATHS = [bits for bits in (0, *machine.BITS) if bits <= SUPPORTED]
GEOMETRIES = [
    ((1, 1), (0, 0), (1, 1)),
    ((1, 1), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((1, 3), (2, 0), (1, 1)),
    ((2, 1), (1, 3), (2, 1)),
    ((3, 2), (2, 2), (1, 2)),
]


@pytest.fixture(params=PATHS, ids=lambda bits: f"{bits}-bit" if bits else "plain")
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Force one of the kernels that this machine can run."""
    monkeypatch.setattr(machine, "VECTOR_BITS", request.param)
    return int(request.param)


def sample(shape: tuple[int, ...], weight: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + 7 * sum(weight))
    x = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return x, torch.randint(0, 256, weight, generator=generator, dtype=torch.uint8)


def oracle(
    x: Tensor, w: Tensor, stride: Any, padding: Any, dilation: Any, groups: int, value: int
) -> Tensor:
    """−Σ|x − w| in int64, one kernel position at a time on a padded copy."""
    sides = (padding[1], padding[1], padding[0], padding[0])
    padded, w = F.pad(x.long(), sides, value=value), w.long()
    reach = [dilation[i] * (w.shape[2 + i] - 1) for i in (0, 1)]
    outputs = []
    for images, filters in zip(padded.chunk(groups, 1), w.chunk(groups, 0), strict=True):
        total: Any = 0
        for kh, kw in itertools.product(range(w.shape[2]), range(w.shape[3])):
            top, left = kh * dilation[0], kw * dilation[1]
            seen = images[:, :, top : images.shape[2] - reach[0] + top]
            seen = seen[..., left : images.shape[3] - reach[1] + left]
            seen = seen[:, None, :, :: stride[0], :: stride[1]]
            total = total - (seen - filters[:, :, kh, kw, None, None]).abs().sum(2)
        outputs.append(total)
    return torch.cat(outputs, 1)


def check(x: Tensor, w: Tensor, *geometry: Any, value: int = 0) -> None:
    """The operator gives the oracle's integers as int32 in the layout of the input."""
    got = adder_conv2d_u8(x, w, *geometry, value)
    same(got, oracle(x, w, *geometry, value).int())
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert got.is_contiguous(memory_format=layout)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("channels", "filters", "groups"),
    [(3, 5, 1), (16, 16, 1), (8, 40, 1), (23, 17, 1), (32, 24, 2), (6, 6, 6)],
)
def test_equals_the_oracle(
    layout: str, geometry: Any, channels: int, filters: int, groups: int
) -> None:
    x, w = sample((2, channels, 9, 11), (filters, channels // groups, 3, 2))
    check(LAYOUTS[layout](x), LAYOUTS[layout](w), *geometry, groups, value=37)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 21)])
@pytest.mark.parametrize(("channels", "filters"), [(16, 9), (40, 40), (13, 24)])
def test_one_by_one_kernels(
    layout: str, batch: int, size: tuple[int, int], channels: int, filters: int
) -> None:
    x, w = sample((batch, channels, *size), (filters, channels, 1, 1))
    check(LAYOUTS[layout](x), w, (1, 1), (0, 0), (1, 1), 1)
    check(LAYOUTS[layout](x), w, (1, 1), (2, 1), (1, 1), 1, value=255)


def shapes() -> st.SearchStrategy[dict[str, Any]]:
    def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
        return st.tuples(st.integers(low, high), st.integers(low, high))

    return st.fixed_dictionaries(
        {
            "batch": st.integers(0, 3),
            "per_group": st.tuples(st.integers(1, 40), st.integers(1, 40)),
            "groups": st.integers(1, 3),
            "kernel": pairs(1, 4),
            "stride": pairs(1, 3),
            "padding": pairs(0, 3),
            "dilation": pairs(1, 3),
            "extra": pairs(0, 20),
            "value": st.integers(0, 255),
            "layout": st.sampled_from(sorted(LAYOUTS)),
        }
    )


@pytest.mark.parametrize("bits", PATHS)
@settings(CALM)
@given(case=shapes())
def test_any_configuration(bits: int, case: dict[str, Any]) -> None:
    kernel, padding, dilation = case["kernel"], case["padding"], case["dilation"]
    reach = [dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i] for i in (0, 1)]
    size = [max(1, reach[i]) + case["extra"][i] for i in (0, 1)]
    channels, filters = case["per_group"]
    shape = (case["batch"], channels * case["groups"], *size)
    x, w = sample(shape, (filters * case["groups"], channels, *kernel))
    geometry = case["stride"], padding, dilation, case["groups"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "VECTOR_BITS", bits)
        check(LAYOUTS[case["layout"]](x), w, *geometry, value=case["value"])


def test_the_oracle_itself() -> None:
    """Against plain Python sums over indices, padding and stride included."""
    x, w = sample((1, 2, 3, 4), (3, 2, 2, 2))
    got = oracle(x, w, (2, 1), (1, 0), (1, 1), 1, 9)
    assert got.shape == (1, 3, 2, 3)

    def pixel(c: int, i: int, j: int) -> int:
        return int(x[0, c, i, j]) if 0 <= i < 3 else 9

    for t, i, j in itertools.product(range(3), range(2), range(3)):
        taps = itertools.product(range(2), range(2), range(2))
        expected = -sum(
            abs(pixel(c, 2 * i - 1 + a, j + b) - int(w[t, c, a, b])) for c, a, b in taps
        )
        assert got[0, t, i, j] == expected


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("filters_at_once", [1, 1 << 24])
def test_the_path_of_other_devices(
    groups: int, layout: str, filters_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adder_u8.adder_torch, "LARGEST_TEMPORARY", filters_at_once)
    x, w = sample((2, 4, 9, 7), (6, 4 // groups, 3, 2))
    for geometry in GEOMETRIES:
        got = adder_u8.on_any_device(LAYOUTS[layout](x), w, Geometry(*geometry, groups), 200)
        same(got, oracle(x, w, *geometry, groups, 200).int())


def test_padding_value_is_what_the_padding_holds() -> None:
    x, w = sample((1, 8, 5, 5), (8, 8, 3, 3))
    for value in (0, 1, 128, 255):
        padded = F.pad(x, (2, 2, 1, 1), value=value)
        same(adder_conv2d_u8(x, w, 1, (1, 2), padding_value=value), adder_conv2d_u8(padded, w))


@pytest.mark.usefixtures("path")
def test_relations_that_need_no_reference() -> None:
    x, w = sample((2, 16, 6, 9), (24, 16, 3, 3))
    x, w = x // 2, w // 2
    y = adder_conv2d_u8(x, w)
    same(adder_conv2d_u8(x + 100, w + 100), y)
    same(adder_conv2d_u8(255 - x, 255 - w), y)
    order = torch.randperm(24)
    same(adder_conv2d_u8(x, w[order]), y[:, order])
    both = adder_conv2d_u8(torch.cat([x, x], 1), torch.cat([w, w]), groups=2)
    same(both, torch.cat([y, y], 1))
    same(adder_conv2d_u8(x[:1], x[:1])[0, 0, 0, 0], torch.tensor(0, dtype=torch.int32))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("words", [31, 32, 33, 64, 65, 1000])
def test_sixteen_bits_never_overflow(layout: str, words: int) -> None:
    """Every distance is 255: one word more than 32 in 16 bits would saturate."""
    x = torch.full((1, 8 * words, 1, 9), 255, dtype=torch.uint8)
    w = torch.zeros(9, 8 * words, 1, 1, dtype=torch.uint8)
    got = adder_conv2d_u8(LAYOUTS[layout](x), w)
    same(got, torch.full_like(got, -255 * 8 * words))


@pytest.mark.usefixtures("path")
def test_the_longest_filter() -> None:
    taps = adder_u8.MOST_TAPS
    assert 255 * taps <= 2**31 - 1 < 255 * (taps + 1)
    x = torch.full((1, taps, 1, 1), 255, dtype=torch.uint8)
    assert adder_conv2d_u8(x, torch.zeros_like(x)).item() == -255 * taps
    longer = torch.empty(1, taps + 1, 1, 1, dtype=torch.uint8)
    with pytest.raises(UsageError, match=f"up to {taps} taps.*got {taps + 1}"):
        adder_conv2d_u8(longer, longer)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("channels", "filters"), [(0, 8), (8, 0), (8, 8)])
def test_empty(channels: int, filters: int) -> None:
    x, w = sample((0, channels, 5, 5), (filters, channels, 3, 3))
    assert adder_conv2d_u8(x, w).shape == (0, filters, 3, 3)
    x = torch.ones(2, channels, 5, 5, dtype=torch.uint8)
    y = adder_conv2d_u8(x, w)
    assert (y.shape, y.dtype) == ((2, filters, 3, 3), torch.int32)
    assert bool((y == 0).all()) == (channels == 0 or filters == 0)


@pytest.mark.usefixtures("path")
def test_changed_weights_are_seen() -> None:
    """Nothing about the weights is remembered between calls, neither by address nor by version."""
    x, w = sample((1, 16, 6, 6), (16, 16, 3, 3))
    adder_conv2d_u8(x, w)
    w.numpy()[:] = 3
    check(x, w, (1, 1), (0, 0), (1, 1), 1)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 5, 16])
@pytest.mark.parametrize("kernel", [1, 3])
def test_thread_count_changes_no_number(
    layout: str, batch: int, kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_launch, "SMALL_WORK", 0)
    x, w = sample((batch, 16, 11, 9), (16, 16, kernel, kernel))
    x, before, results = LAYOUTS[layout](x), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(adder_conv2d_u8(x, w, 1, kernel // 2))
    finally:
        torch.set_num_threads(before)
    same(*results)


def test_two_threads_at_once() -> None:
    x, w = sample((4, 16, 9, 9), (16, 16, 3, 3))
    expected, got = adder_conv2d_u8(x, w), []
    workers = [
        threading.Thread(target=lambda: got.extend(adder_conv2d_u8(x, w) for _ in range(20)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(got) == 40
    assert all(torch.equal(y, expected) for y in got)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [3, 16])
def test_opcheck(layout: str, channels: int) -> None:
    x, w = sample((2, channels, 7, 5), (6, channels, 3, 3))
    arguments = (LAYOUTS[layout](x), w, [2, 1], [1, 0], [1, 2], 1, 128)
    torch.library.opcheck(torch.ops.saa_lite.adder_conv2d_u8, arguments)


def test_compiles_in_one_graph() -> None:
    x, w = sample((2, 16, 6, 6), (16, 16, 3, 3))
    compiled = torch.compile(adder_conv2d_u8, fullgraph=True, backend="aot_eager")
    same(compiled(x, w, 2, 1), adder_conv2d_u8(x, w, 2, 1))


@pytest.mark.gpu
def test_cuda_gives_the_integers_of_the_cpu() -> None:
    x, w = sample((3, 4, 11, 9), (6, 2, 3, 3))
    expected = adder_conv2d_u8(x, w, 2, 1, 1, 2, 128)
    same(adder_conv2d_u8(x.cuda(), w.cuda(), 2, 1, 1, 2, 128).cpu(), expected)
