"""Where adder layers may stand: the item runs, and its claims read setbacks off the logs."""

from dataclasses import replace

import pytest
from test_items_augmented import claim

from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.select import FAIR, setback
from saa_lite.items.shiftaddaug_supp.addconv_nas import METHODS, PROFILES, TIMED
from saa_lite.records import Record
from saa_lite.report.verdict import judge

ITEM = "shiftaddaug-supp/addconv-nas"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    settings = replace(PROFILES["smoke"], train_images=20, test_images=10, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        found = run_item(get_item(ITEM), Context("smoke", progress=False), settings=settings)
        again = run_item(get_item(ITEM), Context("smoke", progress=False), settings=settings)
    assert again == found  # nothing is measured again
    return found


def test_every_method_is_trained_and_two_are_timed(records: list[Record]) -> None:
    assert {r.method for r in records if r.metric == "accuracy"} == set(METHODS)
    timed = {r.method: r.value for r in records if r.metric == "slowdown"}
    assert set(timed) == set(TIMED)
    assert timed[TIMED[0]] == 1.0
    assert timed[TIMED[1]] > 0


def with_curve(record: Record, seed: int, *accuracies: float) -> Record:
    log = [{"epoch": i, "test_accuracy": a / 100} for i, a in enumerate(accuracies)]
    return replace(record, seed=seed, value=accuracies[-1], log=log)


@pytest.mark.parametrize(
    ("curve", "fall"),
    [((10, 20, 30), 0), ((10, 40, 30, 45, 25, 50), 20), ((50, 40, 30), 20), ((), 0)],
)
def test_setback_is_the_largest_fall(records: list[Record], curve: tuple, fall: float) -> None:
    record = next(r for r in records if r.metric == "accuracy")
    log = [{"test_accuracy": a / 100} for a in curve]
    assert setback(replace(record, log=log)) == pytest.approx(fall)


def test_claims_follow_the_records(records: list[Record]) -> None:
    one = next(r for r in records if r.metric == "accuracy")
    curves = {"shift": (50, 90), "conv": (95, 92), "shift-add3": (40, 91)}
    made = [
        with_curve(replace(one, method=method), seed, *(a + 0.1 * seed for a in curve))
        for method, curve in curves.items()
        for seed in range(3)
    ]
    made = [replace(r, value=r.value + (0.2 if r.method == "shift" and r.seed == 1 else 0))
            for r in made]  # fmt: skip
    made += [replace(r, metric=FAIR) for r in made]
    gain = judge(claim(get_item(ITEM), "gain"), made)
    assert gain.estimate.mean == pytest.approx(91 - 90 - 0.2 / 3)
    falls = [r if r.method != "shift" else with_curve(r, r.seed, 90, 88 + r.seed / 9, 90)
             for r in made if r.metric == "accuracy"]  # fmt: skip
    judged = judge(claim(get_item(ITEM), "stability-shift"), falls)
    # Falls of two points beside three; a log keeps six digits.
    assert judged.estimate.mean == pytest.approx(2 - 1 / 9 - 3, abs=1e-4)
    assert judge(claim(get_item(ITEM), "stem"), made).estimate is None
