"""Networks of inverted residual blocks.

**MobileNetV2 at width 0.35, in the form of NetAug's code, and its tiny relative.**

Inverted blocks (expansion t, repeats n, stride s) of widths 8, 16, 24, 32, 56 and a head block
→ 112; 1×1 → 1280, or 448 in MobileNetV2-Tiny. The whole is in :mod:`saa_lite.models.inverted`.

**ProxylessNAS-Mobile at width 0.35: kernels of 3, 5 and 7, expansions 3 to 6.**

Widths are make_divisible(w·0.35, 8) of 32, 40, 80, 96, 192 and 320; then 1×1 → 1280. The whole is
in :mod:`saa_lite.models.inverted`.

**MCUNet for 320 kB of memory and 1 MB of storage, as in NetAug's code (its ``mcunet``).**

No 1×1 layer stands before the pooling: the classifier reads 160 numbers. The whole is in
:mod:`saa_lite.models.inverted`.
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


PROXYLESS_STAGES = (
    Stage(16, 2, expansions=(3, 3), kernels=(5, 3)),
    Stage(16, 2, expansions=(3, 3, 3, 3), kernels=(7, 3, 5, 5)),
    Stage(32, 2, expansions=(6, 3, 3, 3), kernels=(7, 5, 5, 5)),
    Stage(32, 1, expansions=(6, 3, 3, 3), kernels=(5, 5, 5, 5)),
    Stage(64, 2, expansions=(6, 6, 3, 3), kernels=(7, 7, 7, 7)),
    Stage(112, 1, expansions=(6,), kernels=(7,)),
)


@register(
    ModelInfo(
        name="proxylessnas_w035",
        source="ProxylessNAS (ICLR 2019) at width 0.35, in the form of NetAug's code",
        input_size=160,
        multiplicative=MULTIPLICATIVE,
        keeps=KEEPS,
        small_input=SMALL,
    )
)
def proxylessnas_w035(
    num_classes: int, conv: str, small_input: bool, in_channels: int
) -> nn.Module:
    """Published for 1000 classes at 160²: 1.8 M parameters, 35.7 M products."""
    return InvertedNet(PROXYLESS_STAGES, 1280, num_classes, conv, small_input, in_channels)


MCUNET_STAGES = (
    Stage(16, 2, expansions=(3, 5, 5, 4), kernels=(7, 3, 7, 5)),
    Stage(24, 2, expansions=(5, 5, 5), kernels=(5, 5, 5)),
    Stage(40, 2, expansions=(5, 6, 4), kernels=(3, 7, 5)),
    Stage(48, 1, expansions=(5, 5, 5), kernels=(5, 7, 3)),
    Stage(96, 2, expansions=(6, 5, 4), kernels=(3, 7, 3)),
    Stage(160, 1, expansions=(5,), kernels=(7,)),
)


@register(
    ModelInfo(
        name="mcunet",
        source="MCUNet (NeurIPS 2020), the 320 kB network, in the form of NetAug's code",
        input_size=176,
        multiplicative=MULTIPLICATIVE,
        keeps=KEEPS,
        small_input=SMALL,
    )
)
def mcunet(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """Published for 1000 classes at 176²: 0.74 M parameters, 81.8 M products."""
    return InvertedNet(MCUNET_STAGES, None, num_classes, conv, small_input, in_channels)
