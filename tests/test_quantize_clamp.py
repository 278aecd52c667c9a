"""The lossless clamp, over whole layers, and the grouping of filters."""

from itertools import combinations

import pytest
import torch

from saa_lite.ops import adder_conv2d
from saa_lite.quantize import group_filters, lossless_clamp

GEOMETRIES = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": (2, 1)},
    {"dilation": 2, "padding": 2},
    {"groups": 3, "padding": 1},
]


def layer(geometry: dict, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs that fill [low, high], its ends included, and weights of which many lie beyond."""
    generator = torch.Generator().manual_seed(0)
    channels = 6 // geometry.get("groups", 1)
    x = torch.randn(3, 6, 9, 8, generator=generator, dtype=torch.float64).clamp(low, high)
    w = 1.5 * torch.randn(12, channels, 3, 3, generator=generator, dtype=torch.float64)
    return x, w


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("positive", [False, True])
def test_clamping_weights_changes_nothing_but_a_constant(geometry: dict, positive: bool) -> None:
    bound = torch.linspace(0.7, 1.2, 12, dtype=torch.float64)  # a range per filter
    low = torch.zeros_like(bound) if positive else -bound
    x, w = layer(geometry, low.max().item(), 0.7)
    clipped, excess = lossless_clamp(w, low, bound)
    share = (clipped != w).double().mean().item()
    assert 0.2 < share < 0.8
    before = adder_conv2d(x, w, **geometry)
    after = adder_conv2d(x, clipped, **geometry) - excess.view(-1, 1, 1)
    assert (before - after).abs().max() < 1e-12
    if not positive:
        expected = (w.abs() - bound.view(-1, 1, 1, 1)).clamp_min(0).flatten(1).sum(1)
        torch.testing.assert_close(excess, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0)])
def test_an_input_beyond_the_range_breaks_the_identity(low: float, high: float) -> None:
    x, w = layer({}, low, high)
    bounds = torch.full((12,), low, dtype=torch.float64), torch.full((12,), high).double()
    clipped, excess = lossless_clamp(w, *bounds)
    x[0, 0, 4, 4] = high + 0.5
    difference = adder_conv2d(x, w) - adder_conv2d(x, clipped) + excess.view(-1, 1, 1)
    assert difference.abs().max() > 0.1
    x[0, 0, 4, 4] = low - 0.5
    difference = adder_conv2d(x, w) - adder_conv2d(x, clipped) + excess.view(-1, 1, 1)
    assert difference.abs().max() > 0.1


def spread(sizes: torch.Tensor, labels: torch.Tensor) -> float:
    return sum(
        ((part - part.mean()) ** 2).sum().item()
        for part in (sizes[labels == label] for label in labels.unique())
    )


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_groups_are_the_best_ones(groups: int) -> None:
    """Against every way of cutting the sorted values."""
    sizes = torch.randn(9, generator=torch.Generator().manual_seed(groups)).abs()
    order = sizes.argsort()
    best = float("inf")
    for cuts in combinations(range(1, 9), groups - 1):
        labels = torch.empty(9, dtype=torch.int64)
        labels[order] = torch.bucketize(torch.arange(9), torch.tensor(cuts), right=True)
        best = min(best, spread(sizes, labels))
    assert spread(sizes, group_filters(sizes, groups)) == pytest.approx(best, rel=1e-5, abs=1e-9)


def test_group_labels_ascend_with_size_and_follow_the_filters() -> None:
    sizes = torch.tensor([5.0, 1.0, 5.1, 3.0, 0.9, 3.1, 1.1])
    labels = group_filters(sizes, 3)
    assert labels.tolist() == [2, 0, 2, 1, 0, 1, 0]
    shuffle = torch.tensor([6, 2, 0, 4, 1, 5, 3])
    assert torch.equal(group_filters(sizes[shuffle], 3), labels[shuffle])


@pytest.mark.parametrize(("filters", "groups", "found"), [(6, 4, 4), (3, 4, 3), (1, 4, 1)])
def test_no_group_is_empty_when_all_filters_are_alike(
    filters: int, groups: int, found: int
) -> None:
    labels = group_filters(torch.ones(filters), groups)
    assert labels.unique().tolist() == list(range(found))
