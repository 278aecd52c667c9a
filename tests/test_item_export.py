"""Item shiftaddaug/fig1: what is shared and exported, from a real model."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from test_items_augmented import claim

from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug import fig1
from saa_lite.records import Record
from saa_lite.report.verdict import FAILS, HOLDS, judge

ITEM = "shiftaddaug/fig1"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        item = get_item(ITEM)
        settings = replace(item.profiles["smoke"], train_images=20, batch_size=10)
        return run_item(item, Context("smoke", progress=False), settings=settings)


@pytest.mark.parametrize("method", fig1.METHODS)
def test_the_export_is_the_target_and_nothing_else(records: list[Record], method: str) -> None:
    value = {r.metric: r.value for r in records if r.method == method}
    assert value["export_difference"] == 0
    assert value["exported_bytes"] == value["plain_bytes"]
    assert value["target_parameters"] < value["augmented_parameters"]
    (weight,) = [r for r in records if (r.method, r.metric) == (method, "weight")]
    free = [row["weight"] for row in weight.log or [] if row["free"]]
    assert weight.value == 8
    assert len(free) == 8 * 16  # outputs and inputs of the target's layer
    assert len(weight.log or []) == 12 * 24  # those of the wide one, 1.5 times each
    (logits,) = [r.log for r in records if (r.method, r.metric) == (method, "export_difference")]
    assert len(logits or []) == fig1.SHOWN_IMAGES * 10


def test_drawn_and_judged(records: list[Record]) -> None:
    figure = fig1.draw(records, [])
    assert isinstance(figure, Figure)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[1] == "largest difference: 0"
    item = get_item(ITEM)
    assert {judge(c, records).verdict for c in item.claims} == {HOLDS}
    worse = [replace(r, value=1e-7) if r.metric == "export_difference" else r for r in records]
    assert judge(claim(item, "equal"), worse).verdict == FAILS
    fat = [replace(r, value=r.value + 1) if r.metric == "exported_bytes" else r for r in records]
    assert judge(claim(item, "size"), fat).verdict == FAILS
