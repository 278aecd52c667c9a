"""Comparisons of the Triton kernels with the oracle, for a GPU and for Triton's interpreter."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from saa_lite.ops import reference
from saa_lite.ops._arguments import Pair
from saa_lite.ops.adder_tiles import Tile

ONE, NONE, SAME = (1, 1), (0, 0), (1, 1)
GEOMETRIES: list[tuple[Pair, Pair, Pair]] = [
    (ONE, NONE, ONE),
    (ONE, SAME, ONE),
    ((2, 2), (1, 1), (1, 1)),
    ((1, 3), (2, 0), (1, 1)),
    ((2, 1), (1, 3), (2, 1)),
    ((3, 2), (2, 2), (1, 2)),
]
TILES = [Tile(8, 2, 16, 8), Tile(4, 2, 32, 4), Tile(2, 2, 64, 2)]
BOUND = 1e-6  # of max|a − b| / max|b|; bytes are exact


class Case(NamedTuple):
    """One comparison; bad: (tensor, number) to place a NaN or an infinity."""

    shape: tuple[int, ...]
    weight: tuple[int, ...]
    geometry: tuple[Pair, Pair, Pair]
    groups: int = 1
    kind: str = "clip"
    layout: str = "plain"
    tile: Tile | None = None
    bad: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """Everything about it in one word."""
        parts = (*self.shape, "x", *self.weight, *itertools.chain(*self.geometry), *self[3:6])
        return "-".join(map(str, (*parts, self.tile.TM if self.tile else 0, *(self.bad or ()))))


def cases() -> list[Case]:
    """All axes, each value of an axis with each tile, and two of three widths per geometry."""
    found = []
    widths = [(3, 5, 1), (8, 12, 1), (8, 10, 2)]
    pairs = itertools.product(GEOMETRIES, widths)
    kept = [pair for number, pair in enumerate(pairs) if number % 3 != number // 3 % 3]
    for number, (geometry, (c, f, g)) in enumerate(kept):
        kind = ("clip", "sign", "full", "sign")[number % 4]
        layout = ("plain", "channels_last", "sliced")[number // 2 % 3]
        shape = (1 + number % 2, c, 6, 5)
        found.append(
            Case(shape, (f, c // g, 3, 2), geometry, g, kind, layout, tile=TILES[-number % 3])
        )
    flat = (ONE, NONE, ONE)
    found += [Case((3, 4, 7, 7), (20, 4, 1, 1), flat, tile=tile) for tile in TILES]
    found += [Case((130, 3, 1, 1), (5, 3, 1, 1), flat), Case((1, 4, 3, 3), (70, 4, 1, 1), flat)]
    found += [Case((2, 4, 7, 6), (8, 4, 1, 1), ((2, 3), NONE, ONE), layout="channels_last")]
    return found + narrow_cases() + bad_cases()


def narrow_cases() -> list[Case]:
    """Depthwise layers and other groups of few channels or filters."""
    widths = [(8, 8, 8), (6, 12, 6), (6, 3, 3), (8, 24, 4), (5, 5, 5)]  # channels, filters, groups
    kinds = ("clip", "sign", "full", "clip", "sign")
    return [
        Case((2, c, 6, 5), (f, c // g, 3, 2), geometry, g, kind, layout)
        for (c, f, g), geometry, kind, layout in zip(
            widths, GEOMETRIES[1:], kinds, ("plain", "channels_last") * 3, strict=False
        )
    ]


def bad_cases() -> list[Case]:
    """NaN and infinities, which the kernels' short cuts would hide."""
    bads = itertools.product(("input", "weight", "gradient"), ("nan", "inf"))
    small = (1, 4, 4, 4), (8, 4, 2, 2)
    found = [
        Case(*small, GEOMETRIES[1 + n % 2], kind=("clip", "sign")[n // 2 % 2], bad=bad)
        for n, bad in enumerate(bads)
    ]
    found += [Case(*small, GEOMETRIES[2], kind="full", bad=("input", "nan"))]
    found += [Case((1, 4, 4, 4), (4, 1, 2, 2), GEOMETRIES[1], 4, kind="sign", bad=("input", "nan"))]
    unread = ((1, 4, 6, 6), (8, 4, 1, 1), ((4, 4), NONE, ONE))  # the NaN lies between the strides
    return found + [Case(*unread, kind=kind, bad=("input", "nan")) for kind in ("clip", "full")]


def edge_cases() -> list[Case]:
    """One-pixel maps, odd layouts, addresses off the grid of 16 bytes, expanded gradients."""
    point = ((5, 8, 1, 1), (12, 8, 3, 3), (ONE, SAME, ONE))
    maps = [Case(*point, layout=layout) for layout in ("sliced", "offset", "expanded")]
    wide = ((2, 8, 5, 4), (8, 8, 3, 3), ((2, 2), (3, 3), (2, 2)))
    maps += [Case(*wide, kind=kind, layout="offset") for kind in ("clip", "full", "sign")]
    return [*maps, Case((2, 8, 4, 4), (8, 4, 2, 2), (ONE, NONE, ONE), 2, layout="expanded")]


def operands(case: Case, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Input in the case's layout, weight, upstream gradient."""
    generator = torch.Generator().manual_seed(len(case.name))
    x = torch.randn(case.shape, generator=generator)
    w = torch.randn(case.weight, generator=generator)
    shape = reference.adder_conv2d(x, w, *case.geometry, case.groups).shape
    grad = torch.randn(shape, generator=generator)
    if case.bad:
        target = {"input": x, "weight": w, "gradient": grad}[case.bad[0]]
        target.view(-1)[7] = float(case.bad[1])
    if case.layout == "expanded":
        grad = grad[:1, :1, :1, :1].expand(shape)
    x, w, grad = x.to(device), w.to(device), grad.to(device)
    return _laid_out(x, case.layout), w, grad


def _laid_out(x: Tensor, layout: str) -> Tensor:
    last = torch.channels_last
    if layout == "channels_last":
        return x.contiguous(memory_format=last)
    if layout == "sliced":
        return torch.stack([x, x], -1)[..., 0]
    if layout == "offset":  # dense, and four bytes off
        dense = x.contiguous(memory_format=last)
        return dense.new_empty(x.numel() + 1)[1:].as_strided(x.shape, dense.stride(), 1).copy_(x)
    return x


def difference(got: Tensor, expected: Tensor) -> float:
    """max|a − b| / max|b| over finite numbers; infinite if NaN or infinities stand elsewhere."""
    got, expected = got.double().cpu(), expected.double().cpu()
    finite = expected.isfinite()
    alike = got.shape == expected.shape and torch.equal(got.isnan(), expected.isnan())
    if not alike or not torch.equal(got[~finite].nan_to_num(0), expected[~finite].nan_to_num(0)):
        return float("inf")
    scale = expected[finite].abs().max().item() if finite.any() else 1.0
    gap = (got - expected)[finite].abs().max().item() if finite.any() else 0.0
    return gap / scale if scale else gap


def differences(case: Case, device: str = "cpu") -> dict[str, float]:
    """Of the kernels, called directly: forward, input gradient and, for signs, weight gradient."""
    from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton

    x, w, grad = operands(case, device)
    args = (*case.geometry, case.groups)
    y = adder_triton.forward(x, w, *args, tile=case.tile)
    dx = adder_triton.input_gradient(grad, x, w, *args, case.kind, tile=case.tile)
    host = (x.cpu().double(), w.cpu().double(), *args)
    upstream = grad.cpu().double()
    expected: dict[str, Callable[[], Tensor]] = {
        "forward": lambda: reference.adder_conv2d(*host),
        "input gradient": lambda: reference.adder_input_gradient(upstream, *host, case.kind),
        "weight gradient": lambda: reference.adder_weight_gradient(upstream, *host, "sign"),
    }
    found = {"forward": y, "input gradient": dx}
    if case.kind == "sign":
        found["weight gradient"] = adder_triton.weight_sign_gradient(grad, x, w, *args)
    return {name: difference(numbers, expected[name]()) for name, numbers in found.items()}


def byte_difference(case: Case, device: str = "cpu") -> float:
    """Of the kernel for bytes, padded with 200; 0 where it is right."""
    from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton

    x, w, _ = operands(case._replace(bad=None), device)
    x, w = (((t * 60 + 128).clamp(0, 255)).to(torch.uint8) for t in (x, w))
    stride, (up, side), dilation = case.geometry
    got = adder_triton.forward_u8(x, w, *case.geometry, case.groups, 200)
    padded = F.pad(x.cpu().double(), (side, side, up, up), value=200)
    host = padded, w.cpu().double(), stride, NONE, dilation, case.groups
    return difference(got, reference.adder_conv2d(*host))
