"""VGG-Small for 32² images: 128-128-M-256-256-M-512-512-M, then one linear classifier.

The net behind the VGG rows of AdderNet and AdderNet quantisation (METHODS: first convolution and
classifier multiplicative). Each 3×3 layer is followed by batch norm and ReLU.
"""

from torch import Tensor, nn

from saa_lite.models.blocks import ImageClassifier, activation, conv_norm_act
from saa_lite.models.registry import ModelInfo, register

WIDTHS = (128, 128, 256, 256, 512, 512)


class VGGSmall(ImageClassifier):
    """Images [B,C,H,W] → logits; the classifier reads 512 maps of 4×4, 8192 numbers."""

    def __init__(self, num_classes: int, kind: str, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.act1 = activation(kind)
        # Pooling after the 2nd, 4th and 6th layer.
        self.layers = nn.Sequential(
            *(
                conv_norm_act(kind, WIDTHS[i - 1], WIDTHS[i], 3, pool=i % 2 == 1)
                for i in range(1, len(WIDTHS))
            )
        )
        # The identity at 32²; other sizes are averaged (or repeated) to 4×4.
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Linear(WIDTHS[-1] * 16, num_classes)

    def trunk(self) -> list[nn.Module]:
        return [self.conv1, self.bn1, self.act1, *self.layers]

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → [B,8192]."""
        x = self.act1(self.bn1(self.conv1(images)))  # [B,128,H,W]
        return self.pool(self.layers(x)).flatten(1)


@register(
    ModelInfo(
        name="vgg_small",
        source="VGG-Small of AdderNet quantisation (supplement, Table 1); norm after pooling is "
        "our reading, after BinaryNet",
        input_size=32,
        multiplicative=("conv1", "classifier"),
        keeps="first convolution and classifier",
        small_input="nothing: the network is made for 32² images",
    )
)
def vgg_small(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """4,660,106 parameters for 10 classes with ``conv="conv"``."""
    return VGGSmall(num_classes, conv, in_channels)
