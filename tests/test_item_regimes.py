"""The campaign over regimes: what a protocol says is what is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from scipy.stats import linregress

from saa_lite.errors import RecordError, UsageError
from saa_lite.items import augmented, campaign
from saa_lite.items.base import Context
from saa_lite.items.campaign import Settings
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.select import FAIR
from saa_lite.items.shiftaddaug import regimes
from saa_lite.items.shiftaddaug.regimes import ITEM_ID
from saa_lite.protocols import list_protocols, load_protocol
from saa_lite.protocols.load import Protocol, parse
from saa_lite.records import Record, config_hash
from saa_lite.viz.regimes import Response, accounts_figure

TINY = b"""
question = "?"
item = "shiftaddaug/regimes"
role = "test"
seeds = [3, 5]
arms = ["conv", "netaug", "conv-long"]
decided = "."
[rates]
netaug = 0.2
[settings]
dataset = "digits"
network = "resnet8"
net_width = 4
image_size = 8
small_input = true
train_images = 40
validation_images = 97
test_images = 20
epochs = 1
batch_size = 20
crop_padding = 1
warmup_epochs = 0
width = [1.0, 1.5]
expand = [1.0, 1.5]
fan = "wide"
sort_every = 1
decay_norms = false
channels_last = false
batch_norm_images = 20
[variants.conv-long]
method = "conv"
seeds = [5]
epochs = 3
[[contrast]]
name = "NetAug - CNN"
first = "netaug"
second = "conv"
primary = true
matters = 0.5
[[gate]]
name = "converged"
quantity = "longer"
arm = "conv"
versus = "conv-long"
most = 1.0
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Protocol:
    protocol = parse("regime-u", TINY)
    monkeypatch.setattr(campaign, "load_protocol", lambda name: protocol)
    return protocol


def run(settings: Settings) -> list[Record]:
    return run_item(get_item(ITEM_ID), Context("laptop", progress=False), settings=settings)


def test_every_arm_and_seed_is_trained_as_the_protocol_says(tiny: Protocol) -> None:
    records = run(Settings(("regime-u",)))
    assert {record.settings["protocol"] for record in records} == {tiny.label}
    assert {(r.method, r.seed, r.epochs) for r in records} == {
        *((method, seed, 1) for seed in (3, 5) for method in ("conv", "netaug")),
        ("conv", 5, 3),
    }
    assert {r.settings.get("arm") for r in records if r.epochs == 3} == {"conv-long"}
    assert all(r.hits is not None for r in records if r.metric == FAIR)
    again = run(Settings(("regime-u",)))  # nothing is trained twice
    assert [r.created for r in again] == [r.created for r in records]


def test_a_part_of_the_campaign_can_be_run_alone(tiny: Protocol) -> None:
    records = run(Settings(("regime-u",), ("netaug",), (5,)))
    assert {(r.method, r.seed) for r in records} == {("netaug", 5)}
    with pytest.raises(UsageError, match=r"arms must be one of .*conv.*; got 'adder'"):
        run(Settings(("regime-u",), ("adder",)))
    with pytest.raises(UsageError, match=r"seeds must be among \[3, 5\]; got 4"):
        run(Settings(("regime-u",), (), (4,)))


def test_an_arm_has_its_own_rate(tiny: Protocol) -> None:
    training = campaign.training_of(tiny, "conv", {})
    assert augmented.train_config(training, "netaug", 0).lr == 0.2
    assert augmented.train_config(training, "conv", 0).lr == training.lr == 0.05


