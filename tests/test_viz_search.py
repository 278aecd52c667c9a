"""Drawings of searches: fronts, populations, networks, ranks."""

import pytest
from search_samples import SMALL, written

from saa_lite.errors import UsageError
from saa_lite.search import METRICS
from saa_lite.search.evolution import Tried, front, hypervolume
from saa_lite.viz.search import (
    Point,
    front_figure,
    generations_figure,
    kendall,
    named,
    networks_figure,
    tau_figure,
)

NETWORK = SMALL.candidate(written())
POINTS = [
    Point(NETWORK, accuracy, dict.fromkeys(METRICS, cost))
    for accuracy, cost in ((50.0, 3.0), (60.0, 4.0), (55.0, 4.5), (40.0, 1.0), (60.0, 5.0))
]


def test_front_has_what_nothing_beats() -> None:
    found = [
        (p.accuracy, p.costs["products"]) for p in front(POINTS, lambda p: p.costs["products"])
    ]
    assert found == [(40.0, 1.0), (50.0, 3.0), (60.0, 4.0)]
    trials = [Tried(i, {}, p.accuracy, p.costs["products"]) for i, p in enumerate(POINTS)]
    area = 40 * (4.5 - 1) + 10 * (4.5 - 3) + 10 * (4.5 - 4)
    assert hypervolume(trials, 4.5) == pytest.approx(area / (100 * 4.5))
    assert hypervolume(trials, 0.5) == 0


def test_generations_are_shown_in_order_and_earlier_ones_behind() -> None:
    figure = generations_figure(POINTS, 2, "energy_A", 4.2, shown=3)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        f"generation {n}" for n in (1, 2, 3)
    ]
    counts = [[len(dots.get_offsets()) for dots in axis.collections] for axis in figure.axes]
    assert counts == [[0, 2], [2, 2], [4, 1]]
    with pytest.raises(UsageError, match="drawn from its trials; got none"):
        generations_figure([], 2, "energy_A", 1.0)


@pytest.mark.parametrize(("limit", "title"), [(4.2, "winner: 60.0 %"), (0.5, "no trial keeps")])
def test_winner_is_the_best_within_the_budget(limit: float, title: str) -> None:
    figure = front_figure(POINTS, "energy_B", limit)
    assert figure.axes[1].get_title(loc="left").startswith(title)


def test_networks_have_a_bar_per_block_as_high_as_its_middle() -> None:
    axis = networks_figure({"one": NETWORK}).axes[0]
    heights = [bar.get_height() for bars in axis.containers for bar in bars]
    assert heights == [4, 2 * 3, 8 * 2, 8 * 3]
    assert [text.get_text() for text in axis.texts] == ["3", "5", "3", "3"]


def test_tau_counts_pairs() -> None:
    assert kendall([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx(1)
    assert kendall([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx((5 - 1) / 6)
    assert "τ = -1.00, n = 2" in tau_figure([1, 2], [2, 1]).axes[0].get_title(loc="left")


def test_axes_name_unit_and_accounting() -> None:
    assert named("energy_B") == "energy, accounting B, mJ"
    assert named("products") == "products"
    assert named("peak_bytes") == "peak memory, bytes"
