"""MCUNet for 320 kB of memory and 1 MB of storage, as in NetAug's code (its ``mcunet``).

No 1×1 layer stands before the pooling: the classifier reads 160 numbers. The whole is in
:mod:`saa_lite.models.inverted`.
"""

from torch import nn

from saa_lite.models.inverted import KEEPS, MULTIPLICATIVE, SMALL, InvertedNet, Stage
from saa_lite.models.registry import ModelInfo, register

STAGES = (
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
    return InvertedNet(STAGES, None, num_classes, conv, small_input, in_channels)
