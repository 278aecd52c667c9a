"""Claims on accuracies of quantised networks: each reads the numbers that its words name."""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from history_samples import git, needs_history

from saa_lite.files import PACKAGE
from saa_lite.items.claims import CLAIMS as ALL
from saa_lite.items.claims import Claim
from saa_lite.items.interval import mcnemar, per_image
from saa_lite.items.select import Samples
from saa_lite.records import Record, config_hash, measured_records, pack_hits
from saa_lite.report.protocols import NO_VERDICT, NONE, OPEN, OPPOSITE, SUPPORTED
from saa_lite.report.verdict import NOT_MEASURED, ONE_NETWORK, judge

ROWS = "published/claims/adder-quant.toml"
CLAIMS = {claim.id.removeprefix("adder-quant/"): claim for claim in ALL}
LEARNED = ("AdaRound", "BRECQ", "QDrop")
BEST, SMALLEST, NO_CLAMP = "alpha 0.9990", "alpha 0.9985", "alpha 1.0"
OURS, QSSF_W, QSSF_X = "redistribution", "qssf-weights", "qssf-activations"
OLD = "accuracy_without_reestimation"
# What must exceed what for the claim to hold: (method, metric) on either side.
ORDERS = {
    "tab1:binary-behind": (("adder", "accuracy"), ("binary", "accuracy")),
    "tab3:no-clamp-trained": ((BEST, "accuracy_trained"), (NO_CLAMP, "accuracy_trained")),
    "tab3:no-clamp-logits": ((NO_CLAMP, "logit_error"), (BEST, "logit_error")),
    "tab3:interior-logits": ((SMALLEST, "logit_error"), (BEST, "logit_error")),
    "fig1:beats-qssf-weights": ((OURS, "accuracy"), (QSSF_W, "accuracy")),
    "fig1:beats-qssf-activations": ((OURS, "accuracy"), (QSSF_X, "accuracy")),
    "fig1:beats-qssf-activations-logits": ((QSSF_X, "logit_error"), (OURS, "logit_error")),
    "fig1:compensation": ((OURS, OLD), (QSSF_X, OLD)),
    "fig1:non-negative": ((OURS, "logit_error"), ("non-negative", "logit_error")),
    "fig1:non-negative-old": (("non-negative", OLD), (OURS, OLD)),
} | {
    f"tab5:{method.lower()}-nearest-{bits}-bits": (
        (f"CNN {method}", f"change_{bits}_bits"),
        ("CNN nearest", f"change_{bits}_bits"),
    )
    for bits in (4, 3)
    for method in LEARNED
}


def record(
    method: str, metric: str, seed: int, value: float, dataset: str = "digits", weights: str = ""
) -> Record:
    settings = {"train_images": 100} | ({"weights": weights} if weights else {})
    return Record(
        item="adder-quant/fig1",
        metric=metric,
        unit="%",
        method=method,
        model="resnet20",
        dataset=dataset,
        seed=seed,
        epochs=15,
        value=value,
        settings=settings,
        config_hash=config_hash(settings),
        profile="laptop",
        device="CPU",
        versions={},
        commit="0" * 40,
        seconds=1.0,
        peak_memory_mb=1.0,
    )


def pair(name: str, gap: float, dataset: str = "digits", spread: float = 0.1) -> list[Record]:
    """Five seeds; the first number exceeds the second by about ``gap``."""
    first, second = ORDERS[name]
    return [
        record(*side, seed, 50 + sign * (gap / 2 + spread * (seed - 2)), dataset)
        for seed in range(5)
        for sign, side in ((1, first), (-1, second))
    ]


@pytest.mark.parametrize("name", ORDERS)
def test_orders_are_paired_differences(name: str) -> None:
    claim = CLAIMS[name]
    judged = judge(claim, pair(name, 5))
    assert judged.seeds == 5
    assert judged.estimate is not None
    assert judged.estimate.mean == pytest.approx(5)
    half = 2.776445 * 0.2 * 2.5**0.5 / 5**0.5  # t(0.975, 4) · s / √5, s of 0.2 · (−2 … 2)
    assert judged.estimate.interval == pytest.approx((5 - half, 5 + half))
    assert judge(claim, pair(name, 5)[:1]).estimate is None


