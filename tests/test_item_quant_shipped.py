"""Items of quantisation on networks that come with the package: none is trained, all is paired."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trained_samples

from saa_lite.errors import CheckpointError
from saa_lite.items.adder_quant import operation_tables, tab3, tab5
from saa_lite.items.adder_quant.networks import tracked_network, training_folder
from saa_lite.items.base import Context
from saa_lite.items.output import Table
from saa_lite.items.registry import get_item
from saa_lite.items.runner import prepared, run_item
from saa_lite.published import load_published
from saa_lite.records import Record, append_record, profile_path, unpack_hits
from saa_lite.train import TrainConfig

QUIET = Context("shipped", progress=False)
SMALL: dict[str, Any] = {
    "dataset": "digits", "model": "lenet5_bn", "weights": "toys", "train_images": 60,
    "test_images": 40, "batch_size": 10, "calibration_batches": 2,
}  # fmt: skip
NETWORK: dict[str, Any] = {
    "model": "lenet5_bn", "num_classes": 10, "in_channels": 1, "width": None,
    "image_size": 32, "probe": ((0.0,) * 10,), "options": {},
}  # fmt: skip
FORGOTTEN = ("lr", "epochs", "flip", "optimizer")
"""Settings of a training, which these networks had elsewhere."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a convolutional network of 7 epochs and an adder network of 5 come trained."""
    monkeypatch.setenv("SAA_HOME", str(tmp_path / "home"))
    (tmp_path / "trained").mkdir()
    trained_samples.use_folder(tmp_path / "trained", monkeypatch)
    for kind, epochs in (("conv", 7), ("adder", 5)):
        training = NETWORK | {"training": {**vars(TrainConfig(epochs=epochs))}}
        trained_samples.publish(conv=kind, **training)
    return tmp_path / "home"


def right(record: Record) -> float:
    assert record.hits is not None
    hits = unpack_hits(record.hits)
    assert len(hits) == 40
    return float(100 * hits.mean())


def test_table_5_goes_on_where_it_was_stopped_and_pairs_all_arms(home: Path) -> None:
    settings = replace(tab5.PROFILES["shipped"], **SMALL, bits=(4, 3), iterations=1, controls=False)
    item, path = get_item("adder-quant/tab5"), profile_path("adder-quant/tab5", "shipped")
    assert item.run is not None
    for number, record in enumerate(item.run(settings, prepared(item, QUIET)), start=1):
        append_record(path, record)
        if number == 9:  # two of full precision, four of nearest at 4 bits, three at 3
            break
    stopped = path.read_text().splitlines()
    records = run_item(item, QUIET, settings=settings)
    assert path.read_text().splitlines()[:6] == stopped[:6]
    found = {(r.method, r.metric): r for r in records}
    arms = [arm for arm in tab5.METHODS if arm not in tab5.CONTROLS]
    assert {method for method, _ in found} == {*arms, *tab5.FULL.values()}
    for arm in arms:
        name, metric = tab5.full_of(arm)
        full = found[name, metric]
        assert full.value == pytest.approx(right(full))
        for bits in (4, 3):
            change = found[arm, f"change_{bits}_bits"]
            assert change.value == pytest.approx(right(change) - right(full))
    assert {(r.method.startswith("CNN"), r.epochs) for r in records} == {(True, 7), (False, 5)}
    assert records[0].settings["weights"] == "toys"
    assert not set(FORGOTTEN) & set(records[0].settings)
    assert not training_folder("", 40).parent.exists()
    assert item.draw is not None
    table = item.draw(records, load_published(item.id, related=True))
    assert isinstance(table, Table)
    assert "one network of each operator, intervals over 40 test images" in table.rows[0][0]
    assert all("[" in row[3] for row in table.rows if row[1] in arms)  # an interval over images


def test_table_1_tests_the_networks_that_there_are(home: Path) -> None:
    settings = replace(operation_tables.PROFILES["shipped"], **SMALL)
    records = [r for r in run_item(get_item("adder-quant/tab1"), QUIET, settings=settings)
               if r.metric == "accuracy"]  # fmt: skip
    assert {(r.method, r.epochs) for r in records} == {("conv", 7), ("adder", 5)}
    assert all(r.value == pytest.approx(right(r)) for r in records)


def test_settings_of_trainings_are_hashed_as_before() -> None:
    """Records of networks that were trained here say nothing of weights."""
    for module in (operation_tables, tab3, tab5):
        shared = module.PROFILES["laptop"].shared()
        assert "weights" not in shared
        assert "controls" not in shared
        assert set(FORGOTTEN) <= set(shared)


def test_a_tracked_network_is_found_by_what_it_is() -> None:
    assert not tracked_network("conv", "resnet20", "digits").training
    with pytest.raises(CheckpointError, match="0 tracked networks are called conv-resnet20-mnist"):
        tracked_network("conv", "resnet20", "mnist")
