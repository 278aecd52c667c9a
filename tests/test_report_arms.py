"""Tables that define arms, gates and verdicts are read off recipes, protocols and records."""

from dataclasses import replace

import pytest
from test_item_regimes import TINY

from saa_lite.items.contrasts import TRAINED
from saa_lite.items.recipes import RECIPES
from saa_lite.items.select import FAIR
from saa_lite.protocols.load import Gate, parse
from saa_lite.records import Record, config_hash
from saa_lite.report import pages, verdict


def test_every_recipe_has_its_own_row() -> None:
    """Two arms that differ have rows that differ: the table leaves nothing out."""
    rows = [start | around for start, around in zip(
        pages.start_rows(RECIPES), pages.around_rows(RECIPES), strict=True
    )]  # fmt: skip
    kept = [
        {k: v for k, v in row.items() if k not in ("arm", "in the records")}
        for row, method in zip(rows, RECIPES, strict=True)
        if not method.startswith("aug-shift-") or method.count("-") == 2
    ]
    assert len({tuple(row.items()) for row in kept}) == len(kept)
    assert len({row["arm"] for row in rows if "aug-shift-" not in row["arm"]}) == len(rows) - sum(
        "aug-shift-" in row["arm"] for row in rows
    )


def test_a_row_says_what_the_recipe_is() -> None:
    (around,) = pages.around_rows(["aug-adder-calm-unsorted"])
    assert around["the target"] == "adds, from a calm start"
    assert around["around it"] == "width and expansion, multiplying"
    assert (around["remapped?"], around["sorted?"]) == ("yes", "no")
    (alone,) = pages.around_rows(["remap-adder"])
    assert (alone["around it"], alone["remapped?"], alone["sorted?"]) == ("nothing", "yes", "")
    (frozen,) = pages.start_rows(["adder-calm-frozen"])
    assert frozen["adder weights start as"] == "6 times as wide"
    assert frozen["what is different"] == "residual branches start at 0; adder weights never learn"


PROTOCOL = parse("tiny", TINY)


def measured(method: str, seed: int, value: float, **own: str) -> Record:
    settings = {"protocol": PROTOCOL.label, "epochs": 1, **own}
    return Record(
        item=PROTOCOL.item, metric="accuracy" if method == "netaug" else FAIR, value=value,
        unit="%", method=method, model="resnet8", dataset="digits", seed=seed, profile="laptop",
        epochs=1, device="a CPU", versions={}, config_hash=config_hash(settings),
        commit="unknown", seconds=1.0, peak_memory_mb=1.0, settings=settings,
    )  # fmt: skip


@pytest.fixture
def one_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("verdict", "protocols"):
        monkeypatch.setattr(f"saa_lite.report.{module}.list_protocols", lambda item: ["tiny"])
        monkeypatch.setattr(f"saa_lite.report.{module}.load_protocol", lambda name: PROTOCOL)


@pytest.mark.usefixtures("one_protocol")
def test_an_unfinished_protocol_shows_how_far_it_is_and_no_number() -> None:
    records = [measured("conv", 3, 50.0), measured("netaug", 3, 60.0)]
    (row, *_) = verdict.verdict_rows(PROTOCOL.item, records)
    assert row["testable here?"] == "not yet"
    assert row["verdict"] == "1 of 2 seeds so far"
    assert row["measured, points"] is None
    assert "1 of 2 seeds so far" in verdict.said(PROTOCOL.item, records)


@pytest.mark.usefixtures("one_protocol")
def test_gates_say_what_was_asked_and_found() -> None:
    rows = verdict.gate_rows(
        PROTOCOL.item, [measured("conv", 3, 50.0), measured("netaug", 3, 60.0)]
    )
    assert [row["gate"] for row in rows] == [gate.name for gate in PROTOCOL.gates]
    assert {row["met?"] for row in rows} == {"not measured yet"}  # of the longer training nothing
    both = [measured("conv", 5, 50.0), measured("conv", 5, 50.5, arm="conv-long")]
    (row,) = verdict.gate_rows(PROTOCOL.item, both)
    assert (row["asked"], row["measured"], row["met?"]) == ("at most 1", "0.50", "yes")
    empty = verdict.gate_rows(PROTOCOL.item, [])
    assert {row["met?"] for row in empty} == {"not measured yet"}
    assert {row["measured"] for row in empty} == {None}


@pytest.mark.parametrize(("trained", "met"), [(50.5, "yes, so far"), (60.0, "**no**, so far")])
def test_a_gate_that_lacks_a_seed_says_so(
    trained: float, met: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = Gate("hardly a gap", "gap", "conv", most=2.5, least=0.0)
    monkeypatch.setattr(verdict, "tests_of", lambda item: [replace(PROTOCOL, gates=(gap,))])
    known = [measured("conv", 3, 50.0), replace(measured("conv", 3, trained), metric=TRAINED)]
    (row,) = verdict.gate_rows(PROTOCOL.item, known)
    assert row["asked"] == "at least 0 and at most 2.5"
    assert (row["measured"], row["met?"]) == (f"{trained - 50:.2f} (1 of 2 seeds)", met)


def test_without_a_protocol_the_sentence_says_so() -> None:
    assert "exploration" in verdict.said("shiftaddaug/fig4", [])
