"""Drawings of the tracked records: legends cover nothing, unfinished runs are told as such."""

import pytest
from matplotlib.figure import Figure

from saa_lite import cli
from saa_lite.errors import UsageError
from saa_lite.items.registry import get_item
from saa_lite.records import Record, append_record, measured_path, measured_records

SOURCE = "addernet-impacts"


def draw(name: str, records: list[Record]) -> Figure:
    item = get_item(f"{SOURCE}/{name}")
    assert item.draw is not None
    figure = item.draw(records, [])
    assert isinstance(figure, Figure)
    return figure


def tracked(name: str, **wanted: str) -> list[Record]:
    found = measured_records(f"{SOURCE}/{name}")
    records = [r for r in found if all(getattr(r, field) == v for field, v in wanted.items())]
    assert records
    return records


@pytest.mark.parametrize("name", ["fig-features", "fig-kernels"])
def test_the_legend_lies_outside_of_every_panel(name: str) -> None:
    figure = draw(name, tracked(name))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert {"CNN", "AdderNet"} <= {text.get_text().split(",")[0] for text in legend.get_texts()}
    for axis in figure.axes:
        assert axis.get_legend() is None
        panel = axis.get_tightbbox()
        assert panel is not None
        assert not legend.get_window_extent().overlaps(panel)


@pytest.mark.parametrize(
    ("name", "wanted", "complaint"),
    [
        ("eq-gradients", {"metric": "relative_error"}, "sign_cosine_slope of adder"),
        ("fig-features", {"method": "conv"}, "cosine_minus_l1_accuracy of conv and adder"),
        ("fig-kernels", {"metric": "accuracy"}, "laplace_advantage of conv and adder"),
        ("fig-loss-cifar10", {"metric": "test_loss"}, "no accuracy with a log per epoch"),
        ("claim-speed", {"method": "adder"}, "latency_ms of conv and adder"),
    ],
)
def test_records_of_an_unfinished_run(name: str, wanted: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=f"{SOURCE}/{name} cannot be drawn: .*{complaint}"):
        draw(name, tracked(name, **wanted))


def test_a_batch_size_without_pairs_is_left_out() -> None:
    records = tracked("claim-speed")
    pairs = [r for r in records if r.settings["batch"] == 1 or r.method == "conv"]
    (axis,) = draw("claim-speed", pairs).axes
    assert axis.get_title(loc="left").startswith("1 image: ")


def test_the_command_says_it_in_one_sentence(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    equations = tracked("eq-gradients", metric="relative_error")
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    for record in equations:
        append_record(measured_path(record.item), record)
    assert cli.main(["figures"]) == 2
    assert capsys.readouterr().err.startswith(f"saa-lite: {SOURCE}/eq-gradients cannot be drawn")
