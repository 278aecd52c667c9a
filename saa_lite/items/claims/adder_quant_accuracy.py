"""Claims of the AdderNet-quantisation supplement on what its own method costs.

Metrics that the items record for them, in % unless said otherwise:

============================= ==================================================================
accuracy                       at 4 bits, statistics of batch norm taken anew; "adder" unquantised
accuracy_without_reestimation  the same with batch norm as trained
accuracy_trained               the same, after quantisation-aware training (tab3)
accuracy_8_bits                as accuracy, at 8 bits (fig1)
logit_error                    change of the logits by quantising, squares, share of theirs
input_entropy                  bits that the codes of one layer's inputs carry (fig1)
weights_clamped                share of one layer's weights beyond the range (fig1)
============================= ==================================================================

Which records are judged: :mod:`saa_lite.items.claims.adder_quant_setting`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from saa_lite.items.base import Claim, Samples
from saa_lite.items.claims.adder_quant_setting import Judged, on_cifar100_first, printed
from saa_lite.items.select import combined, single
from saa_lite.published import find_published
from saa_lite.records import Record

SOURCE = "adder-quant"
Side = Literal["above", "below"]
SMALLEST, BEST, NO_CLAMP = "alpha 0.9985", "alpha 0.9990", "alpha 1.0"
FULL, OURS = "adder", "redistribution"  # before quantisation, and the source's method
LOSSLESS = 0.5  # points at 8 bits
CLAMPED = 1.0  # %, our reading of "over clamp"
Term = tuple[int, str, str]


def _combined(terms: Sequence[Term], holds: Side = "above", threshold: float = 0.0) -> Judged:
    return on_cifar100_first(
        partial(combined, terms=terms, holds=holds, threshold=threshold, at_published=printed)
    )


def _difference(metric: str, better: str, worse: str) -> Judged:
    return _combined([(1, metric, better), (-1, metric, worse)])


def _clamped(records: list[Record]) -> Samples | None:
    return single(records, "weights_clamped", "qssf-activations", "above", threshold=CLAMPED)


def _claim(item: str, name: str, text: str, published: str, setting: str, samples: Judged) -> Claim:
    item_id = f"{SOURCE}/{item}"
    return Claim(f"{item_id}:{name}", text, item_id, published, setting, samples)


def _accuracies(*alphas: str) -> str:
    rows = (find_published(f"{SOURCE}/tab3", alpha, "accuracy") for alpha in alphas)
    return " against ".join(f"{row.printed} %" for row in rows)


SWEEP = partial(_claim, "tab3", setting="ResNet-20, CIFAR-100, 4 bits, protocol not stated")
FIGURE = partial(
    _claim, "fig1", published="no number printed", setting="network of the figure not stated"
)
ADDER_QUANT_ACCURACY = (
    _claim(
        "tab1",
        "binary-behind",
        "A binary network falls behind the adder network: ResNet-20, adder minus binary, above 0",
        " against ".join(
            f"{find_published(f'{SOURCE}/tab1', f'ResNet-20 {method}', 'CIFAR-100').printed} %"
            for method in ("AddNN", "BNN")
        ),
        "ResNet-20, CIFAR-100, 400 epochs",
        _difference("accuracy", "adder", "binary"),
    ),
    SWEEP(
        "no-clamp",
        "Without the outlier clamp 4 bits lose more: post-training, accuracy at α = 0.9990 minus "
        "at α = 1 is above 0",
        _accuracies(BEST, NO_CLAMP),
        samples=_difference("accuracy", BEST, NO_CLAMP),
    ),
    SWEEP(
        "no-clamp-trained",
        "The same after quantisation-aware training",
        _accuracies(BEST, NO_CLAMP),
        samples=_difference("accuracy_trained", BEST, NO_CLAMP),
    ),
    SWEEP(
        "interior",
        "The best α is not the smallest: post-training, accuracy at α = 0.9990 minus at 0.9985 is "
        "above 0",
        _accuracies(BEST, SMALLEST),
        samples=_difference("accuracy", BEST, SMALLEST),
    ),
    SWEEP(
        "no-clamp-logits",
        "Without the outlier clamp the logits change more, post-training: error at α = 1 minus at "
        "α = 0.9990 is above 0",
        "no number printed",
        samples=_difference("logit_error", NO_CLAMP, BEST),
    ),
    SWEEP(
        "interior-logits",
        "Nor is the smallest α best for the logits: error at α = 0.9985 minus at 0.9990 is above 0",
        "no number printed",
        samples=_difference("logit_error", SMALLEST, BEST),
    ),
    SWEEP(
        "protocol",
        "Quantisation-aware training loses less than post-training quantisation at 4 bits, "
        "α = 0.9990, which may be why Table 3 loses 0.24 points and Table 5 1.83 (our reading)",
        "Table 3: 67.35 %; Table 5: 67.59 − 1.83 %",
        samples=_combined(
            [
                (1, "accuracy_trained", BEST),
                (-1, "accuracy_trained", FULL),
                (-1, "accuracy", BEST),
                (1, "accuracy", FULL),
            ]
        ),
    ),
    FIGURE(
        "eight-bits",
        f"Eight bits lose less than {LOSSLESS} points: full precision minus redistribution",
        published="official code's README: 91.36 % of 91.42 % (ResNet-20, CIFAR-10)",
        samples=_combined(
            [(1, "accuracy", FULL), (-1, "accuracy_8_bits", OURS)], "below", LOSSLESS
        ),
    ),
    FIGURE(
        "beats-qssf-weights",
        "At 4 bits redistribution keeps more accuracy than QSSF with the weights' scale",
        samples=_difference("accuracy", OURS, "qssf-weights"),
    ),
    FIGURE(
        "beats-qssf-activations",
        "At 4 bits redistribution keeps more accuracy than QSSF with the activations' scale",
        samples=_difference("accuracy", OURS, "qssf-activations"),
    ),
    FIGURE(
        "beats-qssf-activations-logits",
        "The same in the error of the logits, which does not saturate on easy images: error with "
        "QSSF's activations' scale minus error with redistribution is above 0",
        samples=_difference("logit_error", "qssf-activations", OURS),
    ),
    FIGURE(
        "compensation",
        "With batch norm as trained, the compensated clamp of redistribution keeps more accuracy "
        "than the uncompensated one of QSSF with the activations' scale",
        samples=_difference("accuracy_without_reestimation", OURS, "qssf-activations"),
    ),
    FIGURE(
        "over-clamp",
        f"Over clamp: with the activations' scale more than {CLAMPED:g} % of the layer's weights "
        "lie beyond the codes",
        samples=on_cifar100_first(_clamped),
    ),
    FIGURE(
        "bits-waste",
        "Bits waste: with the weights' scale the codes of the layer's inputs carry fewer bits than "
        "with redistribution",
        samples=_difference("input_entropy", OURS, "qssf-weights"),
    ),
    FIGURE(
        "non-negative",
        "Extension of ours: behind ReLUs no codes for negative weights are needed; at 4 bits the "
        "logits then change less: error with redistribution minus error without such codes",
        published="not in the source",
        samples=_difference("logit_error", OURS, "non-negative"),
    ),
    FIGURE(
        "non-negative-old",
        "Extension of ours: with batch norm as trained, clamping to [0, S] keeps more accuracy at "
        "4 bits than clamping to ±S",
        published="not in the source",
        samples=_difference("accuracy_without_reestimation", "non-negative", OURS),
    ),
)
