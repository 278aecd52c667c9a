"""Records: round trip, validation, concurrent writers, promotion."""

import hashlib
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saa_lite import records
from saa_lite.errors import RecordError, SaaLiteError, UsageError
from saa_lite.provenance import provenance
from saa_lite.records import (
    Record,
    append_record,
    append_unit_record,
    config_hash,
    promote,
    read_records,
    record_table,
)

ITEM = "addernet-impacts/fig-loss-cifar10"
SETTINGS = {"epochs": 2, "train_images": 100}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return tmp_path


def make(**changes: Any) -> Record:
    settings = changes.pop("settings", SETTINGS)
    values: dict[str, Any] = {
        "item": ITEM,
        "metric": "accuracy",
        "value": 41.5,
        "unit": "%",
        "method": "adder",
        "model": "resnet20",
        "dataset": "cifar10",
        "seed": 0,
        "profile": "laptop",
        "epochs": 2,
        "device": "a CPU (2 cores, 1 threads)",
        "versions": {"torch": "2.15.0"},
        "config_hash": config_hash(settings),
        "commit": "0123456789abcdef",
        "seconds": 1.5,
        "peak_memory_mb": 300.0,
        "settings": settings,
        "log": [{"epoch": 1, "test_loss": 1 / 3}, {"epoch": 2, "test_loss": 0.25}],
        "created": "2026-11-01T00:00:00+00:00",
    }
    return Record(**{**values, **changes})


def run_file(profile: str = "laptop") -> Path:
    return records.run_folder(ITEM) / f"{profile}.jsonl"


def test_a_record_equals_what_is_read_back() -> None:
    given = [make(seed=0), make(seed=1, log=None), make(seed=2, log=[{"a": 1.0}, {"b": None}])]
    for record in given:
        append_record(run_file(), record)
    found = read_records(run_file())
    assert found[:2] == given[:2]
    assert found[2].log == [{"a": 1.0, "b": None}, {"a": None, "b": None}]


def test_logs_are_kept_to_six_significant_digits_and_without_nan() -> None:
    record = make(log=[{"loss": 1 / 3}, {"loss": float("nan")}, {"loss": 1e-9 / 3}])
    assert record.log == [{"loss": 0.333333}, {"loss": None}, {"loss": 3.33333e-10}]


def test_one_line_per_record_with_sorted_keys_and_the_log_in_columns() -> None:
    line = make().to_line()
    assert "\n" not in line
    value = json.loads(line)
    assert list(value) == sorted(value)
    assert value["log"] == {"epoch": [1, 2], "test_loss": [0.333333, 0.25]}


def test_config_hash_is_the_sha256_of_canonical_json() -> None:
    assert (
        config_hash({"b": 1, "a": [0.5, None]})
        == hashlib.sha256(b'{"a":[0.5,null],"b":1}').hexdigest()
    )
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    with pytest.raises(RecordError, match="plain finite JSON"):
        config_hash({"a": float("inf")})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"value": float("nan")}, "value must be finite"),
        ({"value": "41"}, "value must be a number"),
        ({"value": True}, "value must be a number"),
        ({"seed": 1.0}, "seed must be an integer"),
        ({"method": None}, "method must be a string"),
        ({"settings": SETTINGS, "config_hash": "0" * 64}, "config_hash 0000"),
        ({"profile": "huge"}, "profile must be one of smoke, laptop, full, shipped; got 'huge'"),
        ({"item": "fig1"}, "item must read 'source/name'"),
        ({"created": "yesterday"}, "ISO 8601"),
        ({"log": [{"loss": "low"}]}, "log must hold one dict of numbers per epoch"),
        ({"dataset": "folder:/home/ada/photos"}, "no absolute path"),
        ({"settings": {"root": "/srv/data"}}, "no absolute path"),
        ({"settings": {"sets": [{"root": "C:\\data"}]}}, "no absolute path"),
        ({"device": "~/gpu"}, "no absolute path"),
    ],
)
def test_bad_records_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecordError, match=complaint):
        make(**changes)


def measured_lines() -> list[str]:
    return records.measured_path(ITEM).read_text().splitlines()


