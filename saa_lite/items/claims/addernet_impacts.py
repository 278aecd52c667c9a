"""Claims of "Impacts of Add-based Modules".

Metrics that the items record for them:

======================== ====================================================================
relative_error            max|a−b| / max|b| against the float64 equation; item eq-gradients
sign_cosine_slope         change of cos(sgn g, g) per tenfold dimension of a real gradient g
cosine_minus_l1_accuracy  nearest-mean accuracy by angle minus by L1 distance, in points
laplace_advantage         mean log-likelihood per third-layer weight, Laplace minus Gauss fit
accuracy                  test accuracy in %; methods "conv" and "adder"
latency_ms                one forward pass in eval mode; methods "conv" and "adder"
======================== ====================================================================
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from saa_lite.items.base import Claim, Exact, Samples
from saa_lite.items.select import exact, paired, single
from saa_lite.published import find_published
from saa_lite.records import Record

SOURCE = "addernet-impacts"
EXACT_BOUND = 1e-12  # float64 rounding of sums of a few thousand terms
CLOSE = 1.0  # points; our reading of curves that lie close to each other
MNIST_IMAGES, CIFAR_IMAGES = 60_000, 50_000
MNIST_EPOCHS = 20  # the source does not say; our reading of "trained"
CIFAR_EPOCHS = 399  # the official loop `range(1, 400)`, called 400 epochs in the source


def _whole_mnist(record: Record) -> bool:
    trained = record.epochs >= MNIST_EPOCHS
    return (
        trained
        and record.dataset == "mnist"
        and record.settings.get("train_images") == MNIST_IMAGES
    )


def _whole_cifar(record: Record) -> bool:
    return record.epochs >= CIFAR_EPOCHS and record.settings.get("train_images") == CIFAR_IMAGES


def _on(records: list[Record], dataset: str) -> list[Record]:
    return [record for record in records if record.dataset == dataset]


def _equations_hold(records: list[Record]) -> Exact | None:
    return exact(records, "relative_error", EXACT_BOUND)


def _sign_worsens(records: list[Record]) -> Samples | None:
    return single(records, "sign_cosine_slope", "adder", "below")


def _rays(records: list[Record]) -> Samples | None:
    metric = "cosine_minus_l1_accuracy"
    return single(records, metric, "conv", "above", at_published=_whole_mnist)


def _clusters(records: list[Record]) -> Samples | None:
    metric = "cosine_minus_l1_accuracy"
    return single(records, metric, "adder", "below", at_published=_whole_mnist)


def _adder_laplace(records: list[Record]) -> Samples | None:
    return single(records, "laplace_advantage", "adder", "above", at_published=_whole_mnist)


def _conv_gauss(records: list[Record]) -> Samples | None:
    return single(records, "laplace_advantage", "conv", "below", at_published=_whole_mnist)


def _adder_faster(records: list[Record]) -> Samples | None:
    return paired(records, "latency_ms", ("adder", "conv"), "below")


def _claim(
    item: str,
    name: str,
    text: str,
    setting: str,
    samples: Callable[[list[Record]], Samples | Exact | None],
    *,
    published: str = "no number printed",
    at_end: bool = False,
) -> Claim:
    item_id = f"{SOURCE}/{item}"
    return Claim(f"{item_id}:{name}", text, item_id, published, setting, samples, at_end)


def _curves(classes: int) -> tuple[Claim, ...]:
    """Claims of the loss-curve figure of CIFAR-10 or CIFAR-100."""
    dataset, column, chance = f"cifar{classes}", f"CIFAR-{classes}", 100 / classes
    cnn, adder = (
        find_published("adder-quant/tab1", f"ResNet-20 {method}", column)
        for method in ("CNN", "AddNN")
    )
    claim = partial(
        _claim,
        f"fig-loss-{dataset}",
        setting=f"ResNet-20, {column}, 400 epochs",
        published=(
            f"curves only; adder-quant Table 1: CNN {cnn.printed} %, adder {adder.printed} %"
        ),
    )

    def learns(records: list[Record]) -> Samples | None:
        found = _on(records, dataset)
        return single(
            found, "accuracy", "adder", "above", threshold=chance, at_published=_whole_cifar
        )

    def ahead(records: list[Record]) -> Samples | None:
        return _cnn_minus_adder(_on(records, dataset), "above")

    def close(records: list[Record]) -> Samples | None:
        return _cnn_minus_adder(_on(records, dataset), "below", threshold=CLOSE)

    behind = f"After training the adder network is less than {CLOSE:g} point behind the CNN"
    return (
        claim(
            "learns",
            f"The adder network learns: above the chance of {chance:g} %",
            samples=learns,
        ),
        claim("cnn-ahead", "The CNN stays ahead of the adder network", samples=ahead),
        claim("close", behind, samples=close, at_end=True),
    )


def _cnn_minus_adder(
    records: list[Record], holds: Literal["above", "below"], threshold: float = 0.0
) -> Samples | None:
    return paired(
        records,
        "accuracy",
        ("conv", "adder"),
        holds,
        threshold=threshold,
        at_published=_whole_cifar,
    )


ADDERNET_IMPACTS = (
    _claim(
        "eq-gradients",
        "definition",
        "Output and both gradients of the layer follow the printed equations",
        "any",
        _equations_hold,
    ),
    _claim(
        "eq-gradients",
        "sign-worsens",
        "The sign gradient's direction gets worse as dimensionality grows",
        "stated without an experiment",
        _sign_worsens,
    ),
    _claim(
        "fig-features",
        "conv-rays",
        "CNN features separate by angle: nearest-mean accuracy, cosine minus L1, above 0",
        "LeNet++, whole MNIST",
        _rays,
    ),
    _claim(
        "fig-features",
        "adder-clusters",
        "Adder features separate by position: nearest-mean accuracy, cosine minus L1, below 0",
        "LeNet++, whole MNIST",
        _clusters,
    ),
    _claim(
        "fig-kernels",
        "adder-laplace",
        "Third-layer adder weights are nearer to a Laplace than to a normal distribution: "
        "log-likelihood of the one fit minus the other is above 0",
        "LeNet-5-BN, whole MNIST",
        _adder_laplace,
    ),
    _claim(
        "fig-kernels",
        "conv-gauss",
        "Third-layer CNN weights are nearer to a normal than to a Laplace distribution: "
        "log-likelihood of the Laplace minus the normal fit is below 0",
        "LeNet-5-BN, whole MNIST",
        _conv_gauss,
    ),
    *_curves(10),
    *_curves(100),
    _claim(
        "claim-speed",
        "adder-faster",
        "An adder network infers faster than the CNN",
        "hardware not stated",
        _adder_faster,
    ),
)