def test_validation_images_are_never_trained_on(tiny: Protocol) -> None:
    context = Context("laptop", progress=False)
    asked = {**tiny.settings, "test_images": 0, "train_images": 1_000}
    training = campaign.training_of(replace(tiny, settings=asked), "conv", {})
    seen = {}
    for seed in (3, 5):
        unit = campaign.unit_of(tiny, context, "conv", seed, training)
        train_set, validation = augmented.image_sets(unit, training)
        assert (len(train_set), len(validation)) == (1_000, 97)
        images = {image.numpy().tobytes() for image in train_set.images}
        held = {image.numpy().tobytes() for image in validation.images}
        assert not images & held
        seen[seed] = images, held
    assert seen[3][1] == seen[5][1]  # the same for every seed
    assert seen[3][0] != seen[5][0]  # drawn anew


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b'first = "netaug"', b'first = "adder"', "'NetAug - CNN' names 'adder', which is none"),
        (b"seeds = [3, 5]", b"seeds = [3, 3]", "seeds must be distinct"),
        (b'role = "test"', b'role = "choice"', "a protocol that tests has contrasts"),
        (b"most = 1.0", b"", "gate 'converged' has no bound"),
        (b'method = "conv"', b"", "variant 'conv-long' must be one of the arms"),
        (b"seeds = [5]", b"seeds = [4]", r"variant 'conv-long' has seeds \[4\]"),
        (b'question = "?"', b"", "question"),
        (b'question = "?"', b"question = ?", "Invalid value"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(old: bytes, new: bytes, sentence: str) -> None:
    with pytest.raises(RecordError, match=sentence):
        parse("regime-u", TINY.replace(old, new))


def test_a_setting_that_does_not_exist_is_refused(tiny: Protocol) -> None:
    wrong = replace(tiny, settings={**tiny.settings, "wight_decay": 0})
    with pytest.raises(UsageError, match="wight_decay"):
        campaign.training_of(wrong, "conv", {})


@pytest.mark.parametrize("name", list_protocols(ITEM_ID))
def test_tracked_protocols_can_be_run(name: str) -> None:
    assert list(campaign.trainings(load_protocol(name)))


def measured(label: str, method: str, seed: int, test: float, trained: float) -> list[Record]:
    settings: dict[str, Any] = {"protocol": label, "train_images": 10}
    fixed: dict[str, Any] = {
        "item": ITEM_ID, "unit": "%", "method": method, "model": "resnet8", "dataset": "cifar100",
        "seed": seed, "profile": "laptop", "epochs": 9, "device": "a CPU", "versions": {},
        "config_hash": config_hash(settings), "commit": "unknown", "seconds": 1.0,
        "peak_memory_mb": 1.0, "settings": settings,
    }  # fmt: skip
    metric = "accuracy" if method in ("netaug", "aug-shift") else FAIR
    return [
        Record(metric=metric, value=test, **fixed),
        Record(metric=augmented.TRAINED, value=trained, **fixed),
    ]


def test_the_response_is_the_paired_difference_at_the_gap_of_the_network_alone() -> None:
    records = [
        *(r for s in range(3) for r in measured("regime-u 1", "conv", s, 20 + s, 21 + s)),
        *(r for s in range(3) for r in measured("regime-u 1", "netaug", s, 22 + 2 * s, 9)),
        *(r for s in range(3) for r in measured("regime-m 4", "conv", s, 20 + s, 31 + s)),
        *(r for s in range(3) for r in measured("regime-m 4", "netaug", s, 22 + 2 * s, 9)),
        *measured("regime-o 2", "conv", 0, 20.0, 70.0),
        *measured("regime-o 2", "netaug", 0, 19.0, 80.0),
        *measured("rates-u 3", "netaug", 0, 90.0, 80.0),
    ]
    under, between, over = regimes.responses_of(records, "netaug", "conv")
    assert (under.regime, under.gap, under.values) == ("U", 1.0, (2.0, 3.0, 4.0))
    assert under.interval is None  # three of six seeds
    assert (between.regime, between.gap, between.values) == ("M", 11.0, (2.0, 3.0, 4.0))
    assert between.interval == pytest.approx((3 - 4.302653 / 3**0.5, 3 + 4.302653 / 3**0.5))
    assert (over.regime, over.gap, over.values, over.interval) == ("O", 50.0, (-1.0,), None)
    assert (under.named, over.named) == ("U, 3 of 6 seeds", "O, 1 of 3 seeds")
    assert replace(over, values=(-1.0, 1.0, 2.0)).named == "O"
    assert isinstance(regimes.draw(records, []), Figure)
    assert between.gates_met, "what is not measured yet is not failed"
    unfinished = regimes.draw(measured("rates-u 3", "netaug", 0, 90.0, 80.0), [])
    (axis,) = unfinished.axes
    assert "no seed of a regime has both arms" in axis.texts[-1].get_text()


@pytest.mark.parametrize(("longer", "met"), [(20.5, True), (23.0, False)])
def test_a_regime_that_has_not_converged_is_drawn_hollow(longer: float, met: bool) -> None:
    label = load_protocol("regime-m").label
    records = [
        *(r for s in range(3) for r in measured(label, "conv", s, 20.0, 31.0)),
        *(r for s in range(3) for r in measured(label, "netaug", s, 22.0 + s, 9.0)),
    ]
    for record in measured(label, "conv", 0, longer, 40.0):
        settings = {**record.settings, "arm": "conv-2x"}
        records.append(replace(record, settings=settings, config_hash=config_hash(settings)))
    (found,) = regimes.responses_of(records, "netaug", "conv")
    assert found.gates_met == met
    assert found.named == ("M" if met else "M, a gate is not met")
    (axis,) = regimes.draw(records, []).axes
    (point,) = (
        line
        for line in axis.lines
        if line.get_marker() == "s" and len(line.get_xdata()) and line.get_ydata()[0] == 3.0
    )
    assert (point.get_markerfacecolor() == "white") != met


def test_the_slope_is_that_of_all_seeds_and_waits_for_three_in_two_regimes() -> None:
    under = Response("U", (1.0, 2.0, 3.0), (3.0, 2.0, 1.0), None)
    over = Response("O", (40.0, 50.0, 60.0), (-1.0, -2.0, 0.0), None)
    few = Response("M", (9.0, 9.0), (50.0, 50.0), None)
    x, y = (1, 2, 3, 40, 50, 60), (3, 2, 1, -1, -2, 0)
    slope, (low, high) = regimes.slope_of([under, few, over])
    assert slope == pytest.approx(linregress(x, y).slope)
    # Drawn within each regime: its bulk can't leave the extremes of the regimes' own points.
    assert -3.0 / 37 * 2 < low < slope < high < 0
    assert regimes.slope_of([under, few]) is None
    assert regimes.slope_said([over]) == ""
    said = regimes.slope_said([under, over])
    assert said.startswith(f"{slope:+.3f} [")
    assert said.endswith("] per point of gap")
    unfinished = [replace(under, asked=6), replace(few, asked=3), replace(over, asked=3)]
    assert regimes.slope_said(unfinished) == f"{said}, 6 of 9 seeds"


def test_the_sketch_of_two_accounts_has_opposite_slopes() -> None:
    (axis,) = accounts_figure().axes
    slopes = {
        str(line.get_label()).partition("'")[0]: line.get_ydata()[1] - line.get_ydata()[0]
        for line in axis.lines
        if len(line.get_xdata()) == 2 and not str(line.get_label()).startswith("_")
    }
    assert slopes["NetAug"] < 0 < slopes["a regulariser"]
