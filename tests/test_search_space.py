"""Candidates: one encoding per network, nothing invalid, costs that are composed exactly."""

import json
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from search_samples import SMALL, written

from saa_lite.costs import count
from saa_lite.errors import UsageError
from saa_lite.models.inverted import InvertedBlock
from saa_lite.nn import AdderConv2d, ShiftConv2d
from saa_lite.search import Block, Budget, Space, budget, cheapest, counted, predict

WIDE = Space(16, 3, 10, stem=8, widths=(8, 16, 24), strides=(2, 1, 2))


def drawn(space: Space, count: int, seed: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return [space.express(space.draw(generator)) for _ in range(count)]


def test_json_and_genes_lead_back_to_the_candidate() -> None:
    for candidate in drawn(WIDE, 50):
        text = json.dumps(candidate.as_json())
        assert WIDE.candidate(json.loads(text)) == candidate
        assert WIDE.express(WIDE.genes_of(candidate)) == candidate


def test_genes_of_blocks_that_are_not_there_change_nothing() -> None:
    genes = SMALL.genes_of(SMALL.candidate(written()))
    assert genes["1.depth"] == 1
    for kernel, operator in product((3, 5), ("conv", "adder")):
        other = genes | {"1.2.kernel": kernel, "1.2.operator": operator}
        assert SMALL.express(other) == SMALL.candidate(written())


def test_size_is_the_number_of_different_networks() -> None:
    tiny = Space(8, 1, 10, 4, (4,), (1,), (1.0, 2.0), (1, 2), (3,), (2, 3), ("conv", "shift"))
    names = list(tiny.genes)
    every = {
        tiny.express(dict(zip(names, point, strict=True)))
        for point in product(*tiny.genes.values())
    }
    assert len(every) == tiny.size == 2 * 2 * 2 * (4 + 16)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stem": 6}, "a width must be one of 4, 8; got 6"),
        ({"first": "binary"}, "first must be one of 'conv', 'shift', 'adder'; got 'binary'"),
        ({"stages": []}, "2 stages and nothing else are needed"),
        ({"head": 3}, "2 stages and nothing else are needed"),
        ({"stages": [{"width": 8, "blocks": [[7, 3, "conv"]]}] * 2}, "1.1.kernel must be one of"),
        ({"stages": [{"width": 8, "blocks": [[3, 3, "conv"]] * 3}] * 2}, "1.depth must be one of"),
        ({"stages": [{"width": 8, "blocks": [[3, 3]]}] * 2}, "this is no network of the space"),
        ({"stages": [{"width": 8, "blocks": []}] * 2}, "1.depth must be one of"),
    ],
)
def test_what_is_no_network_of_the_space_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SMALL.candidate(written(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"multiples": (1.0, 1.1)}, "must give different widths"),
        ({"multiples": (2.0, 1.0)}, "multiples must be ascending"),
        ({"operators": ("binary",)}, "operators must be among"),
        ({"kernels": (2, 3)}, "kernels must be among"),
        ({"strides": (1,)}, "every stage must have a width and a stride"),
        ({"stem": 5}, "stem even"),
        ({"stem": 2, "multiples": (1.0, 1.5)}, "every stem must be even"),
    ],
)
def test_impossible_spaces_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Space(**{**SMALL.as_settings(), **changes})


def test_built_networks_are_as_written() -> None:
    net = SMALL.build(SMALL.candidate(written()))
    blocks = [part for part in net.modules() if isinstance(part, InvertedBlock)]
    assert [block.depthwise.conv.kernel_size[0] for block in blocks] == [3, 5, 3, 3]
    assert [block.project.conv.out_channels for block in blocks] == [2, 8, 8, 8]
    assert [block.depthwise.conv.in_channels for block in blocks] == [4, 6, 16, 24]
    assert [block.has_shortcut for block in blocks] == [False, False, False, True]
    kinds = [type(block.project.conv) for block in blocks]
    assert kinds[:2] == [AdderConv2d, ShiftConv2d]
    assert kinds[3] is AdderConv2d


def test_the_first_three_convolutions_are_one_point_of_the_space() -> None:
    stages = [{"width": 8, "blocks": [[3, 3, "adder"]]}, {"width": 8, "blocks": [[3, 3, "conv"]]}]
    net = SMALL.build(SMALL.candidate(written(stages=stages)))
    eligible = [p for n, p in net.named_modules() if n.endswith(("expand.conv", "project.conv"))]
    assert [isinstance(layer, AdderConv2d) for layer in eligible] == [True] * 3 + [False] * 2


def test_300_candidates_cost_what_the_built_network_costs_to_the_bit() -> None:
    other = Space(9, 3, 7, stem=8, widths=(6, 10), strides=(2, 2))
    short = replace(SMALL, widths=(4,), strides=(2,))
    for space, networks in ((short, 280), (SMALL, 10), (other, 10)):
        for candidate in drawn(space, networks):
            whole = count(space.build(candidate), (1, space.in_channels, *[space.image_size] * 2))
            assert predict(space, candidate) == counted(whole)


def test_what_has_been_counted_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = drawn(SMALL, 20)
    before = [predict(SMALL, candidate) for candidate in candidates]
    monkeypatch.setattr(budget, "count", lambda *_: pytest.fail("counted twice"))
    assert [predict(SMALL, candidate) for candidate in candidates] == before


def test_no_network_is_cheaper_than_the_cheapest() -> None:
    costs = [predict(SMALL, candidate) for candidate in drawn(SMALL, 300, seed=1)]
    for metric in budget.METRICS:
        least = cheapest(SMALL, metric)
        assert least <= min(cost[metric] for cost in costs)
        with pytest.raises(
            UsageError, match=f"no network .* {metric} .* its cheapest has {least:g}"
        ):
            Budget({metric: 0.99 * least}).check(SMALL)
        Budget({metric: least}).check(SMALL)


def test_budgets_speak_of_known_metrics_and_hold_the_limit_itself() -> None:
    costs = predict(SMALL, SMALL.candidate(written()))
    assert Budget(costs).allows(costs)
    assert not Budget({**costs, "products": costs["products"] - 1}).allows(costs)
    with pytest.raises(UsageError, match="budget must be one of"):
        Budget({"energy": 1.0})
    with pytest.raises(UsageError, match="must be a number above 0; got 0"):
        Budget({"products": 0})
    with pytest.raises(UsageError, match="a budget needs a limit"):
        Budget({})


def test_blocks_are_written_in_one_order() -> None:
    assert Block._fields == ("kernel", "expansion", "operator")
    assert SMALL.candidate(written()).as_json() == written()