def test_what_records_share_is_written_once_and_read_back_as_it_was() -> None:
    other = make(seed=2, settings={"epochs": 2, "widths": [1.0, {"a": None}]}, hits="3:oA==")
    given = [make(seed=0), make(seed=1, log=None), other, make(seed=3, commit="ffff")]
    records.write_measured(ITEM, given)
    lines = measured_lines()
    blocks = [json.loads(line)["shared"] for line in lines[:3]]
    assert sorted(len(block["settings"]) for block in blocks) == [2, 2, 2]
    assert len(lines) == 3 + 4
    assert sum("train_images" in line for line in lines) == 2
    found = records.measured_records(ITEM)
    assert found == given
    assert [r.to_line() for r in found] == [r.to_line() for r in given]
    found[0].settings["epochs"] = 9  # each record has its own
    assert found[1].settings == SETTINGS
    whole = "".join(f"{record.to_line()}\n" for record in given)
    records.measured_path(ITEM).write_text(whole)
    assert records.measured_records(ITEM) == given  # the old form
    mixed = [*lines[:4], *whole.splitlines()[1:]]
    records.measured_path(ITEM).write_text("\n".join(mixed) + "\n")
    assert records.measured_records(ITEM) == given


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not() -> None:
    path = records.measured_path(ITEM)

    def put(value: float) -> float:
        records.write_measured(ITEM, [make(value=value)])
        os.utime(path, (2, 2))  # settled, and at the same moment each time
        return records.measured_records(ITEM)[0].value

    assert [put(1.5), put(2.5)] == [1.5, 2.5]
    one, again = records.measured_records(ITEM), records.measured_records(ITEM)
    assert one[0] is again[0]
    assert one is not again, "a caller's list is its own"
    path.write_text(path.read_text(encoding="utf-8").replace("2.5", "3.5"), encoding="utf-8")
    assert records.measured_records(ITEM)[0].value == 3.5  # just written, the same size and place


def test_the_order_of_blocks_depends_on_nothing_but_the_records() -> None:
    given = [make(seed=seed, commit=f"{seed}") for seed in range(4)]
    records.write_measured(ITEM, given)
    before = measured_lines()
    records.write_measured(ITEM, [*given, make(seed=4, commit="4")])
    after = measured_lines()
    assert [line for line in after if line in before] == before  # a diff of two new lines
    assert len(after) == len(before) + 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"epochs": 2', '"epochs": 3', "line 1: the id '[0-9a-f]{12}' is not that of the shared"),
        ('"dataset": "cifar10", ', "", "line 1: a shared block must hold commit, config_hash, dat"),
        ('"metric"', '"epochs": 2, "metric"', "line 2: fields both in the block and here: epochs"),
        ('"shared": "', '"shared": "0', "line 2: no line above holds the shared block '0"),
        ('"seed": 0, ', "", "line 2: fields missing: seed"),
    ],
)
def test_an_edited_compact_file_is_noticed(old: str, new: str, said: str) -> None:
    records.write_measured(ITEM, [make()])
    text = "\n".join(measured_lines())
    assert old in text
    records.measured_path(ITEM).write_text(text.replace(old, new))
    with pytest.raises(RecordError, match=said):
        records.measured_records(ITEM)


def test_columns_that_logs_share_are_written_once() -> None:
    rates = [0.001 * n for n in range(20)]
    given = [
        make(seed=seed, log=[{"lr": rate, "loss": seed + 1 + rate} for rate in rates])
        for seed in range(3)
    ]
    records.write_measured(ITEM, given)
    lines = measured_lines()
    assert sum('"column": [0.0, 0.001, ' in line for line in lines) == 1
    assert sum('"lr": "' in line and '"loss": [' in line for line in lines) == 3
    assert records.measured_records(ITEM) == given
    text = "\n".join(lines)
    fields = json.loads(lines[-1])["shared"]
    for old, new, said in (
        ("[0.0, 0.001, ", "[0.1, 0.001, ", "the id '[0-9a-f]{12}' is not that of the shared block"),
        ('"lr": "', '"lr": "0', "no line above holds the column '0"),
        ('"lr": "', f'"lr": "{fields}", "x": "', f"no line above holds the column '{fields}'"),
    ):
        assert old in text
        records.measured_path(ITEM).write_text(text.replace(old, new))
        with pytest.raises(RecordError, match=said):
            records.measured_records(ITEM)


