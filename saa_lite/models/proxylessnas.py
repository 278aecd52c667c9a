"""ProxylessNAS-Mobile at width 0.35, as in NetAug's code: kernels of 3, 5 and 7, expansions 3 to 6.

Widths are make_divisible(w·0.35, 8) of 32, 40, 80, 96, 192 and 320; then 1×1 → 1280. The whole is
in :mod:`saa_lite.models.inverted`.
"""

from torch import nn

from saa_lite.models.inverted import KEEPS, MULTIPLICATIVE, SMALL, InvertedNet, Stage
from saa_lite.models.registry import ModelInfo, register

STAGES = (
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
    return InvertedNet(STAGES, 1280, num_classes, conv, small_input, in_channels)
