"""The GPU kernels against the oracle, with and without a GPU.

Triton's interpreter must be chosen before Triton is imported, so one subprocess runs all
interpreted cases (this file as a script) and the tests look up its results. Tests marked ``gpu``
run the same comparisons on a device.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from saa_lite.ops import adder_conv2d, adder_gpu, reference
from saa_lite.ops.adder_gpu import Tile

ONE, NONE, SAME = (1, 1), (0, 0), (1, 1)
GEOMETRIES = [
    (ONE, NONE, ONE),
    (ONE, SAME, ONE),
    ((2, 2), (1, 1), (1, 1)),
    ((1, 3), (2, 0), (1, 1)),
    ((2, 1), (1, 3), (2, 1)),
    ((3, 2), (2, 2), (1, 2)),
]
TILES = [Tile(8, 2, 16, 8), Tile(4, 2, 32, 4), Tile(2, 2, 64, 2)]
BOUND = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}  # half precision: the final rounding
NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed here"
)


class Case(NamedTuple):
    """One comparison with the oracle; bad: (tensor, number) to place a NaN or an infinity."""

    shape: tuple[int, ...]
    weight: tuple[int, ...]
    geometry: Any
    groups: int = 1
    kind: str = "clip"
    layout: str = "plain"
    dtype: str = "float32"
    tile: Tile = TILES[2]
    bad: tuple[str, str] | None = None


def cases() -> list[Case]:
    """All axes, each value of every axis at least once with each geometry or tile."""
    found = []
    widths = [(3, 5, 1), (8, 12, 1), (8, 10, 2)]
    for number, (geometry, (c, f, g)) in enumerate(itertools.product(GEOMETRIES, widths)):
        kind = ("clip", "full", "clip", "sign")[number % 4]
        layout = ("plain", "channels_last", "sliced")[number // 2 % 3]
        shape = ((1, 3)[number % 2], c, 6, 5)
        found.append(
            Case(shape, (f, c // g, 3, 2), geometry, g, kind, layout, tile=TILES[-number % 3])
        )
    flat = (ONE, NONE, ONE)
    found += [Case((3, 8, 9, 7), (20, 8, 1, 1), flat, tile=tile) for tile in TILES]
    found += [Case((150, 6, 1, 1), (5, 6, 1, 1), flat), Case((1, 4, 5, 5), (70, 4, 1, 1), flat)]
    found += [Case((2, 4, 7, 6), (8, 4, 1, 1), ((2, 3), NONE, ONE), layout="channels_last")]
    found += [Case((1, 8, 6, 5), (8, 4, 3, 3), GEOMETRIES[2], 2, dtype=d) for d in list(BOUND)[1:]]
    bads = itertools.product(("input", "weight", "gradient"), ("nan", "inf"))
    small = (1, 4, 6, 6), (8, 4, 3, 3)
    found += [Case(*small, GEOMETRIES[1 + n % 2], bad=bad) for n, bad in enumerate(bads)]
    found += [
        Case(*small, GEOMETRIES[2], kind=kind, bad=("input", "nan")) for kind in ("full", "sign")
    ]
    unread = ((1, 4, 6, 6), (8, 4, 1, 1), ((4, 4), NONE, ONE))  # the NaN lies between the strides
    return found + [Case(*unread, kind=kind, bad=("input", "nan")) for kind in ("clip", "full")]


def name(case: Case) -> str:
    parts = (*case.shape, "x", *case.weight, *itertools.chain(*case.geometry), *case[3:7])
    return "-".join(map(str, (*parts, case.tile.TM, *(case.bad or ()))))


def operands(case: Case, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Input in the case's layout, weight, upstream gradient."""
    generator = torch.Generator().manual_seed(len(name(case)))

    def draw(shape: Any) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        return numbers.to(getattr(torch, case.dtype))

    x, w = draw(case.shape), draw(case.weight)
    grad = draw(reference.adder_conv2d(x, w, *case.geometry, case.groups).shape)
    if case.bad:
        target = {"input": x, "weight": w, "gradient": grad}[case.bad[0]]
        target.view(-1)[7] = float(case.bad[1])
    if case.layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif case.layout == "sliced":
        x = torch.stack([x, x], -1)[..., 0]
    return x.to(device), w.to(device), grad.to(device)


def difference(got: Tensor, expected: Tensor) -> float:
    """max|a − b| / max|b| over finite numbers; infinite if NaN or infinities stand elsewhere."""
    got, expected = got.double().cpu(), expected.cpu()
    finite = expected.isfinite()
    alike = torch.equal(got.isnan(), expected.isnan()) and torch.equal(
        got[~finite].nan_to_num(0), expected[~finite].nan_to_num(0)
    )
    if not alike:
        return float("inf")
    scale = expected[finite].abs().max().item() if finite.any() else 1.0
    gap = (got - expected)[finite].abs().max().item() if finite.any() else 0.0
    return gap / scale if scale else gap


