"""LeNet-5-BN, whose kernels and distributions AdderNet shows, and LeNet++ with its 2-D bottleneck.

AdderNet (CVPR 2020) replaces *all* of these nets' layers, "fully connected" ones included, as one
may regard them as convolutions. So no layer here keeps multiplication, unlike in the ResNets: the
first-layer adder filters in the paper's figure need an adder stem.
"""

from torch import Tensor, fx, nn

from saa_lite.errors import UsageError
from saa_lite.models.blocks import ImageClassifier, activation, conv_norm_act, linear_layer
from saa_lite.models.registry import ModelInfo, register

_ALL = "no layer: stem, fully connected layers and classifier are of the chosen operator"
_SMALL = "nothing: the network is made for 32² images"


class LeNet5BN(ImageClassifier):
    """Unpadded 5×5 layers of 6, 16 and 120 filters, two linear layers (84, classes), all with norm.

    The norm over the logits is our reading, after the official ResNet: without it the logits of
    an adder classifier are all about −√(2/π)·84·√2 and the softmax starts saturated.
    """

    def __init__(self, num_classes: int, kind: str, in_channels: int) -> None:
        super().__init__()
        self.layer1 = conv_norm_act(kind, in_channels, 6, 5, padding=0, pool=True)
        self.layer2 = conv_norm_act(kind, 6, 16, 5, padding=0, pool=True)
        self.layer3 = conv_norm_act(kind, 16, 120, 5, padding=0)
        self.pool = nn.AdaptiveAvgPool2d(1)  # the identity at 32²
        self.fc = linear_layer(kind, 120, 84)
        self.bn = nn.BatchNorm1d(84)
        self.act = activation(kind)
        self.classifier = nn.Sequential(
            linear_layer(kind, 84, num_classes), nn.BatchNorm1d(num_classes)
        )

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] with H, W ≥ 32 → [B,84]."""
        _check_size(images)
        x = self.layer2(self.layer1(images))  # [B,16,5,5] at 32²
        x = self.pool(self.layer3(x)).flatten(1)  # [B,120]
        return self.act(self.bn(self.fc(x)))


@fx.wrap  # its condition is not for torch.fx to trace
def _check_size(images: Tensor) -> None:
    height, width = images.shape[-2:]
    if min(height, width) < 32:
        raise UsageError(f"lenet5_bn needs images of at least 32×32; got {height}×{width}")


class LeNetPP(ImageClassifier):
    """LeNet++ (Wen et al., ECCV 2016): six 5×5 layers, then **two** units, then the classifier.

    ``forward_features`` gives the 2-D bottleneck that the feature clouds show. It is normalised
    but not rectified, so that all four quadrants are used. The classifier has no norm: an adder
    classifier's logits are −‖f − w_c‖₁ of two terms, distances to class centres, which is what
    makes clouds instead of rays. A *binary* classifier would see the signs of two numbers, four
    cases for ten classes, so it stays multiplicative.
    """

    def __init__(self, num_classes: int, kind: str, in_channels: int) -> None:
        super().__init__()
        widths = (in_channels, 32, 32, 64, 64, 128, 128)
        self.layers = nn.Sequential(
            *(
                conv_norm_act(kind, widths[i - 1], widths[i], 5, pool=i % 2 == 0)
                for i in range(1, len(widths))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(4)  # the identity at 32²
        self.fc = linear_layer(kind, 128 * 16, 2)
        self.bn = nn.BatchNorm1d(2)
        self.classifier = linear_layer("conv" if kind == "binary" else kind, 2, num_classes)

    def trunk(self) -> list[nn.Module]:
        return [*self.layers]

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → the bottleneck [B,2]."""
        x = self.pool(self.layers(images)).flatten(1)  # [B,2048]
        return self.bn(self.fc(x))


@register(
    ModelInfo(
        name="lenet5_bn",
        source="AdderNet (CVPR 2020), experiments on MNIST; logits norm and max pooling are our "
        "reading",
        input_size=32,
        multiplicative=(),
        keeps=_ALL,
        small_input=_SMALL,
    )
)
def lenet5_bn(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """61,942 parameters for 10 classes of grey images with ``conv="conv"``."""
    return LeNet5BN(num_classes, conv, in_channels)


@register(
    ModelInfo(
        name="lenet_pp",
        source="AdderNet (CVPR 2020), feature visualisation after Wen et al. (ECCV 2016); norm "
        "on the bottleneck is our reading",
        input_size=32,
        multiplicative=(),
        keeps=_ALL + " (except a binary net's classifier)",
        small_input=_SMALL,
    )
)
def lenet_pp(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """799,416 parameters for 10 classes of grey images with ``conv="conv"``."""
    return LeNetPP(num_classes, conv, in_channels)
