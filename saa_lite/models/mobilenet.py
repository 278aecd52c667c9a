"""MobileNetV2 at width 0.35, the form of NetAug's code that ShiftAddAug builds on, and its tiny
relative.

Inverted blocks (expansion t, repeats n, stride s) of widths 8, 16, 24, 32, 56 and a head block
→ 112; 1×1 → 1280, or 448 in MobileNetV2-Tiny. The whole is in :mod:`saa_lite.models.inverted`.
"""

from torch import nn

from saa_lite.models.inverted import KEEPS, MULTIPLICATIVE, SMALL, InvertedNet, Stage
from saa_lite.models.registry import ModelInfo, register

# (t, width, n, s): widths are make_divisible(w·0.35, 8).
_ROWS = ((6, 8, 2, 2), (6, 16, 3, 2), (6, 24, 4, 2), (6, 32, 3, 1), (6, 56, 3, 2), (6, 112, 1, 1))
STAGES = tuple(Stage(width, s, (t,) * n, (3,) * n) for t, width, n, s in _ROWS)


@register(
    ModelInfo(
        name="mobilenet_v2_w035",
        source="NetAug's MobileNetV2 at width 0.35, which ShiftAddAug (supplement) trains",
        input_size=160,
        multiplicative=MULTIPLICATIVE,
        keeps=KEEPS,
        small_input=SMALL,
    )
)
def mobilenet_v2_w035(
    num_classes: int, conv: str, small_input: bool, in_channels: int
) -> nn.Module:
    """With 100 classes: 524,228 trainable parameters and 29,722,800 products at 160².

    The published 0.517 M is 517,188, with every batch norm folded into one bias per channel.
    """
    return InvertedNet(STAGES, 1280, num_classes, conv, small_input, in_channels)


@register(
    ModelInfo(
        name="mobilenet_v2_tiny",
        source="NetAug's MobileNetV2-Tiny: the network above with a last layer of 448 channels",
        input_size=144,
        multiplicative=MULTIPLICATIVE,
        keeps=KEEPS,
        small_input=SMALL,
    )
)
def mobilenet_v2_tiny(
    num_classes: int, conv: str, small_input: bool, in_channels: int
) -> nn.Module:
    """Published for 1000 classes at 144²: 0.75 M parameters, 23.5 M products."""
    return InvertedNet(STAGES, 448, num_classes, conv, small_input, in_channels)
