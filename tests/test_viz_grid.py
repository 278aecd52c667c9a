"""The panel over multiples and α shows the records' own differences."""

from dataclasses import replace

import numpy as np
import pytest
from test_items_augmented import made

from saa_lite.items.recipes import GRID
from saa_lite.records import Record
from saa_lite.viz.regimes import grid_figure, grid_numbers


@pytest.fixture
def records() -> list[Record]:
    values = {"shift": 80.0, GRID[1.5, 0.3]: 82.0, GRID[4.0, 3.0]: 79.0}
    return [
        made("shiftaddaug/fig4", method, seed, value + seed)
        for method, value in values.items()
        for seed in ((0, 1, 2) if method == "shift" else (0, 2))
    ]


def test_numbers(records: list[Record]) -> None:
    lopsided = [replace(r, value=r.value + 3) if r.seed == 2 else r for r in records]
    numbers = grid_numbers(records, GRID, "shift", "1.5", "0.3")
    assert numbers["gain in points"] == pytest.approx(2.0)
    assert numbers["accuracy alone"] == pytest.approx(81.0)
    assert grid_numbers(lopsided, GRID, "shift", "4.0", "3.0")["worst seed"] == pytest.approx(-1)
    assert grid_numbers(records, GRID, "shift", "2.6", "1.0") == {}


def test_picture(records: list[Record]) -> None:
    figure = grid_figure(records, GRID, "shift", "1.5", "0.3")
    table, accuracies = figure.axes
    texts = {text.get_text(): text for text in table.texts}
    assert list(texts).count("+2.0") == 1
    assert sum(text.get_text() == "not run" for text in table.texts) == 7
    frames = {text.get_text(): text.get_bbox_patch() for text in table.texts}
    assert frames["+2.0"].get_edgecolor() != frames["-1.0"].get_edgecolor()
    # Seeds 0 and 2 have both; seed 1 of the base alone belongs to no pair and is not drawn.
    *joined, alone, augmented = (np.asarray(line.get_ydata()).tolist() for line in accuracies.lines)
    assert joined == [[80.0, 82.0], [82.0, 84.0]]
    assert (alone, augmented) == ([80.0, 82.0], [82.0, 84.0])


def test_every_cell_has_the_same_scale(records: list[Record]) -> None:
    figures = [
        grid_figure(records, GRID, "shift", *cell) for cell in (("1.5", "0.3"), ("2.6", "1"))
    ]
    low, high = figures[0].axes[1].get_ylim()
    assert figures[1].axes[1].get_ylim() == (low, high)
    assert low < 79  # the lowest accuracy of all cells
    assert high > 84
