"""Claims, verdicts, and items run, resumed and drawn."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items.base import Claim, Context, Exact, Item, Samples, built, dataset_label
from saa_lite.items.catalogue import CATALOGUE
from saa_lite.items.claims import CLAIMS
from saa_lite.items.listing import item_status
from saa_lite.items.registry import get_item, is_built, list_items
from saa_lite.items.runner import draw_measured, run_item
from saa_lite.items.select import best_group, paired, single
from saa_lite.items.table import Table
from saa_lite.published import PublishedNumber
from saa_lite.records import Record, config_hash, promote, read_records, run_folder
from saa_lite.records.metrics import METRICS
from saa_lite.report.scorecard import claim_rows, scorecard_markdown, scorecard_text
from saa_lite.report.verdict import (
    CONTRADICTED,
    DIRECTION,
    INCONCLUSIVE,
    NOT_RUN,
    REPRODUCED,
    VERDICTS,
    decide,
    judge,
    t_interval,
)

ITEM = "addernet-impacts/fig-loss-cifar10"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return tmp_path


def samples(values: list[float], *, published: bool = True, **changes: Any) -> Samples:
    made = Samples(tuple(values), "points", "above", 0.0, published, "5 epochs")
    return replace(made, **changes)


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
    return next(c for c in CLAIMS if c.id == f"addernet-impacts/{name}")


def curves(ahead: list[float], **changes: Any) -> list[Record]:
    """CNN and adder accuracies whose paired differences are ``ahead``."""
    pairs = [(seed, 90 + seed, 90 + seed - gap) for seed, gap in enumerate(ahead)]
    return [
        record(method, seed, value, **changes)
        for seed, conv, adder in pairs
        for method, value in (("conv", conv), ("adder", adder))
    ]


def test_interval_against_a_textbook_value() -> None:
    # n = 3, s = 1: t(0.975, 2) = 4.30265, so the half width is 4.30265 / sqrt(3).
    low, high = t_interval((1.0, 2.0, 3.0))
    half = 4.30265 / math.sqrt(3)
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (samples([1.0, 1.1, 0.9, 1.0, 1.2]), REPRODUCED),
        (samples([1.0, 1.1, 0.9, 1.0, 1.2], published=False), DIRECTION),
        (samples([1.0, 1.1, 0.9, 1.0]), DIRECTION),
        (samples([1.0, 1.1, 0.9]), DIRECTION),
        (samples([1.0, 3.0, 0.2]), INCONCLUSIVE),  # all positive, and yet
        (samples([1.0, -1.0, 2.0, 0.5, -0.5]), INCONCLUSIVE),
        (samples([-1.0, -1.1, -0.9]), CONTRADICTED),
        (samples([-1.0, -1.1, -0.9], holds="below"), DIRECTION),
        (samples([0.5, 0.6, 0.4], holds="below", threshold=1.0), DIRECTION),
        (samples([1.5, 1.6, 1.4], holds="below", threshold=1.0), CONTRADICTED),
        (samples([0.9, 1.1, 1.0], holds="below", threshold=1.0), INCONCLUSIVE),
        (samples([5.0]), NOT_RUN),
        (samples([]), NOT_RUN),
        (samples([0.0, 0.0, 0.0]), INCONCLUSIVE),
    ],
)
def test_verdict_rules(found: Samples, verdict: str) -> None:
    assert decide(found) == verdict


def test_verdicts_are_the_five_agreed_phrases() -> None:
    assert VERDICTS == (
        "reproduced",
        "direction reproduced",
        "inconclusive (interval spans yes and no)",
        "contradicted",
        "not run at this scale",
    )


def test_a_claim_about_the_end_of_training_is_not_judged_by_a_shorter_run() -> None:
    short = samples([-1.0, -1.1, -0.9], published=False)
    assert decide(short, only_at_published_setting=True) == NOT_RUN
    assert decide(short) == CONTRADICTED
    assert decide(replace(short, published_setting=True), only_at_published_setting=True) == (
        CONTRADICTED
    )


def test_exact_statements_need_no_seeds() -> None:
    checks = [record("forward", 0, 1e-15, metric="relative_error", unit="")]
    assert judge(claim("eq-gradients:definition"), checks).verdict == REPRODUCED
    checks.append(record("input-gradient", 0, 1e-3, metric="relative_error", unit=""))
    judged = judge(claim("eq-gradients:definition"), checks)
    assert judged.verdict == CONTRADICTED
    assert judged.measured == "at most 1.0e-03"
    assert isinstance(claim("eq-gradients:definition").samples(checks), Exact)


def test_without_records_every_claim_is_not_run_at_this_scale() -> None:
    assert {row["verdict"] for row in claim_rows()} == {NOT_RUN}


@pytest.mark.parametrize("made", CLAIMS, ids=lambda made: made.id)
def test_claims_belong_to_items_and_have_their_own_names(made: Claim) -> None:
    assert made in CATALOGUE[made.item].claims
    assert made.id.startswith(made.item + ":")
    assert [other.id for other in CLAIMS].count(made.id) == 1


@pytest.mark.parametrize(
    ("name", "metric", "method", "good"),
    [
        ("eq-gradients:sign-worsens", "sign_cosine_slope", "adder", -0.05),
        ("fig-features:conv-rays", "cosine_minus_l1_accuracy", "conv", 2.0),
        ("fig-features:adder-clusters", "cosine_minus_l1_accuracy", "adder", -2.0),
        ("fig-kernels:adder-laplace", "laplace_advantage", "adder", 0.02),
        ("fig-kernels:conv-gauss", "laplace_advantage", "conv", -0.02),
    ],
)
def test_one_method_claims_hold_on_one_side_and_fail_on_the_other(
    name: str, metric: str, method: str, good: float
) -> None:
    def verdict(value: float) -> str:
        values = [value * factor for factor in (0.99, 1.0, 1.01)]
        made = [record(method, seed, v, metric=metric) for seed, v in enumerate(values)]
        return judge(claim(name), made).verdict

    assert verdict(good) == DIRECTION
    assert verdict(-good) == CONTRADICTED


def test_features_count_as_published_only_on_the_whole_of_mnist() -> None:
    def verdict(**changes: Any) -> str:
        made = [
            record("conv", seed, 2 + seed / 10, metric="cosine_minus_l1_accuracy", **changes)
            for seed in range(5)
        ]
        return judge(claim("fig-features:conv-rays"), made).verdict

    whole = {"train_images": 60_000}
    assert verdict(dataset="mnist", epochs=20, settings=whole) == REPRODUCED
    assert verdict(dataset="digits", epochs=20, settings=whole) == DIRECTION
    assert verdict(dataset="mnist", epochs=2, settings=whole) == DIRECTION
    assert verdict(dataset="mnist", epochs=20, settings={"train_images": 600}) == DIRECTION


def test_loss_curve_claims_at_the_published_setting() -> None:
    near = curves([0.8, 0.7, 0.9, 0.8, 0.75])
    assert judge(claim("fig-loss-cifar10:cnn-ahead"), near).verdict == REPRODUCED
    assert judge(claim("fig-loss-cifar10:close"), near).verdict == REPRODUCED
    assert judge(claim("fig-loss-cifar10:learns"), near).verdict == REPRODUCED
    far = curves([4.0, 4.1, 3.9, 4.0, 4.2])
    assert judge(claim("fig-loss-cifar10:close"), far).verdict == CONTRADICTED


def test_loss_curve_claims_of_a_short_run() -> None:
    short = curves([4.0, 4.1, 3.9, 4.0, 4.2], epochs=10)
    assert judge(claim("fig-loss-cifar10:cnn-ahead"), short).verdict == DIRECTION
    judged = judge(claim("fig-loss-cifar10:close"), short)
    assert judged.verdict == NOT_RUN
    assert judged.seeds == 5
    assert judged.measured == "4.04 points"
    assert "10 epochs" in judged.budget
    assert "50,000 images" in judged.budget


def test_records_of_another_set_never_speak_for_cifar() -> None:
    shapes = curves([0.8, 0.7, 0.9, 0.8, 0.75], dataset="shapes")
    assert judge(claim("fig-loss-cifar10:learns"), shapes).verdict == NOT_RUN


def test_speed_is_judged_by_the_sign_of_the_difference() -> None:
    slow = curves([-9.0, -8.0, -9.5], metric="latency_ms", unit="ms")
    assert judge(claim("claim-speed:adder-faster"), slow).verdict == CONTRADICTED
    fast = curves([9.0, 8.0, 9.5, 9.0, 8.8], metric="latency_ms", unit="ms")
    assert judge(claim("claim-speed:adder-faster"), fast).verdict == DIRECTION


def test_pairs_are_made_of_equal_seeds_of_one_configuration() -> None:
    made = [
        record("conv", 0, 10.0),
        record("conv", 1, 20.0),
        record("adder", 1, 15.0),
        record("adder", 2, 99.0),
        record("adder", 0, 50.0, settings={"train_images": 7}),
    ]
    found = paired(made, "accuracy", ("conv", "adder"), "above")
    assert found is not None
    assert found.values == (5.0,)
    assert paired(made[:2], "accuracy", ("conv", "adder"), "above") is None


def test_several_short_runs_weigh_more_than_one_long_and_published_more_than_all() -> None:
    several = [record("adder", seed, 50.0 + seed, epochs=10) for seed in range(3)]
    long = [record("adder", 0, 80.0, epochs=100, settings={"train_images": 40_000})]
    found = single([*several, *long], "accuracy", "adder", "above")
    assert found is not None
    assert len(found.values) == 3
    group = best_group([*several, *long], "accuracy", ("adder",), lambda r: r.epochs == 100)
    assert group is not None
    assert [r.value for r in group.records] == [80.0]


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
    row = next(r for r in claim_rows() if r["claim"].startswith("The CNN stays ahead"))
    assert row["published"] == "curves only; adder-quant Table 1: CNN 92.25 %, adder 91.42 %"
    assert row["measured"] == "+4 points"
    assert row["verdict"] == DIRECTION
    assert "1 of 26 items measured" in scorecard_text()
    assert "| measured |" in scorecard_markdown()


def test_unbuilt_items_and_unknown_profiles_are_refused() -> None:
    unbuilt = next(i for i in list_items() if not is_built(i.id))
    with pytest.raises(UsageError, match=f"{unbuilt.id} is not built yet"):
        run_item(get_item(unbuilt.id), Context("laptop"))
    with pytest.raises(UsageError, match="profile must be one of 'smoke', 'laptop', 'full'"):
        run_item(item(laptop=Settings(1)), Context("huge"))
    with pytest.raises(UsageError, match=f"profile of {ITEM} must be one of 'laptop'"):
        run_item(item(laptop=Settings(1)), Context("full"))


@pytest.mark.parametrize("item_id", [i.id for i in list_items() if is_built(i.id)])
def test_built_items_have_all_profiles_a_run_and_a_drawing(item_id: str) -> None:
    made = get_item(item_id)
    assert set(made.profiles) == {"smoke", "laptop", "full"}
    assert made.run is not None
    assert made.draw is not None
    assert made.claims == CATALOGUE[item_id].claims
    assert item_id in METRICS, "the metrics of a built item are listed, so that others are noticed"


def test_paths_are_cut_from_data_set_names() -> None:
    assert dataset_label("folder:/home/ada/photos") == "folder:photos"
    assert dataset_label("cifar10") == "cifar10"
