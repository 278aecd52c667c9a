"""Protocols judged from records: gates, corrections, intervals, and no word before the end."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from saa_lite.errors import RecordError
from saa_lite.items.contrasts import Trainings
from saa_lite.protocols import Contrast, Gate, Protocol
from saa_lite.records import Record, config_hash, measured_records, pack_hits
from saa_lite.report.protocols import (
    NO_CONTROL,
    NO_VERDICT,
    NONE,
    NOT_BEGUN,
    NOT_YET,
    OPEN,
    OPPOSITE,
    POWER,
    SMALLER,
    SMALLER_YET,
    SUPPORTED,
    UNASKED,
    VERDICTS,
    YES,
    Judged,
    decide,
    judge_protocols,
)
from saa_lite.report.scorecard import judged_contrasts, judgements
from saa_lite.report.verdict import ONE_NETWORK, judge_contrast


def student(t: float) -> float:
    """Two-sided p of Student's t with three degrees of freedom, in closed form."""
    x = t / math.sqrt(3)
    return 1 - 2 / math.pi * (math.atan(x) + x / (1 + x**2))


P = student(2.5 / (math.sqrt(0.5 / 3) / 2))  # of the differences 2, 3, 2.5 and 2.5
GAIN = Contrast("gain", "aug-shift", "shift", primary=True, matters=0.5, published=2.4)
CONTROL = Contrast("netaug", "netaug", "conv", primary=True, matters=0.5)
AHEAD = Gate("the wide network is ahead", "mean_lead", "aug-shift", least=1.0)
LONGER = Gate("longer", "longer", "shift", versus="shift-long", most=1.0)


def protocol(contrasts: Sequence[Contrast] = (GAIN,), **changes: Any) -> Protocol:
    arms = {arm for c in contrasts for arm in (c.first, c.second)}
    made = Protocol(
        name="u", sha="5" * 64, question="?", item="shiftaddaug/regimes", role="test",
        seeds=(0, 1, 2, 3), arms=tuple(sorted(arms)), decided="", settings={},
        contrasts=tuple(contrasts),
    )  # fmt: skip
    return replace(made, **changes)


def record(metric: str, method: str, seed: int, value: float, **changes: Any) -> Record:
    settings = {"protocol": protocol().label} | changes.pop("settings", {})
    made = Record(
        item="shiftaddaug/regimes", metric=metric, value=value, unit="%", method=method,
        model="resnet8", dataset="cifar100", seed=seed, profile="laptop", epochs=33, device="cpu",
        versions={}, config_hash=config_hash(settings), commit="unknown", seconds=1.0,
        peak_memory_mb=1.0, settings=settings,
    )  # fmt: skip
    return replace(made, **changes)


def accuracies(method: str, values: Iterable[float], **changes: Any) -> list[Record]:
    """What a training of the method leaves that may be compared."""
    metric = "accuracy" if method in ("aug-shift", "netaug") else "accuracy_reestimated"
    return [record(metric, method, seed, v, **changes) for seed, v in enumerate(values)]


def pairs(differences: Sequence[float]) -> list[Record]:
    plain = [30.0 + seed for seed in range(len(differences))]
    wide = [a + b for a, b in zip(plain, differences, strict=True)]
    return [*accuracies("shift", plain), *accuracies("aug-shift", wide)]


def judged(records: list[Record], asked: Protocol | None = None) -> list[Judged]:
    return judge_protocols([asked or protocol()], records)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.6, 3.0), SUPPORTED),
        ((0.6, 2.0), SMALLER_YET),
        ((-0.2, 2.0), SMALLER),
        ((-0.2, 3.0), OPEN),
        ((-3.0, -0.1), OPPOSITE),
        ((-0.4, 0.4), NONE),
        ((0.1, 0.4), NONE),  # there, and too small to matter
        ((-0.5, 0.5), SMALLER),  # reaches what matters
    ],
)
def test_verdicts_in_their_order(interval: tuple[float, float], verdict: str) -> None:
    assert decide(*interval, adjusted=0.01, matters=0.5, published=2.4) == verdict


def test_what_the_correction_takes_away_is_open() -> None:
    assert decide(0.6, 3.0, adjusted=0.06, matters=0.5, published=None) == OPEN
    assert decide(-3.0, -0.6, adjusted=0.06, matters=0.5, published=None) == OPEN


def test_differences_are_paired_by_seed_and_judged_by_student() -> None:
    (one,) = judged(pairs([2.0, 3.0, 2.5, 2.5]))
    half = 3.18245 * 0.408248 / 2  # t(0.975, 3) · s / √4
    assert one.interval == pytest.approx((2.5 - half, 2.5 + half), abs=1e-4)
    assert (one.testable, one.verdict, one.why) == (YES, SUPPORTED, UNASKED)
    assert one.adjusted == pytest.approx(P, rel=1e-4)
    row = judge_contrast(one, None)
    assert row.short == "+2.5 [+1.85, +3.15] points, n = 4"


