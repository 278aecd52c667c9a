"""Layers without multiplications, drop-in for ``nn.Conv2d`` and ``nn.Linear``."""

from saa_lite.nn.adaptive_lr import AdaptiveLR, adaptive_gradient, attach_adaptive_lr
from saa_lite.nn.adder import AdderConv2d, AdderLinear
from saa_lite.nn.attention import AdderScores, DotScores, WeightedValues, adder_scores
from saa_lite.nn.binary import BinaryConv2d, BinaryLinear
from saa_lite.nn.convert import convert
from saa_lite.nn.factory import KINDS, make_conv, make_linear
from saa_lite.nn.shift import ShiftConv2d, ShiftLinear, ShiftPSConv2d, ShiftPSLinear
from saa_lite.nn.weight_norm import normalise_weights

__all__ = [
    "KINDS",
    "AdaptiveLR",
    "AdderConv2d",
    "AdderLinear",
    "AdderScores",
    "BinaryConv2d",
    "BinaryLinear",
    "DotScores",
    "ShiftConv2d",
    "ShiftLinear",
    "ShiftPSConv2d",
    "ShiftPSLinear",
    "WeightedValues",
    "adaptive_gradient",
    "adder_scores",
    "attach_adaptive_lr",
    "convert",
    "make_conv",
    "make_linear",
    "normalise_weights",
]
