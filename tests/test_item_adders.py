"""The sweep over steps of adder weights: what is drawn is what was recorded."""

from dataclasses import replace
from typing import Any

import pytest
from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items.select import FAIR
from saa_lite.items.shiftaddaug import adders
from saa_lite.items.shiftaddaug.adders import eta_of
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


def text_of(figure: Figure) -> str:
    assert figure._suptitle is not None
    return figure._suptitle.get_text()


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


def steps() -> list[Record]:
    return [
        trained(arm, seed, value + seed, eta, "steps-digits 1")
        for seed in range(3)
        for arm, value, eta in (
            ("adder", 50.0, None),
            ("adder", 80.0, 2.4),
            ("adder", 40.0, 4.8),
            ("aug-adder-raw", 60.0, 2.4),
        )
    ]


def test_every_arm_of_the_choice_of_steps_is_drawn_in_its_panel() -> None:
    alone, inside = adders.draw_arms([*RECORDS, *steps()]).axes
    curve = next(line for line in alone.get_lines() if line.get_marker() == "o")
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([0.2, 2.4, 4.8], [51, 81, 41])
    assert next(list(line.get_ydata()) for line in inside.get_lines()) == [61.0]
    with pytest.raises(UsageError, match="no training of steps-digits"):
        adders.draw_arms(RECORDS)


def test_the_table_of_best_steps() -> None:
    add, inside = adders.best_rows([*RECORDS, *steps()])
    assert (add["best η"], add["η = 0.2"]) == ("81.0 % (η = 2.4)", "51.0 %")
    assert (add["worst η"], add["seeds of each"]) == ("41.0 % (η = 4.8)", "3")
    assert (add["values of η"], inside["values of η"]) == ("3 of 5", "1 of 5")
    assert (inside["arm"], inside["η = 0.2"]) == ("AugAdd, not remapped", "")
    without = [r for r in steps() if (r.seed, eta_of(r)) not in ((2, 2.4), (1, 2.4), (2, 4.8))]
    add, inside = adders.best_rows(without)
    assert (add["seeds of each"], inside["seeds of each"]) == ("1 to 3 of 3 seeds", "1 of 3 seeds")


def test_means_of_an_unfinished_set_say_over_how_many_seeds() -> None:
    """travel-digits asks for ten seeds, steps-digits for three."""
    assert "interval over 2 to 3 of 10 seeds" in text_of(adders.draw(RECORDS, []))
    whole = [trained("adder", seed, 50.0, None) for seed in range(10)]
    assert text_of(adders.draw(whole, [])).endswith("interval over seeds")
    assert text_of(adders.draw_arms(steps())).endswith("9 epochs")
    assert text_of(adders.draw_arms(steps()[:4])).endswith("9 epochs, 1 of 3 seeds")
    assert adders.length_rows(RECORDS)[0]["seeds"] == "2 to 3 of 10 seeds"
    assert adders.length_rows(whole)[0]["seeds"] == "10"
    (row,) = adders.worth_rows([*whole, *(trained("adder", s, 60.0 + s, 2.4) for s in range(4))])
    assert row["η: best − 0.2"].endswith("], 4 of 10 seeds")
    assert adders.best_rows(RECORDS) == []


def test_the_table_of_lengths() -> None:
    longer = [replace(r, epochs=20, value=r.value + 4) for r in RECORDS]
    short, long = adders.length_rows([*RECORDS, *longer, *steps()])
    assert (short["trained for"], long["trained for"]) == ("9 epochs", "20 epochs")
    assert short["Add, η = 0.2"] == "51.0 %"
    assert long["Add, best η"] == "86.0 % (η = 2.4)"
    assert (long["Mult"], long["Add, frozen"], long["Add, calm start, best η"]) == (
        "96.0 %",
        "",
        "",
    )


def test_what_step_and_operator_are_worth_is_paired_over_seeds() -> None:
    """50, 51, 52 at AdderNet's step, 80, 82, 84 at the best; convolutions: 90, 94, 95."""
    (short,) = adders.worth_rows(RECORDS)
    assert short["operator: convolution − N(0, 1) at best"] == ""  # two seeds
    (row,) = adders.worth_rows([*RECORDS, trained("conv", 2, 95.0, None), *steps()])
    half = 4.302653 / 3**0.5  # of differences 30, 31, 32
    difference = f"+31.0 [{31 - half:+.1f}, {31 + half:+.1f}], 3 of 10 seeds"
    assert row["η: best − 0.2"] == difference
    assert row["operator: convolution − N(0, 1) at best"].startswith("+11.0 [")
    assert row["start: calm − N(0, 1), both at best"] == ""
    assert adders.worth_rows(steps()) == []
