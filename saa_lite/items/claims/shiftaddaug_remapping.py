"""Claims of ShiftAddAug's remapping (Figure 3 and equation 5), and controls of ours beside them.

Metrics that the item records for them:

================= =============================================================================
ks_distance       largest gap to Laplace(0, b) of remapped normal numbers; analytic and rescale
laplace_advantage log-likelihood per weight, Laplace minus normal fit, of lent weights
accuracy          of an adder network on frozen lent weights, %; none, rescale, analytic, random
best_accuracy     the same at the best of several scales b, %
================= =============================================================================
"""

import math
from collections.abc import Callable
from typing import Literal

from saa_lite.items.base import Claim, Samples
from saa_lite.items.select import paired, single
from saa_lite.records import Record

ITEM = "shiftaddaug/fig3"
NUMBERS = 100_000
BOUND = 1.628 / math.sqrt(NUMBERS)  # exact Laplace samples exceed it once in a hundred
Side = Literal["above", "below"]


def _enough_numbers(record: Record) -> bool:
    return record.settings.get("numbers", 0) >= NUMBERS


def _laplacian(records: list[Record]) -> Samples | None:
    return single(
        records, "ks_distance", "analytic", "below", threshold=BOUND, at_published=_enough_numbers
    )


def _trained(records: list[Record]) -> Samples | None:
    return single(records, "laplace_advantage", "analytic", "above")


def _more(metric: str, better: str, worse: str) -> Callable[[list[Record]], Samples | None]:
    def samples(records: list[Record]) -> Samples | None:
        return paired(records, metric, (better, worse), "above")

    return samples


def _claim(
    name: str,
    text: str,
    setting: str,
    samples: Callable[[list[Record]], Samples | None],
    published: str = "no number printed",
) -> Claim:
    return Claim(f"{ITEM}:{name}", text, ITEM, published, setting, samples)


UNSTATED = "network and data of the figure not stated"
NO_CONTROL = "no such control printed"
REMAPPING = (
    _claim(
        "laplacian",
        "Eq. 5 without its learned part turns normal into Laplacian weights: distance of "
        f"distribution functions below {BOUND:.5f}, the 1 % bound for {NUMBERS:,} numbers",
        "any normal weights",
        _laplacian,
    ),
    _claim(
        "trained",
        "Remapped weights of a trained convolution are nearer to a Laplace than to a normal "
        "distribution: log-likelihood of the Laplace minus the normal fit is above 0",
        UNSTATED,
        _trained,
    ),
    _claim(
        "needed",
        "An adder network makes more of convolution weights remapped than of the same weights as "
        "they are: accuracy on frozen weights, remapped minus as they are, is above 0 (our test)",
        UNSTATED,
        _more("accuracy", "analytic", "none"),
    ),
    _claim(
        "control-shape",
        "Control, ours: the Laplace shape helps beyond the larger scale: the same accuracy, "
        "remapped minus rescaled to equal variance, is above 0",
        UNSTATED,
        _more("accuracy", "analytic", "rescale"),
        NO_CONTROL,
    ),
    _claim(
        "control-best-scale",
        "Control, ours: the Laplace shape helps where both have the scale that suits them best: "
        "remapped minus rescaled, each at its best scale, is above 0",
        UNSTATED,
        _more("best_accuracy", "analytic", "rescale"),
        NO_CONTROL,
    ),
    _claim(
        "control-random",
        "Control, ours: what the convolution learned is of use: rescaled weights minus random "
        "numbers, each at its best scale, is above 0",
        UNSTATED,
        _more("best_accuracy", "rescale", "random"),
        NO_CONTROL,
    ),
)
