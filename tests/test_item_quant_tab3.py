"""Item adder-quant/tab3: every α in every protocol, beside full precision in the same protocol."""

from dataclasses import replace

import pytest

from saa_lite.items.adder_quant.tab3 import FULL, PROFILES, PROTOCOLS, method_of
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.published import load_published
from saa_lite.records import Record

ITEM = get_item("adder-quant/tab3")
QUIET = Context("smoke", progress=False)
ALPHAS = PROFILES["smoke"].alphas


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """One network; first without quantisation-aware training, then with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        short = replace(PROFILES["smoke"], tuned_epochs=0)
        without = run_item(ITEM, QUIET, settings=short)
        found = run_item(ITEM, QUIET, settings=PROFILES["smoke"])
        assert run_item(ITEM, QUIET, settings=short) == without  # nothing is measured again
    return [*without, *found]


def test_every_alpha_has_every_protocol(run: list[Record]) -> None:
    methods = {FULL, *map(method_of, ALPHAS)}
    for tuned in (0, 1):
        part = [record for record in run if record.settings["tuned_epochs"] == tuned]
        metrics = {"logit_error", *list(PROTOCOLS)[: 2 + tuned]}
        assert {(r.method, r.metric) for r in part} == {(m, n) for m in methods for n in metrics}
        errors = {r.method: r.value for r in part if r.metric == "logit_error"}
        assert errors.pop(FULL) == 0
        assert all(error > 0 for error in errors.values())


def test_training_after_quantising_does_not_change_the_other_protocols(run: list[Record]) -> None:
    """The same network, calibration images and codes, whether or not training follows."""
    values = [
        {(r.method, r.metric): r.value for r in run if r.settings["tuned_epochs"] == tuned}
        for tuned in (0, 1)
    ]
    assert all(values[1][key] == value for key, value in values[0].items())


def test_the_table_has_rows_for_each_configuration(run: list[Record]) -> None:
    assert ITEM.draw is not None
    table = ITEM.draw(run, load_published(ITEM.id))
    cost = table.columns.index("quantisation-aware, cost")
    labels = ["full precision", *(method_of(alpha).removeprefix("alpha ") for alpha in ALPHAS)]
    assert sorted(row[1] for row in table.rows) == sorted(labels * 2)
    assert sum(row[cost] != "—" for row in table.rows) == len(ALPHAS)
    assert all("lenet5_bn, digits, 4 epochs" in row[0] for row in table.rows)
