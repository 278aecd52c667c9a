"""Forest plots: a line per claim, states told by colour and marker, published values hollow."""

import pytest
from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items.claims import Claim
from saa_lite.items.registry import find_item
from saa_lite.records import measured_records
from saa_lite.report import forest as made_forest
from saa_lite.report.protocols import NO_VERDICT, NOT_YET, VERDICTS, YES
from saa_lite.report.scorecard import SOURCE, item_judgements, item_tables, judgements
from saa_lite.report.verdict import ONE_NETWORK, Estimate, Judgement
from saa_lite.viz.forest import LOOKS, Line, forest_figure
from saa_lite.viz.panel import png
from saa_lite.viz.style import COLOURS


def line(text: str = "It helps", state: str = "supported", unit: str = "points") -> Line:
    return Line(text, state, unit, 2.0, (1.0, 3.0), published=2.4, note="n = 4")


def test_states_differ_in_colour_and_marker_together_and_name_every_verdict() -> None:
    assert set(VERDICTS) < set(LOOKS)
    assert len(set(LOOKS.values())) == len(LOOKS)
    markers = [marker for _, marker in LOOKS.values()]
    assert max(map(markers.count, markers)) <= 2  # and then the colour tells


def drawn(figure: Figure) -> dict[str, list[float]]:
    """Horizontal positions of points and ends of intervals of the first panel, by their look."""
    found: dict[str, list[float]] = {"interval": [], "published": [], "measured": []}
    for one in figure.axes[0].get_lines():
        x = [float(value) for value in one.get_xdata()]
        if one.get_markerfacecolor() == "none":
            found["published"] += x
        elif one.get_marker() not in ("None", "", None):
            found["measured"] += x
        elif one.get_linewidth() == 2:
            found["interval"] += x
    return found


def test_a_line_holds_what_was_measured_and_what_is_printed() -> None:
    figure = forest_figure([line(), Line("It does not", "open", "points", published=-1.0)], "Two")
    assert drawn(figure) == {
        "interval": [1.0, 3.0], "measured": [2.0], "published": [2.4, -1.0],
    }  # fmt: skip
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["It helps", "It does not"]
    assert figure.axes[0].get_ylim() == (1.5, -0.5)  # the first line is on top
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["supported", "open", "published"]
    assert COLOURS["published"] not in [colour for colour, _ in LOOKS.values()]
    assert png(figure).startswith(b"\x89PNG")


def test_units_have_panels_of_their_own() -> None:
    figure = forest_figure([line(), line(unit="bits"), line()], "Three")
    assert [axis.get_xlabel() for axis in figure.axes] == ["points", "bits"]
    assert [len(axis.get_yticks()) for axis in figure.axes] == [2, 1]


def test_a_line_far_out_does_not_flatten_the_others() -> None:
    near = [Line(str(i), "open", "points", 1.0, (0.5, 1.5)) for i in range(5)]
    assert forest_figure(near, "Near").axes[0].get_xscale() == "linear"
    far = [*near, Line("far", "open", "points", 80.0, (74.0, 89.0))]
    assert forest_figure(far, "Far").axes[0].get_xscale() == "symlog"


def test_labels_and_notes_lie_within_the_figure() -> None:
    figure = forest_figure([line("x" * 60)], "Long")
    figure.draw_without_rendering()
    box = figure.axes[0].get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_places_are_rounded_so_that_files_are_the_same_each_time() -> None:
    """The layout's solver orders its unknowns by address, so last digits differ by the run."""
    for axis in forest_figure([line(), line(unit="bits")], "Two").axes:
        bounds = axis.get_position().bounds
        assert bounds == pytest.approx([round(number, 4) for number in bounds], abs=1e-12)


