"""Claims on accuracies of quantised networks: each reads the numbers that its words name."""

from dataclasses import replace

import pytest

from saa_lite.items.base import Claim, Samples
from saa_lite.items.claims import CLAIMS as ALL
from saa_lite.records import Record, config_hash
from saa_lite.report.verdict import judge

CLAIMS = {claim.id.removeprefix("adder-quant/"): claim for claim in ALL}
LEARNED = ("AdaRound", "BRECQ", "QDrop")
BEST, SMALLEST, NO_CLAMP = "alpha 0.9990", "alpha 0.9985", "alpha 1.0"
OURS, QSSF_W, QSSF_X = "redistribution", "qssf-weights", "qssf-activations"
OLD = "accuracy_without_reestimation"
# What must exceed what for the claim to hold: (method, metric) on either side.
ORDERS = {
    "tab1:binary-behind": (("adder", "accuracy"), ("binary", "accuracy")),
    "tab3:no-clamp": ((BEST, "accuracy"), (NO_CLAMP, "accuracy")),
    "tab3:no-clamp-trained": ((BEST, "accuracy_trained"), (NO_CLAMP, "accuracy_trained")),
    "tab3:interior": ((BEST, "accuracy"), (SMALLEST, "accuracy")),
    "tab3:no-clamp-logits": ((NO_CLAMP, "logit_error"), (BEST, "logit_error")),
    "tab3:interior-logits": ((SMALLEST, "logit_error"), (BEST, "logit_error")),
    "fig1:beats-qssf-weights": ((OURS, "accuracy"), (QSSF_W, "accuracy")),
    "fig1:beats-qssf-activations": ((OURS, "accuracy"), (QSSF_X, "accuracy")),
    "fig1:beats-qssf-activations-logits": ((QSSF_X, "logit_error"), (OURS, "logit_error")),
    "fig1:compensation": ((OURS, OLD), (QSSF_X, OLD)),
    "fig1:bits-waste": ((OURS, "input_entropy"), (QSSF_W, "input_entropy")),
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


def record(method: str, metric: str, seed: int, value: float, dataset: str = "digits") -> Record:
    settings = {"train_images": 100}
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


@pytest.mark.parametrize("name", ["tab3:no-clamp", "fig1:bits-waste", "tab5:brecq-nearest-3-bits"])
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


def test_eight_bits_are_compared_with_none() -> None:
    records = [
        record(method, metric, seed, value + 0.01 * seed * (metric == "accuracy"))
        for seed in range(5)
        for method, metric, value in (
            ("adder", "accuracy", 90.0),
            (OURS, "accuracy_8_bits", 89.8),
            (OURS, "accuracy", 10.0),
        )
    ]
    claim = CLAIMS["fig1:eight-bits"]
    assert found(claim, records).values[0] == pytest.approx(0.2)
    assert found(claim, records).reference == 0.5


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
    records = [record(QSSF_X, "weights_clamped", seed, 4.0 + 0.01 * seed) for seed in range(5)]
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