@pytest.mark.parametrize(
    "name", ["tab3:no-clamp-logits", "fig1:non-negative", "tab5:brecq-nearest-3-bits"]
)
def test_records_of_the_longer_training_go_first_where_seeds_are_enough(name: str) -> None:
    digits = pair(name, 5)
    cifar = [replace(record, epochs=30) for record in pair(name, -5, "cifar100")]
    three = [record for record in cifar if record.seed < 3]
    two = [record for record in cifar if record.seed < 2]
    for records, mean in ((cifar, -5.0), (three, -5.2), (two, 5.0)):
        judged = judge(CLAIMS[name], digits + records)
        assert judged.estimate is not None
        assert judged.estimate.mean == pytest.approx(mean)
    assert judge(CLAIMS[name], two).seeds == 2


def found(claim: Claim, records: list[Record]) -> Samples:
    samples = claim.samples(records)
    assert isinstance(samples, Samples)
    return samples


IMAGES = 2000


def outcome(
    method: str, metric: str, right: Iterable[int], weights: str = "cifar10", seed: int = 0
) -> Record:
    """A record that is right on the images ``right`` of :data:`IMAGES`."""
    hits = [False] * IMAGES
    for image in right:
        hits[image] = True
    made = record(method, metric, seed, 100 * sum(hits) / IMAGES, "cifar10", weights)
    return replace(made, hits=pack_hits(hits))


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"),
    [(1, 0, NONE), (60, 0, SUPPORTED), (0, 60, OPPOSITE), (30, 18, OPEN)],
)
def test_eight_bits_are_compared_with_none_image_by_image(
    lost: int, gained: int, verdict: str
) -> None:
    """Before 1800 of 2000; afterwards ``lost`` of them are wrong and ``gained`` others right."""
    claim = CLAIMS["fig1:eight-bits"]
    after = [*range(lost, 1800), *range(1800, 1800 + gained)]
    records = [
        outcome("adder", "accuracy", range(1800)),
        outcome(OURS, "accuracy_8_bits", after),
        outcome(OURS, "accuracy", range(10)),
        outcome(OURS, "accuracy_8_bits", range(10), weights="others"),
    ]
    judged = judge(claim, records)
    assert (judged.testable, judged.verdict) == (ONE_NETWORK, verdict)
    assert judged.estimate is not None
    assert judged.estimate.mean == pytest.approx((lost - gained) / 20)
    assert judged.estimate.interval is not None
    share, gap = (lost + gained) / IMAGES, (lost - gained) / IMAGES
    half = 196 * ((share - gap**2) / IMAGES) ** 0.5
    assert judged.estimate.interval == pytest.approx(
        (100 * gap - half, 100 * gap + half), abs=0.25 * half + 0.05
    )
    assert judged.short.endswith("n = 1 (2,000 images)")
    assert judge(claim, records[:1]).testable == NOT_MEASURED


def test_two_networks_are_no_test_of_two_kinds_of_networks() -> None:
    """AddNN loses 20 of 1800, AdaRound 50 of 1700: 1.5 points less, and no verdict."""
    anew = "CNN AdaRound, batch norm anew"
    records = [
        outcome("AddNN FP", "accuracy_reestimated", range(1800)),
        outcome("AddNN", "change_4_bits", range(20, 1800)),
        outcome("CNN FP", "accuracy_reestimated", range(1700)),
        outcome(anew, "change_4_bits", range(50, 1700)),
    ]
    judged = judge(CLAIMS["tab5:addnn-adaround-4-bits"], records)
    assert judged.estimate is not None
    assert judged.estimate.mean == pytest.approx(1.5)
    assert judged.estimate.interval is not None
    assert judged.estimate.interval[0] > 0
    assert (judged.testable, judged.verdict) == ("no: one network", NO_VERDICT)
    assert "five" in judged.why


