"""The tables of torch's operators."""

import itertools

from saa_lite.costs.blank import RULES as BLANK
from saa_lite.costs.operations import CATEGORIES, CHEAP, IN_PLACE, MOVES, base_name
from saa_lite.costs.products import RULES


def test_no_operator_stands_in_two_tables() -> None:
    for one, other in itertools.combinations([set(RULES), set(CHEAP), set(MOVES)], 2):
        assert not one & other


def test_every_category_is_used_and_known() -> None:
    assert {category for category, _ in CHEAP.values()} | {"bias"} == set(CATEGORIES)
    assert set(CATEGORIES) > IN_PLACE


def test_shapes_worked_out_here_belong_to_known_operators() -> None:
    assert set(BLANK) <= set(CHEAP) | set(RULES) | MOVES


def test_names_lose_namespace_and_in_place_mark() -> None:
    assert base_name("aten::add_") == "add"
    assert base_name("aten::_softmax") == "_softmax"
    assert base_name("saa_lite::fixed_point") == "fixed_point"
