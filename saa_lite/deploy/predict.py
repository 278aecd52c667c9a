"""Flash before anything is linked: constants to the byte, code by what layers of a kind took.

RAM is not estimated: it is the liveness of :mod:`saa_lite.costs`, and the arena that is written.
"""

from dataclasses import dataclass

from saa_lite.deploy.source import Source

# Bytes of code of a layer's function at -O2 with clang 21, means over ResNet-8, LeNet-5-BN and
# MobileNetV2-Tiny with all operators at 4 and 8 bits; "" is what does not belong to a layer.
CODE = {
    "rv32i": {"": 500},
}
OF_THE_HOST = "cortex-m4"  # x86 and Thumb-2 are about as dense


@dataclass(frozen=True)
class FlashPrediction:
    """Bytes, of each layer and of all."""

    layers: tuple[int, ...]
    total: int


def predict_flash(source: Source, target: str) -> FlashPrediction:
    """Weights at the bits that they take, thresholds, and code."""
    sizes = CODE[target if target in CODE else OF_THE_HOST]
    layers = tuple(
        round(_weights(layer.weight, function.weight_bits) + function.thresholds + sizes[layer.kind])
        for layer, function in zip(source.graph.layers, source.functions, strict=True)
    )
    return FlashPrediction(layers, sum(layers) + sizes[""])


def _weights(weight: object, bits: float) -> float:
    return 0.0 if weight is None else weight.size * bits / 8  # type: ignore[attr-defined]
