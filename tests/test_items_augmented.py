"""Items that train augmented targets: runs are shared, resumed, drawn and judged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentedNet, AugmentedTraining
from saa_lite.errors import UsageError
from saa_lite.items import augmented
from saa_lite.items.base import Context, Unit
from saa_lite.items.output import Table
from saa_lite.items.recipes import CALM, GRID, RECIPES, Start, mutation_for
from saa_lite.items.registry import Item, get_item
from saa_lite.items.runner import run_item
from saa_lite.items.select import FAIR, fair, lags
from saa_lite.items.shiftaddaug import fig4
from saa_lite.items.shiftaddaug_supp import tab2
from saa_lite.items.targets import build, train_config, training_method
from saa_lite.items.training import LATER, Settings, recipe_settings
from saa_lite.models.calm import SPREAD
from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.published import load_published
from saa_lite.records import Record, config_hash, measured_records, run_records, unpack_hits
from saa_lite.report.verdict import judge
from saa_lite.train import DivergenceError, train

GAIN, CURVES, TABLE = "shiftaddaug/claim-cifar100", "shiftaddaug-supp/fig1", "shiftaddaug-supp/tab2"
SETTINGS = get_item(GAIN).profiles["smoke"]
TINY = replace(SETTINGS, train_images=20, test_images=20, batch_size=10, batch_norm_images=20)
SHIFT = ("shift", "aug-shift")


def digits() -> Any:
    return augmented.load_splits(Context("smoke", progress=False), "digits", 20, 20)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def records(home: Path) -> list[Record]:
    """Shift and AugShift of the gain, a few steps each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(home))
        chosen = replace(TINY, methods=SHIFT)
        return run_item(get_item(GAIN), Context("smoke", progress=False), settings=chosen)


def test_an_augmented_run_records_target_and_surroundings(records: list[Record]) -> None:
    metrics = {m: {r.metric for r in records if r.method == m} for m in SHIFT}
    plain = {"accuracy", "test_loss", "train_accuracy", "train_accuracy_reestimated"}
    around = {"augmented_accuracy", "least_lead", "mean_lead", "export_difference"}
    assert metrics["shift"] == plain | {FAIR}
    assert metrics["aug-shift"] == plain | around
    for found in records:  # which images were right, where accuracies are compared
        compared = FAIR if found.method == "shift" else "accuracy"
        assert (found.hits is not None) == (found.metric == compared)
        if found.hits is not None:
            assert 100 * unpack_hits(found.hits).mean() == pytest.approx(found.value)
    value = {r.metric: r.value for r in records if r.method == "aug-shift"}
    assert value["export_difference"] == 0
    (log,) = [r.log for r in records if r.method == "aug-shift" and r.log]
    assert value["least_lead"] == pytest.approx(
        100 * (log[0]["augmented_accuracy"] - log[0]["train_accuracy"])
    )
    assert {r.config_hash for r in records} == {records[0].config_hash}


@pytest.mark.parametrize("item", ["shiftaddaug/claim-cifar100", "shiftaddaug/fig4",
                                  "shiftaddaug-supp/fig1", "shiftaddaug-supp/tab2",
                                  "shiftaddaug-supp/addconv-nas"])  # fmt: skip
def test_settings_that_came_later_leave_tracked_records_what_they_are(item: str) -> None:
    """Spelled out or not, a later setting at its default is not in the hash; changed, it is."""
    recorded = {
        r.config_hash: r.settings
        for r in measured_records(item)
        if "lr" in r.settings and "search" not in r.settings
    }
    assert recorded
    for known, settings in recorded.items():
        assert not set(LATER) & set(settings)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        again = Settings("", "", seeds=1, **values, **LATER)
        assert config_hash(recipe_settings(again)) == known
        later = {"fan": "wide", "sort_every": 5, "decay_norms": False, "eta": 1.2, "mixup": 0.2}
        for name, changed in later.items():
            other = recipe_settings(replace(again, **{name: changed}))
            assert config_hash(other) != known


def test_the_gain_is_recorded_under_the_settings_of_its_profile() -> None:
    laptop = recipe_settings(get_item(GAIN).profiles["laptop"])
    assert config_hash(laptop) in {record.config_hash for record in measured_records(GAIN)}