def test_a_published_loss_is_supported_by_a_loss() -> None:
    loses = replace(GAIN, published=-2.4)
    (one,) = judged(pairs([-2.0, -3.0, -2.5, -2.5]), protocol([loses]))
    assert one.verdict == SUPPORTED
    can = Gate("a positive control", "accuracy", "aug-shift", least=1.0)
    (one,) = judged(pairs([2.0, 3.0, 2.5, 2.5]), protocol([loses], gates=(can,)))
    assert one.verdict == OPPOSITE


@pytest.mark.parametrize(
    ("differences", "denied"),
    [([-2.0, -3.0, -2.5, -2.5], OPPOSITE), ([0.1, 0, -0.1, 0], NONE), ([0.1, 1, -0.5, 1], SMALLER)],
)
def test_an_effect_is_denied_only_where_one_could_have_been(
    differences: list[float], denied: str
) -> None:
    (one,) = judged(pairs(differences))
    assert (one.testable, one.verdict) == ("no: no control", NO_VERDICT)
    assert NO_CONTROL in one.why
    ahead = replace(AHEAD, least=None, most=0.0)
    records = [*pairs(differences), *(record("mean_lead", "aug-shift", s, -1.0) for s in range(4))]
    (one,) = judged(records, protocol(gates=(ahead,)))
    assert (one.testable, one.verdict) == (YES, denied)
    of_times = protocol(unit="times", metric="accuracy")
    assert judged(pairs(differences), of_times)[0].testable != "no: no control"


def test_before_the_last_seed_there_is_neither_number_nor_verdict() -> None:
    (one,) = judged(pairs([2.0, 3.0, 2.5]))
    assert (one.testable, one.verdict) == (NOT_YET, "3 of 4 seeds so far")
    assert judge_contrast(one, None).measured == NO_VERDICT
    (other,) = judged(
        [r for r in pairs([2.0, 3.0, 2.5, 2.5]) if (r.method, r.seed) != ("shift", 0)]
    )
    assert other.verdict == "3 of 4 seeds so far"
    (alone,) = judged(accuracies("shift", [30.0]))
    assert (alone.testable, alone.verdict) == (NOT_YET, "0 of 4 seeds so far")


def test_a_contrast_counts_its_own_arms_and_says_whether_they_have_begun() -> None:
    """Width has two of the four seeds, depth none of its trainings, the control is complete."""
    parts = [
        Contrast(f"{part} alone", f"aug-shift-{part}", "shift", primary=False, matters=0.5)
        for part in ("width", "depth")
    ]
    variants = {c.first: {"method": c.first, "seeds": [1, 3]} for c in parts}
    asked = protocol([CONTROL, *parts], variants=variants)
    records = [
        *(r for m in ("netaug", "conv", "shift") for r in accuracies(m, [40.0] * 4)),
        replace(accuracies("aug-shift-width", [41.0])[0], metric="accuracy", seed=3),
    ]
    control, width, depth = judged(records, asked)
    assert width.verdict == "1 of 2 seeds so far"
    assert depth.verdict == "0 of 2 seeds so far"  # the network alone is trained
    assert control.verdict == "finished: 4 of 4 seeds, waits for other arms"
    assert {one.testable for one in (control, width, depth)} == {NOT_YET}
    assert control.adjusted is None
    (nothing, *_) = judged([], asked)
    assert (nothing.testable, nothing.verdict) == (NOT_YET, NOT_BEGUN)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (LONGER, "longer: 1.50 (1 of 2 seeds), at most 1 asked"),
        (replace(LONGER, quantity="accuracy", arm="aug-shift", versus="shift"),
         "longer: 2.67 (3 of 4 seeds), at most 1 asked"),
        (replace(LONGER, quantity="diverged", arm="shift", versus=""),
         "longer: 0.00 (3 of 4 seeds), at most 1 asked"),
        (replace(LONGER, quantity="diverged", arm="shift-long", versus=""),
         "longer: 0.00 (1 of 2 seeds), at most 1 asked"),
        (AHEAD, "the wide network is ahead: not measured, at least 1 asked"),
    ],
)  # fmt: skip
def test_a_gate_says_over_how_many_of_its_seeds_it_was_measured(gate: Gate, said: str) -> None:
    asked = protocol(
        arms=("aug-shift", "shift", "shift-long"), gates=(gate,),
        variants={"shift-long": {"method": "shift", "seeds": [2, 3]}},
    )  # fmt: skip
    long = replace(accuracies("shift", [33.5], settings={"arm": "shift-long"})[0], seed=2)
    found = Trainings(asked, [*pairs([2.0, 3.5, 2.5]), long]).gate(gate)
    assert str(found) == said


