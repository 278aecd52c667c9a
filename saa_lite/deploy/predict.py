"""Flash before anything is linked: tables to the byte, code by what a layer's function does.

RAM is not estimated: it is the liveness of :mod:`saa_lite.costs`, and the arena that is written.
"""

from dataclasses import dataclass

from saa_lite.deploy.functions import Function
from saa_lite.deploy.graph import Layer
from saa_lite.deploy.source import Source

# Bytes of code at -O2 with ziglang 0.17: least squares over the layers and the totals of LeNet-5,
# ResNet-8 and ResNet-20 with adder, shift and binary layers at 4 bits, whose norms have both
# signs, and of a narrow ResNet-8 whose norms have one. "mixed" and "one way" were set by hand
# from those two, "one bit" is the mean of what LeNet-5 and ResNet-8 took beyond the rest at 2
# bits. Of what was not fitted, MobileNetV2-Tiny is met within 3.5 % with adders at 3 to 8 bits
# and within 4.3 % at 2, ResNet-20 at 2 to 8 bits within 2.6 %; LeNet-5 at 2 bits, a program of 18
# to 26 kB, takes up to a tenth more than is said. A function is its kind and its parts: "one bit"
# adders of one-bit weights, whose loop over the 32 of a word the compiler writes out; "term" is
# one digit of a weight that is written out as a statement, "padded" the copy of a window that
# asks whether it is inside, "narrow" and "wide" the divisions of a staircase in 32 and 64 bits,
# "sign" the staircase of one step, "mixed" one whose channels rise and fall, "one way" one whose
# channels do not (the compiler then unrolls more), "pooled" the loops of a max pooling. "" is
# what belongs to no layer.
PARTS = ("", "multiply", "adder", "shift", "binary", "add", "mean", "term", "padded", "narrow",
         "wide", "sign", "mixed", "one way", "pooled", "one bit")  # fmt: skip
CODE = {
    target: dict(zip(PARTS, sizes, strict=True))
    for target, sizes in {
        "rv32i": (
            350, 681, 800, 975, 347, 308, 445, 9.2, 535, 216, 721, -15, 40, 335, 659, 1099,
        ),
        "cortex-m0": (
            507, 679, 539, 717, 361, 406, 378, 4.1, 519, 75, 495, 10, 30, 160, 537, 507,
        ),
        "cortex-m4": (
            382, 774, 548, 862, 316, 509, 415, 3.9, 568, 16, 353, -52, 24, 115, 867, 71,
        ),
        "cortex-m7": (
            604, 889, 662, 984, 420, 593, 477, 4.0, 559, -58, 260, -199, 24, 120, 897, 70,
        ),
    }.items()
}  # fmt: skip
OF_THE_HOST = "cortex-m4"  # nothing is linked there


@dataclass(frozen=True)
class FlashPrediction:
    """Bytes, of each layer and of all."""

    layers: tuple[int, ...]
    total: int


def predict_flash(source: Source, target: str) -> FlashPrediction:
    """Weights and thresholds as they are stored, and an estimate of the code."""
    sizes = CODE[target if target in CODE else OF_THE_HOST]
    layers = tuple(
        function.weights
        + function.thresholds
        + round(sum(sizes[part] * count for part, count in _parts(layer, function).items()))
        for layer, function in zip(source.graph.layers, source.functions, strict=True)
    )
    return FlashPrediction(layers, sum(layers) + round(sizes[""]))


def _parts(layer: Layer, function: Function) -> dict[str, int]:
    """How often a layer's function has what."""
    stairs = [output.stairs for output in layer.outputs]
    divided = [one.width for one in stairs if one.steps > 1]
    mixed = sum(bool(one.down.any() and not one.down.all()) for one in stairs)
    return {
        layer.kind: 1,
        "term": function.terms,
        "padded": layer.padding != (0, 0),
        "narrow": divided.count(32),
        "wide": divided.count(64),
        "sign": len(stairs) - len(divided),
        "mixed": mixed,
        "one way": 0 if layer.weight is None else len(stairs) - mixed,
        "pooled": layer.pool != (1, 1),
        "one bit": layer.kind == "adder" and function.weight_bits == 1,
    }
