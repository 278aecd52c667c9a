"""Tracked records are repeatable: some are measured again here and must give their numbers.

Trainings are too long for a test, and round differently on another processor. What needs none is
the same everywhere: the weights that a seed starts with, and the check of the equations.
"""

import math
from pathlib import Path

import pytest
import torch

from saa_lite.items.addernet_impacts import eq_gradients, fig_kernels
from saa_lite.items.addernet_impacts.fig_kernels import LOGGED_SEED, MEASURES
from saa_lite.items.base import Context
from saa_lite.models import create_model
from saa_lite.records import Record, measured_path, measured_records, read_records
from saa_lite.records.compact import to_lines

KERNELS, GRADIENTS = "addernet-impacts/fig-kernels", "addernet-impacts/eq-gradients"


def tracked(item: str, metric: str) -> list[Record]:
    found = [record for record in measured_records(item) if record.metric == metric]
    assert found, f"{item} has no tracked record of {metric}"
    return found


def start(record: Record) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(record.seed)
    return fig_kernels.weights(create_model("lenet5_bn", 10, record.method, in_channels=1))


@pytest.mark.parametrize("name", MEASURES)
def test_third_layer_measures_before_training(name: str) -> None:
    for record in tracked(KERNELS, f"{name}_initial"):
        again = MEASURES[name][1](start(record)[1])
        assert again == pytest.approx(record.value, rel=1e-6, abs=1e-7), record.method


def test_first_layer_filters_before_training() -> None:
    for record in tracked(KERNELS, "neighbour_correlation_initial"):
        again = fig_kernels.neighbour_correlation(start(record)[0])
        assert again == pytest.approx(record.value, rel=1e-6)
    for record in tracked(KERNELS, "neighbour_correlation"):
        if record.seed == LOGGED_SEED:
            taps = [row["initial"] for row in record.log or []]
            torch.testing.assert_close(
                torch.tensor(taps), start(record)[0].flatten(), rtol=1e-5, atol=1e-6
            )


def test_the_equations_are_checked_again() -> None:
    """Rounding errors: as many records, on the same layers, of the same order of magnitude."""
    records = tracked(GRADIENTS, "relative_error")
    layers = records[0].settings["layers"]
    settings = eq_gradients.Settings(layers, "digits", 1, 1, 1, 0, 1, demo_images=1, demo_epochs=1)
    context = Context("laptop", progress=False, item=GRADIENTS)
    again = list(eq_gradients.run(settings, context))
    assert len(again) == len(records)
    known = {record.settings["quantity"]: record.value for record in records}
    for record in again:
        assert record.config_hash in {r.config_hash for r in records}
        assert abs(math.log10(record.value / known[record.settings["quantity"]])) < 0.7


@pytest.mark.parametrize("item", ["shiftaddaug/regimes", "addernet-impacts/fig-features"])
def test_tracked_files_are_compact_and_hold_what_whole_lines_would(
    item: str, tmp_path: Path
) -> None:
    found = measured_records(item)
    text = measured_path(item).read_text(encoding="utf-8")
    assert text == "".join(f"{line}\n" for line in to_lines(found)), (
        "write_measured(item, measured_records(item))"
    )
    whole = tmp_path / "whole.jsonl"
    whole.write_text("".join(f"{record.to_line()}\n" for record in found), encoding="utf-8")
    assert read_records(whole) == found