def test_a_gate_over_all_seeds_says_no_count() -> None:
    found = Trainings(protocol(), pairs([2.0, 3.0, 2.5, 2.5])).gate(
        Gate("control", "accuracy", "aug-shift", versus="shift", least=2.0)
    )
    assert (str(found), found.met) == ("control: 2.50, at least 2 asked", True)
    empty = Trainings(protocol(), []).gate(Gate("stands", "diverged", "shift", most=0))
    assert (empty.value, empty.met) == (None, False)  # nobody knows yet


def test_only_the_protocol_s_own_records_count() -> None:
    own = pairs([2.0, 3.0, 2.5, 2.5])
    strangers = [
        *accuracies("shift", [99.0] * 9, settings={"protocol": "u 000000000000"}),
        *accuracies("netaug", [99.0] * 4),
        *(replace(r, seed=r.seed + 4) for r in own),
        record("accuracy", "shift", 0, 99.0),  # of the statistics that it kept
    ]
    assert judged([*strangers, *own]) == judged(own)
    with pytest.raises(RecordError, match="two records of accuracy_reestimated, arm shift, seed 0"):
        judged([*own, *accuracies("shift", [1.0])])


def test_a_variant_is_told_by_its_settings() -> None:
    asked = protocol(arms=("aug-shift", "shift", "shift-long"), gates=(LONGER,))
    longer = accuracies("shift", [30.5, 31.5, 32.5, 33.5], settings={"arm": "shift-long"})
    (one,) = judged([*pairs([2.0, 3.0, 2.5, 2.5]), *longer], asked)
    assert (one.testable, one.why) == (YES, "")
    gain = [replace(r, value=r.value + 1) for r in longer]
    (one,) = judged([*pairs([2.0, 3.0, 2.5, 2.5]), *gain], asked)
    assert (one.testable, one.verdict) == ("no: not converged", NO_VERDICT)
    assert one.why == "longer: 1.50, at most 1 asked"


def test_a_variant_may_have_fewer_seeds() -> None:
    asked = protocol(
        arms=("aug-shift", "shift", "shift-long"), gates=(LONGER,),
        variants={"shift-long": {"method": "shift", "seeds": [1, 2]}},
    )  # fmt: skip
    long = accuracies("shift", [99.0, 31.5, 32.7, 99.0], settings={"arm": "shift-long"})
    (one,) = judged([*pairs([2.0, 3.0, 2.5, 2.5]), *long[1:3]], asked)
    assert (one.testable, len(one.difference.values)) == (YES, 4)
    (one,) = judged([*pairs([2.0, 3.0, 2.5, 2.5]), long[1]], asked)
    assert one.verdict == "finished: 4 of 4 seeds, waits for other arms"


@pytest.mark.parametrize(
    ("gate", "extra", "no"),
    [
        (AHEAD, [], "no: premise not met"),  # nothing measured
        (
            AHEAD,
            [record("mean_lead", "aug-shift", s, 0.5) for s in range(4)],
            "no: premise not met",
        ),
        (AHEAD, [record("mean_lead", "aug-shift", s, 1 + s / 9) for s in range(4)], YES),
        (
            Gate("gap", "gap", "shift", most=2.0),
            [record("train_accuracy_reestimated", "shift", s, 34.0 + s) for s in range(4)],
            "no: premise not met",
        ),
        (
            Gate("gap", "gap", "shift", most=5.0),
            [record("train_accuracy_reestimated", "shift", s, 34.0 + s) for s in range(4)],
            YES,
        ),
        (
            Gate("positive control", "accuracy", "aug-shift", versus="shift", least=4.0),
            [],
            "no: control failed",
        ),
        (Gate("stands", "diverged", "shift", most=0), [], YES),
    ],
)
def test_gates_close_what_they_stand_for(gate: Gate, extra: list[Record], no: str) -> None:
    records = [*pairs([2.0, 3.0, 2.5, 2.5]), *extra]
    (one,) = judged(records, protocol(gates=(gate,)))
    assert one.testable == no
    assert (one.verdict == NO_VERDICT) == (no != YES)
    (other,) = judged(records, protocol(gates=(replace(gate, stands_for=("another",)),)))
    assert other.testable == YES


def test_a_divergence_counts_as_chance_and_fails_a_gate() -> None:
    records = [r for r in pairs([2.0, 3.0, 2.5, 2.5]) if (r.method, r.seed) != ("aug-shift", 3)]
    records.append(record("diverged_epoch", "aug-shift", 3, 7, unit="epoch"))
    (one,) = judged(records)
    assert one.difference.values == pytest.approx((2.0, 3.0, 2.5, 1.0 - 33.0))  # of 100 classes
    assert one.why.startswith("1 diverged, counted as chance")
    gate = Gate("none diverged", "diverged", "aug-shift", most=0)
    (one,) = judged(records, protocol(gates=(gate,)))
    assert one.testable == "no: diverged"