def test_another_item_takes_the_runs_over(
    home: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAA_HOME", str(home))
    monkeypatch.setattr("saa_lite.items.shiftaddaug.claim_cifar100.CURVES", ("aug-shift",))
    monkeypatch.setattr(augmented, "train", lambda *a, **k: pytest.fail("trained again"))
    found = run_item(get_item(CURVES), Context("smoke", progress=False), settings=TINY)
    assert {r.item for r in found} == {CURVES}
    mine = {r.metric: r.value for r in records if r.method == "aug-shift"}
    assert {r.metric: r.value for r in found} == mine


def test_nothing_is_borrowed_from_a_training_that_is_not_finished(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(Context("smoke"), item=CURVES)
    unit = next(u for u in augmented.units(context, TINY, ("shift",)))
    mine = [r for r in records if r.method == "shift"]
    monkeypatch.setattr(augmented, "measured_records", lambda item: [])
    for lent, count in (
        (mine, len(mine)),
        ([r for r in mine if r.metric != FAIR], 0),
        ([replace(mine[0], metric="diverged_epoch")], 1),
    ):
        monkeypatch.setattr(augmented, "run_records", lambda item, profile, lent=lent: lent)
        assert len(augmented.borrowed(unit, [GAIN])) == count


def test_a_divergence_stops_no_other_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are trained and kept; then the run fails and says which did not end."""
    monkeypatch.setenv("SAA_HOME", str(tmp_path))

    tried: list[int] = []

    def measure(unit: Unit, settings: Settings, further: None) -> Iterator[Record]:
        if unit.method == "adder":
            tried.append(unit.seed)
            raise DivergenceError("the loss is nan", 3)
        for metric in ("accuracy", FAIR, "test_loss", "train_accuracy"):
            yield unit.record(metric, 1.0, "")

    monkeypatch.setattr(augmented, "measure", measure)
    item = replace(get_item(GAIN), draw=None)
    with pytest.raises(DivergenceError, match=r"^adder, seed 0: the loss is nan$"):
        run_item(item, Context("smoke", progress=False), settings=TINY)
    kept = {(record.method, record.metric): record.value for record in run_records(GAIN, "smoke")}
    assert kept.pop(("adder", "diverged_epoch")) == 3
    assert {method for method, _ in kept} == set(augmented.METHODS) - {"adder"}
    run_item(item, Context("smoke", progress=False), settings=TINY)
    assert tried == [0]  # what diverged would again


def test_chosen_methods_are_trained_alone_and_drawn_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    trained: list[str] = []

    def measure(unit: Unit, settings: Settings, further: None) -> Iterator[Record]:
        trained.append(unit.method)
        for metric in ("accuracy", FAIR, "test_loss", "train_accuracy"):
            yield unit.record(metric, 1.0, "")

    monkeypatch.setattr(augmented, "measure", measure)
    context = Context("smoke", progress=False)
    part_b = fig4.Settings(**vars(TINY), parts=("b",))
    for name, known, tiny in (
        (GAIN, "shift", TINY),
        ("shiftaddaug/fig4", GRID[4.0, 1.0], part_b),
    ):
        item = replace(get_item(name), draw=None)
        trained.clear()
        for chosen in (("conv",), (known,)):
            records = run_item(item, context, settings=replace(tiny, methods=chosen))
        assert trained == ["conv", known]
        assert {record.method for record in records} == {"conv", known}
        with pytest.raises(UsageError, match=r"^methods must be one of 'shift', .*; got 'aug'$"):
            run_item(item, context, settings=replace(tiny, methods=("aug",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": (2.0,)}, "width must be a tuple"),
        ({"alpha": -1.0}, "alpha must be"),
        ({"lr": -1.0}, "lr must be"),
        ({"eta": 0.0}, r"eta must be a positive finite number; got 0\.0"),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_trained(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(unit: Unit, settings: Settings, further: None) -> Iterator[Record]:
        pytest.fail(f"{unit.method} was trained")

    monkeypatch.setattr(augmented, "measure", measure)
    settings = replace(TINY, methods=SHIFT, **changes)
    with pytest.raises(UsageError, match=message):
        run_item(get_item(GAIN), Context("smoke", progress=False), settings=settings)


def test_every_recipe_is_what_it_says() -> None:
    train_set, built = digits(), {}
    narrow, *others = GRID.values()
    assert RECIPES[others[-1]].training == {"alpha": 3.0}
    for method, recipe in ((m, r) for m, r in RECIPES.items() if m not in others):
        built[method] = build(method, TINY, train_set, seed=0)
        is_augmented = isinstance(built[method], AugmentedNet)
        assert is_augmented == (recipe.augmentation is not None)
        training = training_method(method, TINY, nn.Identity())
        assert isinstance(training, AugmentedTraining) == is_augmented
    adders = {method: _adders(net) for method, net in built.items()}
    assert adders["adder-calm-depthwise"] > adders["adder-calm"] == adders["adder"]
    assert adders["adder-calm-stem"] == adders["adder"] + 1
    assert (adders["shift"], adders["shift-add3"]) == (0, 3)
    assert isinstance(built["adder-calm-classifier"].classifier, AdderLinear)
    wide, own = (next(m for m in built[method].modules() if isinstance(m, AdderConv2d))
                 for method in ("adder-calm-depthwise", "adder"))  # fmt: skip
    assert wide.weight.std() > 3 * own.weight.std()
    assert Start(SPREAD, zero_init_residual=True) == CALM
    silent = {m: sum(not norm.weight.any() for norm in _norms(built[m]))
              for m in ("adder", "adder-calm", "adder-wide", "adder-silent")}  # fmt: skip
    assert silent["adder"] == silent["adder-wide"] == 0
    assert silent["adder-calm"] == silent["adder-silent"] > 0
    assert built[narrow].config.width == built[narrow].config.expand == (1.0, 1.5)
    for alone in ("remap-shift", "aug-shift-depth"):
        assert all(axis.largest == axis.target for axis in built[alone].axes)
    assert built["aug-shift-depth"].deepened
    assert built["aug-shift-mutation"].config.mutation == mutation_for(TINY.epochs)


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _adders(model: nn.Module) -> int:
    return sum(isinstance(module, AdderConv2d) for module in model.modules())


@pytest.mark.parametrize("epochs", [1, 5, 8, 300])
def test_mutation_ends_before_the_training(epochs: int) -> None:
    assert mutation_for(epochs).last_epoch(18) <= epochs - 1
    assert mutation_for(epochs).share(0, epoch=0) == (0 if epochs > 1 else 1)


@pytest.mark.parametrize("eta", [0.2, 1.2])
@pytest.mark.parametrize("method", ["adder", "adder-calm", "shift-add3", "aug-adder-raw"])
def test_eta_is_the_gradient_of_every_adder_weight(method: str, eta: float) -> None:
    """Root mean square of what the last update of a training moved each by."""
    train_set, settings = digits(), replace(TINY, network="resnet8", image_size=8, eta=eta)
    model = build(method, settings, train_set, seed=0)
    config = replace(train_config(settings, method, 0), crop_padding=0)
    train(
        model,
        train_set,
        train_set,
        config,
        method=training_method(method, settings),
        progress=False,
    )
    layers = [layer for layer in model.modules() if isinstance(layer, AdderConv2d)]
    assert len(layers) == (3 if method == "shift-add3" else 8)
    for layer in layers:
        gradient = layer.weight.grad
        assert gradient is not None
        assert gradient.square().mean().sqrt().item() == pytest.approx(eta, rel=1e-4)


def test_plain_and_augmented_targets_start_alike() -> None:
    """A target without remapping has the weights of the network trained alone."""
    train_set = digits()
    plain, wide = (build(m, TINY, train_set, 3) for m in ("shift", "aug-shift-raw"))
    images = torch.randn(4, 1, 32, 32)
    assert torch.equal(plain.train()(images), wide.train()(images))


def made(item: str, method: str, seed: int, value: float, **changes: Any) -> Record:
    settings = {"train_images": 10_000, "image_size": 32, **changes.pop("settings", {})}
    values: dict[str, Any] = {
        "item": item, "metric": FAIR if lags(method) else "accuracy", "value": value,
        "unit": "%", "method": method,
        "model": "mobilenet_v2_w035", "dataset": "cifar100", "seed": seed, "profile": "laptop",
        "epochs": 5, "device": "2 cores", "versions": {}, "config_hash": config_hash(settings),
        "commit": "0" * 40, "seconds": 1.0, "peak_memory_mb": 1.0, "settings": settings,
        "log": None,
    }  # fmt: skip
    return Record(**(values | changes))


def claim(item: Item, name: str) -> Any:
    (found,) = [c for c in item.claims if c.id == f"{item.id}:{name}"]
    return found


def test_claims_are_paired() -> None:
    item = get_item(GAIN)
    values = {"shift": 30.0, "aug-shift": 32.0, "conv": 35.0}
    found = [made(GAIN, m, s, v + 0.1 * s) for m, v in values.items() for s in range(3)]
    gain = judge(claim(item, "gain"), found)
    assert gain.short == "+2 [+2, +2] points, n = 3"
    assert not gain.at_published
    assert judge(claim(item, "surpasses"), found).estimate.mean == pytest.approx(-3)
    assert judge(claim(item, "control-netaug"), found).estimate is None
    full = {"train_images": 50_000, "image_size": 160}
    whole = [
        made(GAIN, m, s, v, epochs=300, settings=full) for m, v in values.items() for s in range(5)
    ]
    assert judge(claim(item, "gain"), whole).at_published


def test_cells_of_the_table_are_judged_each_by_its_own_runs() -> None:
    gain = claim(get_item(TABLE), "aug-shift-mcunet-cifar10")
    assert gain.published == ""
    found = [
        replace(made(TABLE, method, seed, 10.0 + seed * lead), model="mcunet", dataset="cifar10")
        for method, lead in (("shift", 1.0), ("aug-shift", 1.1))
        for seed in (10, 11)
    ]
    assert judge(gain, found).estimate.mean == pytest.approx(1.05)
    elsewhere = [replace(record, dataset="cifar100") for record in found]
    assert judge(gain, elsewhere).estimate is None


def test_a_network_alone_is_compared_by_fresh_statistics() -> None:
    """Kept statistics flatter whoever is tested with others; logs come along for drawings."""
    log = [{"epoch": 1, "test_accuracy": 0.1}]
    kept = made(GAIN, "shift", 0, 10.0, metric="accuracy", log=log)
    inside = made(GAIN, "aug-shift", 0, 40.0, log=log)
    found = [kept, made(GAIN, "shift", 0, 45.0), inside, made(GAIN, "remap-shift", 0, 50.0)]
    values = {r.method: (r.metric, r.value, r.log) for r in fair(found)}
    assert values == {
        "shift": (FAIR, 45.0, log),
        "aug-shift": (FAIR, 40.0, log),
        "remap-shift": (FAIR, 50.0, None),
    }


def test_a_run_that_was_killed_between_its_records_is_measured_again(
    home: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a target alone, too: no record that the others are compared with may be missing."""
    monkeypatch.setenv("SAA_HOME", str(home))
    asked = []
    monkeypatch.setattr(augmented, "measure", lambda unit, *_: asked.append(unit.method) or [])
    for missing in ("test_loss", "train_accuracy", FAIR):
        kept = tuple(r for r in records if (r.method, r.metric) != ("shift", missing))
        context = Context("smoke", progress=False, item=GAIN, finished=kept)
        assert list(augmented.run(TINY, context, ("shift", "aug-shift"))) == []
    assert asked == ["shift"] * 3


def test_fresh_statistics_are_those_of_the_last_test() -> None:
    """Of a target inside its model the last test has them already."""
    context = Context("smoke", progress=False, item=GAIN)
    (unit,) = augmented.units(context, TINY, ["aug-shift"])
    run = augmented.trained(unit, TINY)
    assert augmented.fair_hits(run, TINY).double().mean().item() == run.history[-1]["test_accuracy"]


def test_table_has_published_and_own_numbers_apart() -> None:
    found = [made(TABLE, m, s, v + s) for m, v in (("shift", 30.0), ("conv", 40.0)) for s in (0, 1)]
    table = tab2.draw(found, load_published(TABLE, related=True))
    assert isinstance(table, Table)
    rows = {row[:3]: row[3:] for row in table.rows}
    shift = rows["MobileNetV2-w0.35", "CIFAR100", "Shift"]
    assert shift == ("69.45", "30.50 ± 0.71", "5 epochs, 10,000 images, 2 seeds")
    assert rows["MobileNetV2-w0.35", "CIFAR100", "Mult"][:2] == ("—", "40.50 ± 0.71")
    assert rows["MCUNet", "Flower102", "AugAdd"] == ("84.33", "—", "—")
    assert ("MCUNet", "CIFAR10", "Mult") not in rows
    lost = replace(found[0], seed=2, metric="diverged_epoch", value=3.0, unit="epoch")
    table = tab2.draw([*found, lost], load_published(TABLE, related=True))
    assert isinstance(table, Table)
    (row,) = (row for row in table.rows if row[:3] == ("MobileNetV2-w0.35", "CIFAR100", "Shift"))
    assert row[4:] == ("30.50 ± 0.71", "5 epochs, 10,000 images, 2 seeds, 1 more ended in NaN")


def test_cells_of_the_table_have_their_own_widths_and_images() -> None:
    full = tab2.PROFILES["full"]
    cell = tab2.for_cell(full, "mcunet", "flowers102")
    assert (cell.width, cell.train_images) == ((1.0, 1.6, 2.2), 1_020)
    assert len(set(full.more)) == 8
    context = Context("full", item=TABLE)
    cell = tab2.for_cell(full, full.network, full.dataset)
    (unit, *_) = augmented.units(context, cell, ("conv",))
    gain = get_item(GAIN).profiles["full"]
    (same, *_) = augmented.units(context, gain, ("conv",))
    assert unit.key == same.key
