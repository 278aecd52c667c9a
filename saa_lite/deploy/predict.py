"""Flash before anything is linked: constants to the byte, code by what layers of a kind took.

RAM is not estimated: it is the liveness of :mod:`saa_lite.costs`, and the arena that is written.
"""

from dataclasses import dataclass

import numpy as np

from saa_lite.deploy.functions import Function
from saa_lite.deploy.source import Source

# Bytes of code of a layer's function at -O2 with ziglang 0.17, means over ResNet-8 with every
# operator at 4 and 8 bits, with norms of one sign and of both; "term" is one digit of a weight that
# is written out as a statement, "" what belongs to no layer.
KINDS = ("", "term", "multiply", "adder", "shift", "binary", "add", "mean")
CODE = {
    target: dict(zip(KINDS, sizes, strict=True))
    for target, sizes in {
        "rv32i": (500, 9.6, 1400, 1600, 2110, 1150, 480, 618),
        "cortex-m0": (300, 4.3, 1200, 1220, 1620, 1075, 470, 430),
        "cortex-m4": (500, 4.1, 1100, 1050, 1715, 995, 435, 370),
        "cortex-m7": (500, 4.2, 1130, 1090, 1765, 985, 440, 374),
    }.items()
}
OF_THE_HOST = "cortex-m4"  # nothing is linked there


@dataclass(frozen=True)
class FlashPrediction:
    """Bytes, of each layer and of all."""

    layers: tuple[int, ...]
    total: int


def predict_flash(source: Source, target: str) -> FlashPrediction:
    """Weights at the bits that they take, thresholds, and code."""
    sizes = CODE[target if target in CODE else OF_THE_HOST]
    rows = zip(source.graph.layers, source.functions, strict=True)
    layers = tuple(
        round(
            _weights(layer.weight, function)
            + function.thresholds
            + sizes[layer.kind]
            + function.terms * sizes["term"]
        )
        for layer, function in rows
    )
    return FlashPrediction(layers, sum(layers) + round(sizes[""]))


def _weights(weight: np.ndarray | None, function: Function) -> float:
    return 0.0 if weight is None else weight.size * function.weight_bits / 8