def test_what_was_measured_before_a_protocol_stays_without_a_verdict() -> None:
    found = item_judgements("shiftaddaug/claim-cifar100")
    gain = "shiftaddaug/claim-cifar100:gain"
    tested = [row for row in found["source"] if row.claim and row.claim.id == gain]
    assert [row.id for row in tested] == [f"regime-{letter}:AugShift - Shift" for letter in "mou"]
    (far,) = (row for row in found["contrast"] if row.claim and row.claim.id == gain)
    assert (far.text, far.published, far.key) == ("AugShift − Shift (regime-d)", "", False)
    (earlier,) = (row for row in found["exploration"] if row.id == gain)
    assert (earlier.testable, earlier.verdict) == ("no: control failed", NO_VERDICT)
    assert earlier.estimate is not None


def test_an_empty_forest_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one line"):
        forest_figure([], "None")


def row(testable: str, verdict: str, table: str = "source", **changes: object) -> Judgement:
    claim = Claim("a/b:c", table, "Text", "Definition.", lambda records: None)  # type: ignore[arg-type]
    estimate = Estimate(2.0, (1.0, 3.0), "points")
    made = {"estimate": estimate, "seeds": 4} | changes
    return Judgement("a/b:c", "Text", claim, "", 2.4, testable, verdict, **made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("judged", "state", "note"),
    [
        (row(YES, "supported"), "supported", "n = 4"),
        (row(YES, "open", needed=30), "open", "n = 4"),
        (row("no: power", "open"), "not testable here", "n = 4, power"),
        (row("no: control failed", NO_VERDICT), "not testable here", "n = 4, control failed"),
        (row(NOT_YET, "2 of 8 seeds so far", estimate=None, seeds=0), "not testable here",
         "2 of 8 seeds so far"),
        (row(NO_VERDICT, NO_VERDICT, "exploration"), "exploration, no verdict", "n = 4"),
    ],
)  # fmt: skip
def test_rows_of_the_scorecard_become_lines(judged: Judgement, state: str, note: str) -> None:
    (made,) = made_forest.lines([judged])
    assert (made.state, made.note, made.published) == (state, note, 2.4)


def test_rows_without_any_number_are_left_out() -> None:
    bare = Judgement("a/b:c", "Text", None, "picture", None, "no: no protocol", NO_VERDICT)
    assert made_forest.lines([bare]) == []


def test_items_draw_their_rows_from_tracked_records() -> None:
    figure = made_forest.forest("shiftaddaug/claim-cifar100")
    assert "Gain on CIFAR-100" in figure.get_suptitle()
    assert "Augmentation improves a shift network" in [
        text.get_text() for text in figure.axes[0].get_yticklabels()
    ]
    with pytest.raises(UsageError, match="at least one line"):
        made_forest.forest("adder-quant/eq-flops")  # exact checks have no interval


def test_records_may_be_chosen() -> None:
    item = "shiftaddaug-supp/addconv-nas"
    chosen = [r for r in measured_records(item) if r.dataset == "digits"]
    found = item_judgements(item, chosen)
    assert set(found) == {"source", "exploration"}
    assert all("digits" in row.budget for rows in found.values() for row in rows)
    assert "| statement | published |" in item_tables(item, chosen)
    assert item_tables(item, chosen) != item_tables(item)
    digits = [r for r in measured_records("adder-quant/tab5") if r.dataset == "digits"]
    assert len(made_forest.forest("adder-quant/tab5", digits).axes) > 1


def test_of_chosen_records_only_rows_that_they_speak_of_are_shown() -> None:
    """The statements of figure 1 read the package's own networks, on CIFAR-10."""
    chosen = [r for r in measured_records("adder-quant/fig1") if r.dataset == "digits"]
    (rows,) = item_judgements("adder-quant/fig1", chosen).values()
    assert all(row.estimate and "digits" in row.budget for row in rows)
    assert len(rows) < len(find_item("adder-quant/fig1").claims)


def test_a_verdict_on_one_network_is_drawn_as_one() -> None:
    rows = [r for r in judgements(["adder-quant"])[SOURCE] if r.testable == ONE_NETWORK]
    assert rows
    assert [one.state for one in made_forest.lines(rows)] == [row.verdict for row in rows]
    assert {one.note for one in made_forest.lines(rows)} == {"one network, by images"}
