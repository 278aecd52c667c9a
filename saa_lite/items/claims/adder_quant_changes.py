"""Claims of AdderNet quantisation on what quantising costs: Tables 4 and 5, and a floor of ours.

``change_b_bits`` is the accuracy that quantising to b bits changes, in points, negative where it
loses, ``logit_error_b_bits`` the distance of the logits; see
:mod:`saa_lite.items.adder_quant.changes`. Differences are paired: by network and calibration
images within a kind of network, by seed, recipe and images between the two kinds. Which records
of Table 5 are judged: :mod:`saa_lite.items.claims.adder_quant_setting`. Table 4's setting is out
of reach here, so its claims are never more than *direction reproduced*.
"""

from collections.abc import Sequence
from functools import partial

from saa_lite.items.base import Claim, Samples
from saa_lite.items.claims.adder_quant_setting import Judged, on_cifar100_first, printed
from saa_lite.items.select import best_group, budget, paired
from saa_lite.published import find_published
from saa_lite.records import Record

SOURCE = "adder-quant"
READINGS = ("QSSF", "QSSF, scale of the weights", "QSSF, scale of the activations")
CONTROL = "CNN BRECQ, roundings on quantised inputs"
_COMPARED = {"CNN BRECQ": "BRECQ by its own recipe", "CNN nearest": "rounding to nearest"}
LEARNED = ("AdaRound", "BRECQ", "QDrop")


def _ahead(metric: str, better: str, worse: str) -> Judged:
    """``metric`` of one row exceeds that of the other."""
    rows = (better, worse)
    return on_cifar100_first(
        partial(paired, metric=metric, methods=rows, holds="above", at_published=printed)
    )


def _less_error(bits: int, better: str, worse: str) -> Judged:
    """Logit error of ``worse`` over that of ``better``, per seed: networks err by very different
    amounts. The interval is of the arithmetic mean, so that its lower end may be below 0.
    """

    def samples(records: list[Record]) -> Samples | None:
        group = best_group(records, f"logit_error_{bits}_bits", (worse, better), printed)
        if group is None:
            return None
        first, second = (group.by_method[method] for method in (worse, better))
        values = tuple(
            first[seed].value / second[seed].value for seed in group.seeds((worse, better))
        )
        published = all(map(printed, group.records))
        return Samples(values, "times", "above", 1.0, published, budget(group.records))

    return on_cifar100_first(samples)


def _ahead_of_readings(bits: int, readings: Sequence[str], records: list[Record]) -> Samples | None:
    """Redistribution minus whichever of these readings of QSSF does best on that seed."""
    methods = ("Ours", *readings)
    group = best_group(records, f"change_{bits}_bits", methods)
    if group is None:
        return None
    seeds, runs = group.seeds(methods), group.by_method
    values = tuple(
        runs["Ours"][seed].value - max(runs[name][seed].value for name in readings)
        for seed in seeds
    )
    return Samples(values, "points", "above", 0.0, False, budget(group.records))


_HELD_AGAINST = {
    f"{SOURCE}/tab4:ours-{{}}-bits": (READINGS, "whichever reading of QSSF loses least"),
    f"{SOURCE}/tab4:ours-one-scale-{{}}-bits": (
        READINGS[:1], "where QSSF's one scale covers weights and activations"
    ),
}  # fmt: skip


def _transformer(bits: int, claim: str) -> Claim:
    readings, which = _HELD_AGAINST[claim]
    ours, qssf = (
        find_published(f"{SOURCE}/tab4", row, f"W{bits}A{bits}").printed for row in ("Ours", "QSSF")
    )
    return Claim(
        claim.format(bits),
        f"At {bits} bits the adder transformer loses less by redistribution than by QSSF, {which}",
        f"{SOURCE}/tab4",
        f"{ours} against {qssf} points",
        "adder DeiT-T, ImageNet",
        partial(_ahead_of_readings, bits, readings),
    )


def _compared(bits: int, better: str, worse: str) -> Claim:
    """One printed order of two rows of Table 5."""
    first, second = (
        find_published(f"{SOURCE}/tab5", row, f"W{bits}A{bits}").printed for row in (better, worse)
    )
    return Claim(
        f"{SOURCE}/tab5:{_slug(better)}-{_slug(worse)}-{bits}-bits",
        f"At {bits} bits {better} loses less than {worse}",
        f"{SOURCE}/tab5",
        f"{first} against {second} points",
        "ResNet-20, CIFAR-100",
        _ahead(f"change_{bits}_bits", better, worse),
    )


def _above_the_floor(bits: int, method: str) -> Claim:
    return Claim(
        f"{SOURCE}/tab5:{method.lower()}-nearest-{bits}-bits",
        f"At {bits} bits {method} loses less than rounding to nearest (floor, ours)",
        f"{SOURCE}/tab5",
        "no floor printed",
        "ResNet-20, CIFAR-100",
        _ahead(f"change_{bits}_bits", f"CNN {method}", "CNN nearest"),
    )


def _logits_above_the_floor(bits: int, method: str) -> Claim:
    return Claim(
        f"{SOURCE}/tab5:{method.lower()}-nearest-{bits}-bits-logits",
        f"At {bits} bits {method} changes the logits less than rounding to nearest, which shows "
        "where accuracy saturates: error with nearest over error with it is above 1",
        f"{SOURCE}/tab5",
        "no floor printed",
        "ResNet-20, CIFAR-100",
        _less_error(bits, f"CNN {method}", "CNN nearest"),
    )


def _brecq_on_quantised_inputs(bits: int, other: str) -> Claim:
    return Claim(
        f"{SOURCE}/tab5:brecq-inputs-{_slug(other)}-{bits}-bits-logits",
        f"At {bits} bits BRECQ with its roundings learned on quantised inputs (control, ours) "
        f"changes the logits less than {_COMPARED[other]}: error with that over its own is above 1",
        f"{SOURCE}/tab5",
        "no control printed",
        "ResNet-20, CIFAR-100",
        _less_error(bits, CONTROL, other),
    )


def _slug(row: str) -> str:
    return row.removeprefix("CNN ").lower()


ADDER_QUANT_CHANGES = (
    *(_transformer(bits, claim) for claim in _HELD_AGAINST for bits in (8, 6, 4)),
    *(
        claim
        for bits in (4, 3)
        for claim in (
            _compared(bits, "AddNN", "CNN AdaRound"),
            _compared(bits, "CNN BRECQ", "AddNN"),
            _compared(bits, "CNN QDrop", "AddNN"),
            _compared(bits, "CNN QDrop", "CNN AdaRound"),
            *(_above_the_floor(bits, method) for method in LEARNED),
            *(_logits_above_the_floor(bits, method) for method in LEARNED),
            *(_brecq_on_quantised_inputs(bits, other) for other in _COMPARED),
        )
    ),
)