def test_two_compact_lines_of_one_measurement_are_named_by_their_lines() -> None:
    records.write_measured(ITEM, [make(), make(value=9.0)])
    with pytest.raises(RecordError, match="line 3: the same measurement as in line 2"):
        records.measured_records(ITEM)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"item": ', "line 2: Expecting value"),
        ("[1]", "line 2: a record must be a JSON object"),
        ("{}", "line 2: fields missing: commit, config_hash, created"),
        ("", "line 2"),
    ],
)
def test_malformed_lines_name_file_and_line(line: str, complaint: str) -> None:
    path = run_file()
    path.parent.mkdir(parents=True)
    path.write_text(f"{make().to_line()}\n{line}\n")
    with pytest.raises(RecordError, match=complaint) as caught:
        read_records(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": "red"}, "unknown fields: colour"),
        ({"log": {"a": [1, 2], "b": [1]}}, "one list, all of the same length"),
        ({"settings": {"epochs": 3}}, "config_hash"),
    ],
)
def test_edited_lines_are_noticed(change: dict[str, Any], complaint: str) -> None:
    path = run_file()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**json.loads(make().to_line()), **change}) + "\n")
    with pytest.raises(RecordError, match=f"line 1: .*{complaint}"):
        read_records(path)


OTHER_ITEM = "addernet-impacts/fig-loss-cifar100"
SLIP = "acuracy"  # codespell:ignore


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"item": OTHER_ITEM}, f"item must be '{ITEM}' here; got '{OTHER_ITEM}'"),
        ({"metric": SLIP}, f"must be one of accuracy, test_loss; got '{SLIP}'"),
        ({"value": 99.0}, "the same measurement as in line 1"),
    ],
)
def test_edited_records_that_are_well_formed_are_noticed(
    change: dict[str, Any], complaint: str
) -> None:
    lines = [make().to_line(), json.dumps({**json.loads(make().to_line()), **change})]
    for path, read in (
        (run_file(), records.run_records),
        (records.measured_path(ITEM), records.measured_records),
    ):
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(RecordError, match=f"line 2: .*{complaint}") as caught:
            read(ITEM)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_a_record_in_the_file_of_another_profile_is_noticed() -> None:
    append_record(run_file("smoke"), make(profile="laptop"))
    with pytest.raises(RecordError, match=r"smoke\.jsonl, line 1: profile must be 'smoke' here"):
        promote(ITEM)


def test_a_unit_measured_again_stands_twice_in_a_run_and_never_in_the_tracked_file() -> None:
    """An interrupted unit is measured again as a whole; only its newest record is promoted."""
    later = make(value=42.0, created="2026-11-02T00:00:00+00:00")
    for record in (make(), later):
        append_record(run_file(), record)
    assert records.run_records(ITEM) == [make(), later]
    assert promote(ITEM) == [later]
    records.measured_path(ITEM).write_text(run_file().read_text())
    with pytest.raises(RecordError, match="line 2: the same measurement as in line 1"):
        records.measured_records(ITEM)


def test_records_of_shared_units_are_read_and_promoted_beside_those_of_a_run() -> None:
    append_record(run_file(), make(seed=0))
    paths = [append_unit_record(make(seed=1, method=m)) for m in ("adder", "a/b c", "adder")]
    digest = config_hash(SETTINGS)[:12]
    assert sorted({path.relative_to(run_file().parent).as_posix() for path in paths}) == [
        f"laptop.d/a_b_c-resnet20-cifar10-{digest}-1.jsonl",
        f"laptop.d/adder-resnet20-cifar10-{digest}-1.jsonl",
    ]
    half = paths[0].with_name(f".{paths[0].name}.0.jsonl")
    half.write_text("what another process is just writing")
    found = [(r.method, r.seed) for r in records.run_records(ITEM)]
    assert found == [("adder", 0), ("a/b c", 1), ("adder", 1)]
    assert records.run_records(ITEM, "laptop") == records.run_records(ITEM)
    assert records.run_records(ITEM, "smoke") == []
    assert len(promote(ITEM)) == 3
    paths[0].write_text(make(profile="full").to_line() + "\n")
    with pytest.raises(RecordError, match="line 1: profile must be 'laptop' here; got 'full'"):
        records.run_records(ITEM)


@pytest.mark.parametrize("change", [{"value": float("inf")}, {"metric": SLIP}])
def test_a_refused_record_leaves_the_file_as_it_was(change: dict[str, Any]) -> None:
    append_record(run_file(), make())
    before = run_file().read_bytes()
    with pytest.raises(RecordError):
        append_record(run_file(), make(**change))
    assert run_file().read_bytes() == before


def test_an_unreadable_file_is_named_once() -> None:
    run_file().parent.parent.mkdir(parents=True)
    run_file().parent.write_text("a file where a folder should be")
    with pytest.raises(RecordError, match=r"cannot read .*: Not a directory") as caught:
        read_records(run_file())
    assert str(caught.value).count(str(run_file())) == 1