@pytest.mark.parametrize("first", [9, 3, 0])
def test_mcnemar_is_a_fair_coin(first: int) -> None:
    """Nine of twelve discordant images: twice the tail of twelve tosses."""
    differences = np.array([1] * first + [-1] * (12 - first) + [0] * 50)
    most = max(first, 12 - first)
    tail = sum(math.comb(12, k) for k in range(most, 13)) / 2**12
    assert mcnemar(differences) == pytest.approx(2 * tail)
    assert mcnemar(np.zeros(5)) == 1.0


def test_images_are_compared_within_a_seed_only() -> None:
    terms = [(1.0, "accuracy", "a"), (-1.0, "accuracy", "b")]
    first, second = outcome("a", "accuracy", range(50)), outcome("b", "accuracy", range(40), seed=1)
    assert per_image([first, second], terms) is None
    paired = per_image([first, second, replace(second, seed=0)], terms)
    assert paired is not None
    assert (paired.values, paired.images) == (pytest.approx((0.5,)), IMAGES)
    assert per_image([first, replace(second, seed=0, hits=None)], terms) is None


def test_statements_on_one_network_are_corrected_together() -> None:
    assert [CLAIMS[f"tab3:{name}"].family for name in ("no-clamp", "interior")] == [2, 2]
    assert CLAIMS["tab3:no-clamp-logits"].matters is None


def test_statements_are_older_than_the_records_that_judge_them() -> None:
    """A row that one network judges stood so in the commit that its records were made by."""
    needs_history()
    now = tomllib.loads((PACKAGE / ROWS).read_text())["claim"]
    for row in now:
        claim = CLAIMS[row["id"].removeprefix("adder-quant/")]
        samples = claim.samples(measured_records(claim.item)) if "matters" in row else None
        for commit in {record.commit for record in samples.records} if samples else ():
            text = git("show", f"{commit}:saa_lite/{ROWS}")
            assert text, f"{commit} of {row['id']} is not in the history"
            then = tomllib.loads(text)["claim"]
            fixed = ("images", "matters", "where", "cells")
            old = next(other for other in then if other["id"] == row["id"])
            assert {key: old.get(key) for key in fixed} == {key: row.get(key) for key in fixed}


def test_protocols_are_compared_by_what_each_loses() -> None:
    """Quantisation-aware 92 of 93, post-training 88 of 90: one point less is lost."""
    records = [
        record(method, metric, seed, value)
        for seed in range(3)
        for method, metric, value in (
            ("adder", "accuracy", 90.0),
            (BEST, "accuracy", 88.0),
            ("adder", "accuracy_trained", 93.0),
            (BEST, "accuracy_trained", 92.0),
        )
    ]
    assert found(CLAIMS["tab3:protocol"], records).values == pytest.approx((1.0, 1.0, 1.0))


def test_over_clamp_is_held_against_a_hundredth_of_the_weights() -> None:
    records = [
        record(QSSF_X, "weights_clamped", seed, 4.0 + 0.01 * seed, weights="cifar10")
        for seed in range(5)
    ]
    samples = found(CLAIMS["fig1:over-clamp"], records)
    assert (samples.values[0], samples.reference) == (4.0, 1.0)


def test_errors_of_logits_are_compared_as_ratios() -> None:
    """One network errs ten times as much as another, with either method: 4 times as much each."""
    records = [
        record(f"CNN {method}", "logit_error_4_bits", seed, size * error)
        for seed, size in enumerate((1.0, 10.0, 2.0))
        for method, error in (("nearest", 4.0), ("BRECQ", 1.0 + 0.01 * seed))
    ]
    claim = CLAIMS["tab5:brecq-nearest-4-bits-logits"]
    assert found(claim, records).values == pytest.approx((4.0, 4 / 1.01, 4 / 1.02))
    assert found(claim, records).reference == 1
