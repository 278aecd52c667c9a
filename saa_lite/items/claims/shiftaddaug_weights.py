"""Claims of ShiftAddAug's weight distributions (Figure 2), and controls of ours beside them.

Metrics that the item records for them; each is a mean over layers weighted by their weights:

================= =============================================================================
laplace_advantage log-likelihood per weight, Laplace minus Gaussian fit; methods conv, shift, adder
laplace_gain      the same after training minus before
change_advantage  the same of what training added: trained − β · start, β by regression
================= =============================================================================

``start`` in a record's settings says from which distribution the weights set out.
"""

from collections.abc import Callable
from typing import Literal

from saa_lite.items.base import Claim, Samples
from saa_lite.items.select import paired, single
from saa_lite.records import Record

ITEM = "shiftaddaug/fig2"
METRIC, GAIN, CHANGE = "laplace_advantage", "laplace_gain", "change_advantage"
CIFAR_IMAGES = 50_000
EPOCHS = 300  # of the paper's multiplication-free networks; the figure itself does not say
Judged = Callable[[list[Record]], Samples | None]
Side = Literal["above", "below"]


def _trained_fully(record: Record) -> bool:
    whole = record.settings.get("train_images") == CIFAR_IMAGES
    return whole and record.dataset == "cifar100" and record.epochs >= EPOCHS


def _from(records: list[Record], start: str) -> list[Record]:
    return [record for record in records if record.settings.get("start") == start]


def _one(metric: str, method: str, holds: Side, start: str = "own") -> Judged:
    def samples(records: list[Record]) -> Samples | None:
        found = _from(records, start)
        return single(found, metric, method, holds, at_published=_trained_fully)

    return samples


def _adder_minus_conv(start: str, metric: str = METRIC) -> Judged:
    def samples(records: list[Record]) -> Samples | None:
        found = _from(records, start)
        return paired(found, metric, ("adder", "conv"), "above", at_published=_trained_fully)

    return samples


def _claim(name: str, text: str, samples: Judged, published: str = "no number printed") -> Claim:
    setting = "network and recipe of the figure not stated"
    return Claim(f"{ITEM}:{name}", text, ITEM, published, setting, samples)


def _control(name: str, text: str, samples: Judged) -> Claim:
    return _claim(f"control-{name}", f"Control, ours: {text}", samples, "no such control printed")


WEIGHTS = (
    _claim(
        "conv-gauss",
        "Convolution weights are nearer to a Gaussian than to a Laplace distribution: "
        "log-likelihood of the Laplace minus the Gaussian fit is below 0",
        _one(METRIC, "conv", "below"),
    ),
    _claim(
        "adder-laplace",
        "Adder weights are nearer to a Laplace than to a Gaussian distribution: the same "
        "difference is above 0",
        _one(METRIC, "adder", "above"),
    ),
    _claim(
        "shift-laplace",
        "Shift weights, too, are nearer to a Laplace: it is above 0 (our reading of the caption, "
        "which sets convolution against multiplication-free layers)",
        _one(METRIC, "shift", "above"),
    ),
    _claim(
        "adder-above-conv",
        "Adder weights are more Laplacian than convolution weights: adder minus convolution is "
        "above 0",
        _adder_minus_conv("own"),
    ),
    _control(
        "trained",
        "training, not the start at N(0, 1), makes adder weights Laplacian: after minus before is "
        "above 0",
        _one(GAIN, "adder", "above"),
    ),
    _control(
        "forgets",
        "convolution weights that start as a Laplace distribution end nearer to a Gaussian: "
        "below 0",
        _one(METRIC, "conv", "below", "laplace"),
    ),
    _control(
        "change-conv",
        "what training added to convolution weights is nearer to a Gaussian, too: below 0",
        _one(CHANGE, "conv", "below"),
    ),
    _control(
        "change",
        "adder minus convolution stays above 0 for what training added",
        _adder_minus_conv("own", CHANGE),
    ),
    _control(
        "narrow-conv",
        "convolution weights are nearer to a Gaussian also where they start a tenth as wide, so "
        "that the start is forgotten: below 0",
        _one(METRIC, "conv", "below", "narrow"),
    ),
    _control(
        "narrow",
        "adder minus convolution stays above 0 where both start a tenth as wide",
        _adder_minus_conv("narrow"),
    ),
)