def differences(case: Case, device: str = "cpu") -> tuple[float, float]:
    """Of the forward kernel and of the input gradient kernel, called directly."""
    from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton

    x, w, grad = operands(case, device)
    args = (*case.geometry, case.groups)
    y = adder_triton.forward(x, w, *args)
    dx = adder_triton.input_gradient(grad, x, w, *args, case.kind)
    expected = reference.adder_conv2d(x.cpu(), w.cpu(), *args)
    gradient = reference.adder_input_gradient(grad.cpu(), x.cpu(), w.cpu(), *args, case.kind)
    assert (y.shape, dx.shape) == (expected.shape, x.shape)
    return difference(y, expected), difference(dx, gradient)


def interpret_all() -> None:
    """Print {case: differences}; run in a process of its own, with TRITON_INTERPRET=1."""
    from saa_lite.ops import adder_triton  # noqa: PLC0415

    results = {}
    for case in cases():
        adder_triton.choose_tile = lambda *_, tile=case.tile: tile  # type: ignore[attr-defined]
        results[name(case)] = differences(case)
    print(json.dumps(results))


@pytest.fixture(scope="module")
def interpreted() -> dict[str, tuple[float, float]]:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        check=False, timeout=500, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return results


@NEEDS_TRITON
@pytest.mark.parametrize("case", cases(), ids=name)
def test_interpreted_kernels_equal_the_oracle(case: Case, interpreted: Any) -> None:
    forward, gradient = interpreted[name(case)]
    assert forward <= BOUND[case.dtype]
    assert gradient <= BOUND[case.dtype]


@pytest.fixture
def device() -> str:
    return "cuda"


@pytest.mark.gpu
@pytest.mark.parametrize("case", cases(), ids=name)
def test_kernels_on_a_device_equal_the_oracle(case: Case, device: str) -> None:
    forward, gradient = differences(case, device)
    assert forward <= BOUND[case.dtype]
    assert gradient <= BOUND[case.dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("weight_gradient", ["full", "sign"])
@pytest.mark.parametrize("input_gradient", ["clip", "full", "sign"])
@pytest.mark.parametrize("triton", ["0", "1"])
@pytest.mark.parametrize(
    ("shape", "weight", "groups"),
    [
        ((4, 16, 32, 32), (16, 16, 3, 3), 1),
        ((4, 96, 16, 16), (16, 96, 1, 1), 1),
        ((4, 40, 9, 7), (24, 20, 3, 3), 2),
        ((4, 24, 9, 7), (24, 1, 3, 3), 24),
    ],
)
def test_operator_on_a_device(
    shape: Any, weight: Any, groups: int, triton: str, weight_gradient: str, input_gradient: str,
    device: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Through autograd, against the oracle; without Triton and for depthwise layers as well."""
    monkeypatch.setenv("SAA_TRITON", triton)
    case = Case(shape, weight, (ONE, (weight[2] // 2,) * 2, ONE), groups)
    x, w, grad = operands(case, device)
    x, w = x.requires_grad_(), w.requires_grad_()
    kinds = {"weight_gradient": weight_gradient, "input_gradient": input_gradient}
    y = adder_conv2d(x, w, *case.geometry, groups, **kinds)
    again = adder_conv2d(x, w, *case.geometry, groups, **kinds)
    dx, dw = torch.autograd.grad(y, (x, w), grad)
    plain = (x.detach().cpu(), w.detach().cpu(), *case.geometry, groups)
    assert torch.equal(y, again)
    assert y.is_contiguous()
    assert difference(y.detach(), reference.adder_conv2d(*plain)) <= 1e-5
    expected = reference.adder_input_gradient(grad.cpu(), *plain, input_gradient)
    assert difference(dx, expected) <= 1e-5
    expected = reference.adder_weight_gradient(grad.cpu(), *plain, weight_gradient)
    assert difference(dw, expected) <= 1e-5


@pytest.mark.gpu
def test_addresses_beyond_32_bits(device: str) -> None:
    """2.4e9 numbers: the last image must come out as if it stood alone."""
    x = torch.zeros(37, 64, 1000, 1000, dtype=torch.float16, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    x[-1] = torch.randn_like(x[-1])
    w = torch.randn(16, 64, 1, 1, dtype=torch.float16, device=device)
    kernels = adder_gpu.kernels(x, w, (len(x), 16, *x.shape[2:]), 1)
    assert kernels is not None
    geometry = (ONE, NONE, ONE, 1)
    assert torch.equal(kernels.forward(x, w, *geometry)[-1:], kernels.forward(x[-1:], w, *geometry))


if __name__ == "__main__":
    interpret_all()
