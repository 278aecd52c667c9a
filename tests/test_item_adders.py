"""The sweep over steps of adder weights: what is drawn is what was recorded."""

from typing import Any

import pytest
from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items.fairness import FAIR
from saa_lite.items.shiftaddaug import adders
from saa_lite.records import Record, config_hash


def trained(
    method: str, seed: int, value: float, eta: float | None, protocol: str = "travel-digits 1"
) -> Record:
    settings: dict[str, Any] = {"protocol": protocol, "train_images": 70, "test_images": 0}
    settings |= {"batch_size": 20, "net_width": 8}
    settings |= {} if eta is None else {"eta": eta}
    return Record(
        item=adders.ITEM_ID, metric="accuracy" if method.startswith("aug") else FAIR, value=value,
        unit="%", method=method, model="resnet8", dataset="digits", seed=seed, profile="laptop",
        epochs=9, device="a CPU", versions={}, config_hash=config_hash(settings),
        commit="unknown", seconds=1.0, peak_memory_mb=1.0, settings=settings,
    )  # fmt: skip


RECORDS = [
    *(trained("adder", seed, 50.0 + seed, None) for seed in range(3)),
    *(trained("adder", seed, 80.0 + 2 * seed, 2.4) for seed in range(3)),
    trained("aug-adder-raw", 0, 60.0, 2.4),
    trained("adder", 9, 99.0, 9.6, "steps-d 2"),
    trained("conv", 0, 90.0, None),
    trained("conv", 1, 94.0, None),
]


def test_a_step_that_no_record_names_is_the_default() -> None:
    (sweep,) = adders.sweeps_of(RECORDS[:6], ("adder", "adder-calm"))
    assert (sweep.arm, sweep.etas) == ("adder", (0.2, 2.4))
    assert sweep.values == ((50.0, 51.0, 52.0), (80.0, 82.0, 84.0))
    assert sweep.intervals[0] == pytest.approx((51 - 4.302653 / 3**0.5, 51 + 4.302653 / 3**0.5))


def test_the_figure_has_the_sweep_and_nothing_else() -> None:
    figure = adders.draw(RECORDS, [])
    assert isinstance(figure, Figure)
    (axis,) = figure.axes
    assert axis.get_title("left") == "9 epochs, 36 updates"
    curve = next(line for line in axis.get_lines() if line.get_marker() == "o")
    assert list(curve.get_xdata()) == [0.2, 2.4]
    assert list(curve.get_ydata()) == [51.0, 82.0]
    level = next(line for line in axis.get_lines() if line.get_label() == "convolution")
    assert set(level.get_ydata()) == {92.0}
    assert "validation images" in axis.get_ylabel()


def test_without_accuracies_the_sentence_says_so() -> None:
    with pytest.raises(UsageError, match="no training has ended with an accuracy"):
        adders.draw([], [])
