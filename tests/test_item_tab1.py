"""In-place distillation: its arms, its independent teacher, and the table drawn of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentedTraining
from saa_lite.data.seeds import mix
from saa_lite.errors import UsageError
from saa_lite.items import augmented, campaign
from saa_lite.items.base import Context
from saa_lite.items.campaign import TRIED, Settings
from saa_lite.items.recipes import DISTILLED, EXTERNAL, IN_PLACE, POOR, RECIPES
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.select import FAIR, lags
from saa_lite.items.shiftaddaug_supp.tab1 import ITEM_ID, LONGER, PROTOCOL, draw, shared_errors
from saa_lite.items.targets import (
    build,
    check_recipes,
    train_config,
    trained_teacher,
    training_method,
)
from saa_lite.protocols import load_protocol
from saa_lite.published import load_published
from saa_lite.records import Record, config_hash
from saa_lite.train import DistilledTraining, train


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_every_arm_has_the_teacher_that_its_name_says() -> None:
    teacher = nn.Linear(2, 2)
    assert len(DISTILLED) == 2 * len(IN_PLACE) + 4 * len(EXTERNAL) + 1
    for name, base in DISTILLED.items():
        method = training_method(name, TRIED, teacher)
        alone = RECIPES[base].augmentation is None
        assert isinstance(method, DistilledTraining if alone else AugmentedTraining)
        assert lags(name) == alone
        given = method.distillation
        how, weight, *rest = name.removeprefix(f"{base}-").split("-")
        assert given.weight == float(weight)
        assert (given.teacher is teacher) == (how in ("external", "poor"))
        assert given.criterion == ("ce" if how == "ce" else "kl")
        assert (given.detach, given.reduction) == (
            "attached" not in rest,
            "mean" if "mean" in rest else "batchmean",
        )
        assert RECIPES[name].teacher_share == (0 if how == "poor" else 1)
        plain = replace(RECIPES[name], distillation={}, teacher=0, teacher_share=1.0)
        assert plain == RECIPES[base]


def test_a_teacher_is_needed_and_must_be_wider() -> None:
    with pytest.raises(UsageError, match=r"shift-external-0\.3 learns from a trained network; got"):
        training_method("shift-external-0.3", TRIED)
    fixed = replace(TRIED, network="mobilenet_v2_w035")
    check_recipes(fixed, ["aug-shift-kl-0.9"])
    with pytest.raises(
        UsageError, match="a wider teacher, but the width of mobilenet_v2_w035 is fixed"
    ):
        check_recipes(fixed, ["conv-external-0.9"])


def unit_of(method: str, context: Context, seed: int = 0):
    return context.unit(
        method=method, model="resnet8", dataset="digits", seed=seed, epochs=2, settings={}
    )


def test_a_poor_teacher_is_the_external_one_after_one_epoch() -> None:
    context = Context("smoke", progress=False, item=ITEM_ID)
    settings = replace(TRIED, batch_norm_images=20)
    sets = augmented.image_sets(unit_of("shift", context), settings)
    poor, good = (
        trained_teacher(unit_of(method, context), taught, *sets)
        for method, taught in (
            ("aug-shift-poor-0.9", settings),
            ("aug-shift-external-0.9", replace(settings, epochs=1, warmup_epochs=0)),
        )
    )
    assert settings.epochs > 1
    assert poor is not None
    assert good is not None
    for name, value in poor.state_dict().items():
        assert torch.equal(value, good.state_dict()[name]), name


def test_the_teacher_is_trained_by_itself_from_another_seed() -> None:
    """As written out here: three times as wide, the CNN's recipe, the student's images."""
    context = Context("smoke", progress=False, item=ITEM_ID)
    settings = replace(TRIED, batch_norm_images=20)
    unit = unit_of("shift-external-0.3", context, 1)
    sets = augmented.image_sets(unit, settings)
    assert trained_teacher(unit_of("aug-shift-kl-0.9", context), settings, *sets) is None
    found = trained_teacher(unit, settings, *sets)
    again = trained_teacher(unit, settings, *sets)  # from its checkpoint
    seed = mix(1, 3)
    expected = build("conv", replace(settings, net_width=12), sets[0], seed)
    train(expected, *sets, train_config(settings, "conv", seed), progress=False)
    assert found is not None
    assert again is not None
    for name, parameter in expected.named_parameters():
        assert torch.equal(found.get_parameter(name), parameter), name
    for name, value in found.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    name = next(name for name in found.state_dict() if name.endswith("running_mean"))
    assert not torch.equal(found.state_dict()[name], expected.state_dict()[name])  # measured anew


def test_errors_are_shared_where_both_give_the_same_wrong_answer() -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    student = torch.tensor([0, 2, 0, 0, 5, 5])  # wrong on the four in the middle
    teacher = torch.tensor([1, 2, 1, 3, 5, 0])  # the same on two of these; one right, one other
    assert shared_errors(student, teacher, labels) == 50
    assert shared_errors(labels, teacher, labels) is None


def test_a_tiny_run_records_both_teachers_and_is_drawn() -> None:
    item = get_item(ITEM_ID)
    records = run_item(item, Context("smoke", progress=False), settings=Settings())
    found = {(r.method, r.metric): r.value for r in records}
    for method, metric in (
        ("aug-shift", "wide_accuracy"), ("aug-shift-kl-0.9", "wide_shared_errors"),
        ("shift-external-0.3", "teacher_accuracy"), ("shift-external-0.3", FAIR),
    ):  # fmt: skip
        assert (method, metric) in found
    assert ("shift", "wide_accuracy") not in found
    assert all(0 <= v <= 100 for (_, metric), v in found.items() if "shared" in metric)
    again = run_item(item, Context("smoke", progress=False), settings=Settings())
    assert [r.created for r in again] == [r.created for r in records]
    table = draw(records, load_published(ITEM_ID))
    rows = {row[0]: row for row in table.rows}
    assert rows["AugShift, KL 0.9"][1:3] == ("2", "65.7")
    assert rows["AugShift, KL 0.9"][5] == "AugShift"
    assert rows["AugShift, CE 0.3"][2:5] == ("69.02", "—", "—")
    assert rows["Shift, external teacher 0.3"][2] == "—"


def test_cross_entropy_has_the_records_of_divergence() -> None:
    """One seed, one training: all that is measured is the same but for the names and the clock."""
    context = Context("smoke", progress=False, item=ITEM_ID)
    found = []
    for method in ("aug-shift-kl-0.9", "aug-shift-ce-0.9"):
        records = list(augmented.measure(unit_of(method, context), TRIED))
        found.append({r.metric: (r.value, r.hits) for r in records})
        found[-1]["log"] = [{**row, "seconds": 0} for row in records[0].log or []]
    assert found[0] == found[1]
    assert len(found[0]) > 6


def measured(method: str, seed: int, metric: str, value: float, **changes: Any) -> Record:
    settings = {"protocol": f"{PROTOCOL} 1"} | changes
    return Record(
        item=ITEM_ID, metric=metric, value=value, unit="%", method=method, model="resnet8",
        dataset="digits", seed=seed, profile="laptop", epochs=80, device="a CPU", versions={},
        config_hash=config_hash(settings), commit="unknown", seconds=1.0, peak_memory_mb=1.0,
        settings=settings,
    )  # fmt: skip


def test_the_table_pairs_seeds_and_leaves_longer_trainings_out() -> None:
    records = [
        *(measured("aug-shift", s, "accuracy", 60.0 + s) for s in range(10)),
        *(measured("aug-shift-kl-0.9", s, "accuracy", 58.0 + 2 * s) for s in range(10)),
        *(measured("aug-shift-kl-0.9", s, "wide_shared_errors", 10.0) for s in range(3)),
        measured("aug-shift", 0, "accuracy", 99.0, arm="aug-shift-2x"),
        measured("shift-external-0.9", 0, FAIR, 50.0),
        measured("shift", 0, FAIR, 49.5),
    ]
    rows = {row[0]: row for row in draw(records, []).rows}
    half = 2.262157 * 3.027650 / 10**0.5  # Student's t over −2, −1, …, 7
    taught = rows["AugShift, KL 0.9"]
    assert taught[3:5] == ("67.00 ± 6.06", "10")
    assert taught[6] == f"+2.50 [{2.5 - half:+.2f}, {2.5 + half:+.2f}]"
    assert taught[8] == "10.00 ± 0.00"
    assert rows["AugShift"][3] == "64.50 ± 3.03"
    assert rows["Shift, external teacher 0.9"][6] == "1 of 10 seeds so far"
    longer = {"protocol": f"{LONGER} 1"}
    records += [
        replace(record, epochs=160, settings=longer, config_hash=config_hash(longer))
        for record in (measured("aug-shift", 10, FAIR, 70.0), measured(POOR, 10, FAIR, 60.0))
    ]
    both = draw(records, []).rows
    assert rows == {row[0]: row for row in both if row[1] == "80"}
    assert [row[:4] for row in both if row[1] == "160"] == [
        ("AugShift", "160", "—", "70.00"), ("AugShift, poor teacher 0.9", "160", "—", "60.00"),
    ]  # fmt: skip


def test_the_protocol_can_be_run_as_it_stands() -> None:
    protocol = load_protocol(PROTOCOL)
    asked = [(seed, arm) for seed, arm, _ in campaign.trainings(protocol)]
    assert len(asked) == len(set(asked)) == 14 * 10 + 2 * 2 + 4 * 5 + 4 * 5
    regime = load_protocol("regime-d")
    assert protocol.settings == regime.settings
    for arm in ("conv", "netaug", "shift", "aug-shift"):
        assert protocol.rates[arm] == regime.rates[arm]
    for arm, base in ((a, b) for a, b in DISTILLED.items() if a in protocol.arms):
        assert protocol.rates[arm] == protocol.rates[base]


def test_the_longer_protocol_changes_what_it_says_it_changes() -> None:
    short, longer = load_protocol(PROTOCOL), load_protocol(LONGER)
    assert {**short.settings, "epochs": 160, "test_every": 160} == longer.settings
    assert not set(short.seeds) & set(longer.seeds)
    for method in map(longer.method_of, longer.arms):
        assert longer.rates[method] == short.rates["aug-shift" if method == POOR else method]
    for arm in ("shift-2x", "aug-shift-2x"):
        assert longer.settings_of(arm)["epochs"] == 320
