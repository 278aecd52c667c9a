"""Item shiftaddaug/fig3: lending freezes and remaps, the claims say what the records say."""

from dataclasses import replace

import pytest
import torch

from saa_lite.augment.remap import make_remap
from saa_lite.errors import UsageError
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug.fig3 import Settings, ks_distance, lend
from saa_lite.models import create_model
from saa_lite.nn import AdderConv2d
from saa_lite.records import Record, config_hash, measured_records
from saa_lite.report.protocols import NO_VERDICT
from saa_lite.report.verdict import judge
from saa_lite.viz.pixels import png
from saa_lite.viz.remap_figures import METHODS, accuracy_by_std

ITEM = "shiftaddaug/fig3"
TINY = Settings(
    "digits", "lenet5_bn", train_images=40, test_images=20, epochs=1, adder_epochs=1, seeds=1,
    stds=(0.5, 1.0), batch_size=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAA_HOME", str(tmp_path_factory.mktemp("home")))
        return run_item(get_item(ITEM), Context("smoke", progress=False), settings=TINY)


def value(records: list[Record], metric: str, method: str) -> float:
    (found,) = [r.value for r in records if (r.metric, r.method) == (metric, method)]
    return found


def test_lending_replaces_and_freezes_the_convolutions_alone() -> None:
    lender = create_model("lenet5_bn", 10, "conv", in_channels=1)
    borrower = create_model("lenet5_bn", 10, "adder", in_channels=1)
    linear = borrower.get_parameter("fc.weight").detach().clone()
    given = lend(lender, borrower, "analytic")
    assert [w.numel() for w in given] == [150, 2_400, 48_000]
    frozen = [name for name, p in borrower.named_parameters() if not p.requires_grad]
    assert frozen == [f"layer{i}.conv.weight" for i in (1, 2, 3)]
    expected = make_remap("analytic")(lender.get_parameter("layer2.conv.weight"))
    assert torch.equal(borrower.get_parameter("layer2.conv.weight"), expected)
    assert torch.equal(borrower.get_parameter("fc.weight"), linear)
    assert all(isinstance(borrower.get_submodule(f"layer{i}.conv"), AdderConv2d) for i in (1, 2))


def test_the_spread_can_be_chosen_but_not_for_weights_as_they_are() -> None:
    lender, borrower = (
        create_model("lenet5_bn", 10, kind, in_channels=1) for kind in ("conv", "adder")
    )
    for method, std in (("rescale", 0.5), ("analytic", 2.0)):
        given = lend(lender, borrower, method, std)
        halves = lend(lender, borrower, method, std / 2)
        torch.testing.assert_close(given, [2 * w for w in halves])
    weight = lend(lender, borrower, "rescale", 0.5)[-1]
    assert float(weight.std()) == pytest.approx(0.5, rel=1e-3)
    assert torch.equal(lend(lender, borrower, "none", 0.5)[-1], lender.layer3.conv.weight)


def test_random_numbers_have_the_spread_and_know_nothing_of_the_lender() -> None:
    lender, borrower = (
        create_model("lenet5_bn", 10, kind, in_channels=1) for kind in ("conv", "adder")
    )
    torch.manual_seed(3)
    weight = lend(lender, borrower, "random", 2.0)[-1].flatten()
    assert float(weight.std()) == pytest.approx(2.0, rel=0.02)
    lent = lender.get_parameter("layer3.conv.weight").detach().flatten()
    assert abs(float(torch.stack([weight, lent]).corrcoef()[0, 1])) < 0.02
    assert not borrower.get_parameter("layer3.conv.weight").requires_grad


def test_distance_tells_laplace_from_normal() -> None:
    """The largest gap of the normal distribution to the Laplace of its variance is 0.0629."""
    assert ks_distance("analytic", 0) < 1.63e5**-0.5
    assert ks_distance("rescale", 0) == pytest.approx(0.063, abs=0.004)


def test_records_hold_what_the_claims_read(records: list[Record]) -> None:
    assert value(records, "std", "none") < 0.1
    assert value(records, "std", "rescale") == pytest.approx(1)
    assert value(records, "kurtosis", "none") == pytest.approx(
        value(records, "kurtosis", "rescale"), abs=1e-4
    )
    assert value(records, "kurtosis", "analytic") > 2
    assert (
        value(records, "laplace_advantage", "analytic")
        > 0
        > value(records, "laplace_advantage", "none")
    )
    logs = {(r.metric, r.method): r.log for r in records}
    scan = {row["std"]: row["accuracy"] for row in logs["best_accuracy", "analytic"]}
    assert list(scan) == [0.5, 1.0]
    assert value(records, "accuracy", "analytic") == scan[1.0]
    assert value(records, "best_accuracy", "analytic") == max(scan.values())
    log = logs["laplace_advantage", "analytic"]
    assert sum(row["density"] for row in log) * (log[1]["z"] - log[0]["z"]) == pytest.approx(
        1, abs=0.02
    )


def test_it_is_drawn(records: list[Record]) -> None:
    item = get_item(ITEM)
    assert item.draw is not None
    figure = item.draw(records, [])
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "Convolution weights, as is",
        "The curves at b = 1/√2",
        "The same weights, remapped",
        "Lent to an adder network, frozen",
        "Does the shape help?",
        "Do trained weights help?",
    ]
    scan = accuracy_by_std(records, "rescale")
    below = accuracy_by_std(records, "random")
    drawn = figure.axes[5].lines[1].get_ydata()  # the only seed, at each spread
    assert list(drawn) == [scan[s][0] - below[s][0] for s in TINY.stds]
    assert png(figure).startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=f"{ITEM} cannot be drawn: .* of none and rescale"):
        item.draw([r for r in records if r.method != "none"], [])


