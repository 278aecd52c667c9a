"""Flash before anything is linked: constants to the byte, code by what layers of a kind took.

RAM is not estimated: it is the liveness of :mod:`saa_lite.costs`, and the arena that is written.
"""

from dataclasses import dataclass

import numpy as np

from saa_lite.deploy.source import Source

# Bytes of code of a layer's function at -O2 with ziglang 0.17, means over ResNet-8 with every
# operator at 4 and 8 bits; "" is what belongs to no layer.
CODE = {
    "rv32i": {
        "": 400,
        "multiply": 1353,
        "adder": 1420,
        "add": 411,
        "mean": 619,
        "shift": 1904,
        "binary": 950,
    },
    "cortex-m0": {
        "": 400,
        "multiply": 1307,
        "adder": 1124,
        "add": 439,
        "mean": 431,
        "shift": 1439,
        "binary": 854,
    },
    "cortex-m4": {
        "": 400,
        "multiply": 1155,
        "adder": 954,
        "add": 419,
        "mean": 370,
        "shift": 1513,
        "binary": 795,
    },
    "cortex-m7": {
        "": 400,
        "multiply": 1126,
        "adder": 1002,
        "add": 432,
        "mean": 372,
        "shift": 1560,
        "binary": 770,
    },
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
    layers = tuple(
        round(
            _weights(layer.weight, function.weight_bits) + function.thresholds + sizes[layer.kind]
        )
        for layer, function in zip(source.graph.layers, source.functions, strict=True)
    )
    return FlashPrediction(layers, sum(layers) + sizes[""])


def _weights(weight: np.ndarray | None, bits: float) -> float:
    return 0.0 if weight is None else weight.size * bits / 8