def test_two_seeds_are_no_verdict() -> None:
    (one,) = judged(pairs([2.0, 2.1]), protocol(seeds=(0, 1)))
    assert (one.testable, one.verdict) == ("no: fewer than three seeds", NO_VERDICT)


def test_an_open_question_says_what_would_settle_it_and_whether_it_could_be_seen() -> None:
    noisy = pairs([3.0, -1.0, 4.0, 1.0])
    (one,) = judged(noisy)
    assert (one.testable, one.verdict) == (POWER, OPEN)  # they show 4.5 points, 2.4 are printed
    assert "the source prints 2.4" in one.why
    assert one.needed == 157  # sd 2.217, half a point matters
    (one,) = judged(noisy, protocol([replace(GAIN, published=None)]))
    assert (one.testable, one.verdict) == (YES, OPEN)
    assert judge_contrast(one, None).said == "open, 157 seeds would settle it"


def test_primary_contrasts_are_corrected_by_holm_the_others_by_themselves() -> None:
    also = replace(GAIN, name="again", primary=False)
    asked = protocol([GAIN, CONTROL, also, replace(also, name="twice")])
    control = [*accuracies("conv", [40.0] * 4), *accuracies("netaug", [40.1, 40.9, 40.2, 40.8])]
    gain, netaug, first, second = judged([*pairs([2.0, 3.0, 2.5, 2.5]), *control], asked)
    assert gain.adjusted == pytest.approx(2 * P, rel=1e-4)
    assert netaug.adjusted == pytest.approx(student(math.sqrt(6)))  # the larger p: as it is
    assert first.adjusted == second.adjusted == pytest.approx(P, rel=1e-4)


def test_declared_contrasts_count_before_they_have_a_p() -> None:
    waiting = protocol([CONTROL], name="m", sha="6" * 64)
    found = judge_protocols([protocol(), waiting], pairs([2.0, 3.0, 2.5, 2.5]))
    assert found[0].adjusted == pytest.approx(2 * P, rel=1e-4)
    assert found[1].testable == NOT_YET


def with_hits(method: str, right: np.ndarray) -> list[Record]:
    """Trainings by their right answers, [seeds, images]."""
    return [
        replace(r, hits=pack_hits(row.tolist()))
        for r, row in zip(accuracies(method, 100 * right.mean(1)), right, strict=True)
    ]


def test_the_test_images_widen_what_the_seeds_leave_narrow() -> None:
    worse = np.zeros((4, 1_000), dtype=bool)
    better = worse.copy()
    better[:, :20] = True
    better[np.arange(4), 20 + np.arange(4)] = True  # the seeds differ, but in which images
    records = [*with_hits("shift", worse), *with_hits("aug-shift", better)]
    (one,) = judged(records)
    assert one.interval == pytest.approx((2.1, 2.1))
    assert one.images is not None
    low, high = one.images
    assert (low + high) / 2 == pytest.approx(2.1, abs=0.1)
    assert (high - low) / 2 == pytest.approx(100 * 1.96 * (0.021 * 0.979 / 1_000) ** 0.5, rel=0.1)
    assert one.hull == (low, high)
    assert one.verdict == SUPPORTED  # 2.4 lies inside the wider one, not inside Student's
    apart = [replace(r, hits=None) if r.seed == 0 else r for r in records]
    (one,) = judged(apart)
    assert one.images is None
    assert one.verdict == SMALLER_YET


def test_arms_are_compared_after_measuring_batch_norm_anew() -> None:
    kept = accuracies("shift", [10.0] * 4)
    asked = protocol()
    trainings = Trainings(asked, [*(replace(r, metric="accuracy") for r in kept), *kept])
    found = trainings.record("accuracy_reestimated", "shift", 2)
    assert found is not None
    assert found.value == 10.0
    assert trainings.record("accuracy", "shift", 2) is None


def test_no_tracked_row_has_a_verdict_without_a_finished_protocol_whose_gates_are_met() -> None:
    by_name = {
        f"{one.protocol.name}:{one.contrast.name}": one
        for found in judged_contrasts().values()
        for one in found
    }
    for row in (row for rows in judgements().values() for row in rows):
        if row.verdict in VERDICTS and row.testable == ONE_NETWORK:
            assert row.claim is not None
            assert row.claim.matters is not None
            assert row.images == 10_000  # every test image of CIFAR-10
        elif row.verdict in VERDICTS:
            protocol = by_name[row.id].protocol
            trainings = Trainings(protocol, measured_records(protocol.item))
            assert trainings.finished
            assert trainings.unmet(by_name[row.id].contrast) == []
            assert row.seeds >= 3