def made(metric: str, method: str, seed: int, number: float) -> Record:
    settings = {"numbers": 100_000}
    return Record(
        item=ITEM, metric=metric, value=number, unit="%", method=method, model="lenet5_bn",
        dataset="digits", seed=seed, profile="laptop", epochs=1, device="cpu", versions={},
        config_hash=config_hash(settings), commit="0" * 40, seconds=1.0, peak_memory_mb=1.0,
        settings=settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "metric", "high", "low"),
    [
        ("needed", "accuracy", {"analytic": 90.0}, {"none": 20.0}),
        ("control-shape", "accuracy", {"analytic": 90.0}, {"rescale": 80.0}),
        ("control-best-scale", "best_accuracy", {"analytic": 90.0}, {"rescale": 80.0}),
        ("control-random", "best_accuracy", {"rescale": 90.0}, {"random": 80.0}),
        ("trained", "laplace_advantage", {"analytic": 0.1}, {}),
    ],
)
def test_claims_follow_the_numbers(
    name: str, metric: str, high: dict[str, float], low: dict[str, float]
) -> None:
    claim = next(c for c in get_item(ITEM).claims if c.id.endswith(f":{name}"))
    rows = {**high, **low}
    found = [made(metric, m, s, v + 0.01 * s) for m, v in rows.items() for s in range(5)]
    gap = sum(high.values()) - sum(low.values())
    judged = judge(claim, found)
    assert judged.estimate.mean == pytest.approx(gap + (0 if low else 0.02))
    assert judged.seeds == 5


def test_how_laplacian_numbers_become_is_an_estimate_and_no_exact_check() -> None:
    claim = next(c for c in get_item(ITEM).claims if c.id.endswith(":laplacian"))
    found = [made("ks_distance", "analytic", s, 0.003 + 1e-4 * s) for s in range(5)]
    judged = judge(claim, [*found, *(replace(r, method="rescale", value=0.06) for r in found)])
    assert judged.estimate.mean == pytest.approx(0.0032)
    assert judged.estimate.reference == pytest.approx(1.628 / 100_000**0.5, rel=1e-3)
    assert (judged.verdict, judged.seeds) == (NO_VERDICT, 5)


def test_tracked_records_are_complete() -> None:
    tracked = measured_records(ITEM)
    for method in METHODS:
        seeds = {r.seed for r in tracked if (r.metric, r.method) == ("best_accuracy", method)}
        assert len(seeds) >= 5
