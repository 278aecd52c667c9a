"""Rows of the scorecard, and items run, resumed and drawn."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from saa_lite.errors import RecordError, UsageError
from saa_lite.items.base import Context, dataset_label
from saa_lite.items.claims import CLAIMS, Claim, load_claims, parse
from saa_lite.items.output import Table
from saa_lite.items.registry import (
    CATALOGUE,
    Item,
    built,
    get_item,
    item_status,
    list_items,
)
from saa_lite.items.runner import draw_measured, run_item
from saa_lite.items.select import Samples, best_group
from saa_lite.published import PublishedNumber
from saa_lite.records import PROFILES, Record, config_hash, promote, read_records, run_folder
from saa_lite.records.metrics import METRICS
from saa_lite.report.protocols import NO_VERDICT, NOT_BEGUN
from saa_lite.report.scorecard import (
    NEVER,
    claim_rows,
    scorecard_markdown,
    scorecard_text,
    summary,
)
from saa_lite.report.verdict import FAILS, HOLDS, judge

ITEM = "addernet-impacts/fig-loss-cifar10"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return tmp_path


def record(method: str, seed: int, value: float, **changes: Any) -> Record:
    settings = changes.pop("settings", {"train_images": 50_000})
    values: dict[str, Any] = {
        "item": ITEM,
        "metric": "accuracy",
        "value": value,
        "unit": "%",
        "method": method,
        "model": "resnet20",
        "dataset": "cifar10",
        "seed": seed,
        "profile": "full",
        "epochs": 400,
        "device": "a GPU",
        "versions": {},
        "config_hash": config_hash(settings),
        "commit": "unknown",
        "seconds": 1.0,
        "peak_memory_mb": 1.0,
        "settings": settings,
    }
    return Record(**{**values, **changes})


def claim(name: str) -> Claim:
    return next(c for c in CLAIMS if c.id == name)


def curves(ahead: list[float], **changes: Any) -> list[Record]:
    """CNN and adder accuracies whose paired differences are ``ahead``."""
    pairs = [(seed, 90 + seed, 90 + seed - gap) for seed, gap in enumerate(ahead)]
    return [
        record(method, seed, value, **changes)
        for seed, conv, adder in pairs
        for method, value in (("conv", conv), ("adder", adder))
    ]


CLOSE = f"{ITEM}:close"


@pytest.mark.parametrize("made", CLAIMS, ids=lambda made: made.id)
def test_rows_belong_to_items_have_their_own_names_and_say_what_they_compute(made: Claim) -> None:
    assert made in CATALOGUE[made.item].claims
    assert [other.id for other in CLAIMS].count(made.id) == 1
    assert len(made.text) <= 60
    assert made.definition.endswith(".")
    assert made.published or made.table != "source"
    assert made.samples([]) is None


def test_the_three_tables_have_the_size_that_one_can_read() -> None:
    sizes = Counter(made.table for made in CLAIMS)
    assert 25 <= sizes["source"] <= 45
    assert sizes["check"] <= 25
    assert sum(made.key for made in CLAIMS) <= 25


def row(**changes: Any) -> dict[str, Any]:
    made = {
        "id": f"{ITEM}:made", "table": "source", "text": "An adder network learns",
        "definition": "Test accuracy.", "untestable": "no protocol",
        "value": ["accuracy", "adder"],
    }  # fmt: skip
    return {k: v for k, v in (made | changes).items() if v is not None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "holds"}, "unknown: verdict"),
        ({"table": "ours"}, "table must be one of source, check, exploration; got 'ours'"),
        ({"text": "x" * 61}, "the text has 61 characters, 60 are allowed"),
        ({"untestable": None}, "a source's row says why it is untestable"),
        ({"untestable": "too hard"}, "a source's row says why"),
        ({"table": "exploration"}, "a source's row says why"),
        ({"difference": ["accuracy", "conv", "adder"]}, "one predicate at most"),
        ({"cells": ["adder-quant/tab1 | ResNet-20 CNN | CIFAR-11"]}, "no published number"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    parse(row())
    with pytest.raises((ValueError, RecordError), match=said):
        parse(row(**changes))


def test_a_torn_file_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "torn.toml"
    path.write_text('[[claim]]\nid = "a/b:c"\ntable = "source"\n')
    with pytest.raises(RecordError, match=r"torn\.toml, a/b:c: 'text'"):
        load_claims(path)


def values(made: Claim, records: list[Record]) -> tuple[float, ...]:
    found = made.samples(records)
    assert isinstance(found, Samples)
    return found.values


def test_predicates_compute_what_their_names_say() -> None:
    made = [
        record(method, seed, value + seed, metric=metric)
        for (method, metric), value in {
            ("conv", "accuracy"): 90.0, ("adder", "accuracy"): 80.0, ("binary", "accuracy"): 84.0,
            ("adder", "loss"): 4.0,
        }.items()
        for seed in range(3)
    ]  # fmt: skip

    def found(**predicate: Any) -> tuple[float, ...]:
        return values(parse(row(value=None, **predicate)), made)

    assert found(difference=["accuracy", "conv", "adder"]) == (10.0, 10.0, 10.0)
    terms = [[1, "accuracy", "conv"], [-1, "accuracy", "adder"], [2, "loss", "adder"]]
    assert found(sum=terms) == (18.0, 20.0, 22.0)
    assert found(ratio=[["accuracy", "adder"], ["loss", "adder"]]) == (20.0, 81 / 5, 82 / 6)
    assert found(ahead_of_best=["accuracy", "conv", ["adder", "binary"]]) == (6.0, 6.0, 6.0)
    assert parse(row(value=None)).samples(made) is None


def test_only_records_that_bear_on_a_row_are_looked_at() -> None:
    asked = parse(row(where={"dataset": "cifar10", "start": "own"}))
    mine = [record("adder", seed, 50.0 + seed, settings={"start": "own"}) for seed in range(3)]
    others = [
        *(replace(r, dataset="cifar100", value=1.0) for r in mine),
        *(record("adder", seed, 2.0, settings={"start": "narrow"}) for seed in range(5)),
    ]
    assert values(asked, [*others, *mine]) == (50.0, 51.0, 52.0)


def test_what_two_cells_print_is_their_difference_and_one_cell_itself() -> None:
    gain = claim("shiftaddaug/claim-cifar100:gain")
    assert gain.published == "71.83 against 69.45 % (+2.38)"
    assert gain.size == pytest.approx(2.38)
    three = claim("shiftaddaug-supp/addconv-nas:gain")
    assert (three.published, three.size) == ("0.43 points", 0.43)
    assert claim("shiftaddaug-supp/tab3:hybrid").published == "4.39 against 8.69 it/s; slower"


def test_a_statement_without_a_protocol_has_an_estimate_and_no_verdict() -> None:
    judged = judge(claim(CLOSE), curves([4.0, 4.1, 3.9, 4.0, 4.2]))
    assert (judged.testable, judged.verdict) == ("no: not converged", NO_VERDICT)
    assert judged.measured == "+4.04 points"
    assert judged.short == "+4.04 [+3.9, +4.18] points, n = 5"
    assert "400 epochs, 50,000 images" in judged.budget
    assert judge(claim(CLOSE), []).measured == NO_VERDICT


def test_two_seeds_have_no_interval() -> None:
    judged = judge(claim(CLOSE), curves([4.0, 9.0]))
    assert judged.short == "+6.5 points, n = 2"
    assert judged.interval == NO_VERDICT


@pytest.mark.parametrize(
    ("changes", "reached"),
    [({}, True), ({"epochs": 10}, False), ({"settings": {"train_images": 10_000}}, False),
     ({"settings": {}}, False)],
)  # fmt: skip
def test_the_published_setting_is_recognised(changes: dict[str, Any], reached: bool) -> None:
    assert judge(claim(CLOSE), curves([0.8, 0.7, 0.9], **changes)).at_published == reached


def test_exact_checks_hold_or_fail() -> None:
    equations = claim("addernet-impacts/eq-gradients:definition")
    checks = [record("forward", 0, 1e-15, metric="relative_error", unit="")]
    judged = judge(equations, checks)
    assert (judged.verdict, judged.measured, judged.interval) == (HOLDS, "1e-15", "exact")
    checks.append(record("input-gradient", 0, 1e-3, metric="relative_error", unit=""))
    judged = judge(equations, checks)
    assert (judged.verdict, judged.measured) == (FAILS, "0.001")
    assert judge(equations, []).verdict == NO_VERDICT


def test_pairs_are_made_of_equal_seeds_of_one_configuration() -> None:
    made = [
        record("conv", 0, 10.0),
        record("conv", 1, 20.0),
        record("adder", 1, 15.0),
        record("adder", 2, 99.0),
        record("adder", 0, 50.0, settings={"train_images": 7}),
    ]
    assert values(claim(CLOSE), made) == (5.0,)
    assert claim(CLOSE).samples(made[:2]) is None


def test_several_short_runs_weigh_more_than_one_long() -> None:
    several = [record("adder", seed, 50.0 + seed, epochs=10) for seed in range(3)]
    long = [record("adder", 0, 80.0, epochs=100, settings={"train_images": 40_000})]
    group = best_group([*several, *long], "accuracy", ("adder",))
    assert group is not None
    assert [r.value for r in group.records] == [50.0, 51.0, 52.0]


@dataclass(frozen=True)
class Settings:
    seeds: int
    stop_after: int = 100


def measure(settings: Settings, context: Context) -> Iterator[Record]:
    for seed in range(settings.seeds):
        unit = context.unit(
            method="adder",
            model="resnet20",
            dataset="folder:/photos/of/ada",
            seed=seed,
            settings={"width": 1},
            epochs=1,
        )
        if unit.done("accuracy"):
            continue
        if seed >= settings.stop_after:
            raise KeyboardInterrupt
        yield unit.record("accuracy", 10 + seed, "%", log=[{"epoch": 1, "loss": 0.5}])


def picture(records: list[Record], published: list[PublishedNumber]) -> Figure:
    figure = Figure(figsize=(2, 2))
    axes = figure.add_subplot()
    axes.plot([record.seed for record in records], [record.value for record in records])
    return figure


def item(**profiles: Settings) -> Item:
    return built(ITEM, profiles=profiles, run=measure, draw=picture)


def test_run_writes_records_and_drawing_and_draws_the_same_bytes_again(home: Path) -> None:
    made = item(laptop=Settings(2))
    records = run_item(made, Context("laptop"))
    assert [r.value for r in records] == [10.0, 11.0]
    assert records[0].dataset == "folder:ada"
    folder = run_folder(ITEM)
    first = {suffix: (folder / f"laptop{suffix}").read_bytes() for suffix in (".svg", ".png")}
    run_item(made, Context("laptop"))
    assert all((folder / f"laptop{s}").read_bytes() == content for s, content in first.items())
    assert not (home / "figures").exists()
    assert not (home / "data" / "measured").exists()


def test_an_interrupted_run_keeps_its_records_and_goes_on_from_there() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_item(item(laptop=Settings(4, stop_after=2)), Context("laptop"))
    path = run_folder(ITEM) / "laptop.jsonl"
    before = read_records(path)
    assert [r.seed for r in before] == [0, 1]
    records = run_item(item(laptop=Settings(4)), Context("laptop"))
    assert [r.seed for r in records] == [0, 1, 2, 3]
    assert read_records(path)[:2] == before


def test_fresh_forgets_the_earlier_records_of_the_profile() -> None:
    run_item(item(laptop=Settings(4)), Context("laptop"))
    assert len(run_item(item(laptop=Settings(2)), Context("laptop"), fresh=True)) == 2
    assert len(read_records(run_folder(ITEM) / "laptop.jsonl")) == 2


def test_status_and_figures_follow_from_tracked_records_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = item(smoke=Settings(1), laptop=Settings(2))
    run_item(made, Context("smoke"))
    run_item(made, Context("laptop"))
    assert item_status(ITEM) == "not yet"
    with pytest.raises(UsageError, match="no tracked records"):
        draw_measured([made])
    promote(ITEM)
    assert item_status(ITEM) == "measured"
    assert draw_measured([made]) == {ITEM: [f"{ITEM}.svg", f"{ITEM}.png"]}
    before = {path: path.read_bytes() for path in home.rglob("figures/**/*.*")}
    run_item(made, Context("smoke"), fresh=True)
    draw_measured([made])
    assert {path: path.read_bytes() for path in home.rglob("figures/**/*.*")} == before


def test_tables_are_written_as_csv_and_markdown(home: Path) -> None:
    def table(records: list[Record], published: list[PublishedNumber]) -> Table:
        return Table(("method", "a|b"), (("adder", "1,5"),))

    made = replace(item(laptop=Settings(1)), draw=table)
    run_item(made, Context("laptop"))
    folder = run_folder(ITEM)
    assert (folder / "laptop.csv").read_text() == 'method,a|b\nadder,"1,5"\n'
    assert (folder / "laptop.md").read_text().splitlines()[0] == "| method | a\\|b |"


def test_scorecard_puts_published_and_measured_in_different_columns() -> None:
    for made in curves([4.0, 4.1, 3.9], epochs=10):
        from_run = run_folder(ITEM) / "full.jsonl"
        from_run.parent.mkdir(parents=True, exist_ok=True)
        with from_run.open("a") as file:
            file.write(made.to_line() + "\n")
    promote(ITEM)
    found = next(r for r in claim_rows() if r["id"] == CLOSE)
    assert found["published"] == "92.25 against 91.42 % (+0.83)"
    assert found["measured"] == "+4 points"
    assert (found["testable here"], found["verdict"]) == ("no: not converged", NO_VERDICT)
    text = scorecard_text()
    assert f"1 of {len(CATALOGUE)} items measured" in text
    assert "+0.83 points" in text
    assert "measured on: a gpu." in text.lower()
    assert NEVER in text
    assert "| measured here |" in scorecard_markdown()


def test_without_records_nothing_has_a_verdict() -> None:
    assert {row["verdict"] for row in claim_rows()} == {NO_VERDICT, NOT_BEGUN}
    said = summary()
    assert f"0 of {len(CATALOGUE)} items measured (`saa-lite items`)." in said
    assert " rows, 0 tested, " in said


def test_unknown_profiles_are_refused() -> None:
    with pytest.raises(UsageError, match="profile must be one of 'smoke', 'laptop', 'full'"):
        run_item(item(laptop=Settings(1)), Context("huge"))
    with pytest.raises(UsageError, match=f"profile of {ITEM} must be one of 'laptop'"):
        run_item(item(laptop=Settings(1)), Context("full"))


@pytest.mark.parametrize("item_id", [i.id for i in list_items()])
def test_items_have_all_profiles_a_run_and_a_drawing(item_id: str) -> None:
    made = get_item(item_id)
    assert {"smoke", "laptop", "full"} <= set(made.profiles) <= set(PROFILES)
    assert made.run is not None
    assert made.draw is not None
    assert made.claims == CATALOGUE[item_id].claims
    assert item_id in METRICS, "the metrics of an item are listed, so that others are noticed"


def test_paths_are_cut_from_data_set_names() -> None:
    assert dataset_label("folder:/home/ada/photos") == "folder:photos"
    assert dataset_label("cifar10") == "cifar10"