def _append_many(home: str, start: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", home)
        for seed in range(start, start + count):
            append_record(run_file(), make(seed=seed))


def test_two_processes_appending_at_once_lose_nothing(home: Path) -> None:
    count = 25
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_append_many, args=(str(home), start, count)) for start in (0, count)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    seeds = [record.seed for record in read_records(run_file())]
    assert sorted(seeds) == list(range(2 * count))
    assert {path.name for path in run_file().parent.iterdir()} == {".lock", "laptop.jsonl"}


def test_promotion_merges_by_key_newest_wins_and_sorts() -> None:
    old, new = make(value=1.0), make(value=2.0, created="2026-11-02T00:00:00+00:00")
    for record in (make(seed=3), new, old, make(seed=1, method="conv")):
        append_record(run_file(), record)
    promoted = promote(ITEM)
    assert records.measured_records(ITEM) == promoted
    assert [(r.method, r.seed, r.value) for r in promoted] == [
        ("adder", 0, 2.0),
        ("adder", 3, 41.5),
        ("conv", 1, 41.5),
    ]


def test_promotion_keeps_other_configurations_and_is_idempotent() -> None:
    append_record(run_file(), make())
    promote(ITEM)
    run_file().unlink()
    append_record(run_file("full"), make(settings={"epochs": 400}, profile="full", epochs=400))
    promote(ITEM)
    before = records.measured_path(ITEM).read_bytes()
    promote(ITEM)
    assert records.measured_path(ITEM).read_bytes() == before
    assert {record.epochs for record in records.measured_records(ITEM)} == {2, 400}


def test_the_order_of_runs_does_not_change_the_tracked_file() -> None:
    given = [make(seed=seed, method=method) for seed in range(3) for method in ("conv", "adder")]
    assert records.merge(given) == records.merge(reversed(given))


def test_nothing_but_records_is_written_beside_the_tracked_file() -> None:
    append_record(run_file(), make())
    promote(ITEM)
    assert [p.name for p in records.measured_path(ITEM).parent.iterdir()] == [
        "fig-loss-cifar10.jsonl"
    ]


def test_smoke_records_are_never_promoted() -> None:
    append_record(run_file("smoke"), make(profile="smoke"))
    with pytest.raises(UsageError, match="only smoke runs"):
        promote(ITEM)
    assert not records.measured_path(ITEM).exists()
    append_record(run_file("laptop"), make(seed=7))
    assert [record.seed for record in promote(ITEM)] == [7]


def test_promotion_without_a_run_says_how_to_run() -> None:
    with pytest.raises(UsageError, match=f"saa-lite run {ITEM}"):
        promote(ITEM)


def test_a_torn_tracked_file_is_reported_and_not_overwritten() -> None:
    append_record(run_file(), make())
    promote(ITEM)
    torn = records.measured_path(ITEM).read_text()[:-30]
    records.measured_path(ITEM).write_text(torn)
    with pytest.raises(RecordError, match="line 2: "):
        promote(ITEM)
    assert records.measured_path(ITEM).read_text() == torn


def test_a_folder_that_cannot_be_made_is_one_sentence(home: Path) -> None:
    (home / "data").write_text("a file, not a folder")
    with pytest.raises(SaaLiteError, match="cannot write"):
        append_record(run_file(), make())


def test_provenance_names_versions_and_hardware_but_no_host_and_no_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.node", lambda: pytest.fail("host name asked for"))
    origin = provenance()
    assert set(origin) == {"versions", "device", "commit", "dirty"}
    assert {"python", "saa_lite", "torch", "numpy", "numba"} == set(origin["versions"])
    assert "cores" in origin["device"]
    assert origin["commit"] == "unknown" or len(origin["commit"]) == 40
    replace(make(), device=origin["device"], versions=origin["versions"])


def test_records_as_a_table() -> None:
    """Fields and settings are columns; a field goes before a setting of its name."""
    narrow = {**SETTINGS, "epochs": 9, "eta": 0.2}
    found = record_table([make(), make(seed=1, value=43.5, settings=narrow)])
    assert found["value"].tolist() == [41.5, 43.5]
    assert found["epochs"].tolist() == [2, 2]
    assert found["eta"].isna().tolist() == [True, False]
    assert found.groupby("method")["value"].mean().to_dict() == {"adder": 42.5}
    assert not {"log", "hits", "settings"} & set(found.columns)
    assert record_table([]).groupby(["method", "metric"])["value"].apply(list).to_dict() == {}
