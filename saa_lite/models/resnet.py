"""ResNet-20 and ResNet-32 for 32² images, as in AdderNet's official ``resnet20.py``.

Stem 3×3 convolution; stages of 16, 32 and 64 channels (``width`` narrows or widens all of them)
with 3 (or 5) basic blocks each; where the
size changes, the shortcut is the operator's own 1×1 layer with stride 2 and batch norm (option B);
average pooling; a 1×1 convolution without bias and **batch norm over the logits**. The
multiplicative network (``conv="conv"``) has the same topology, logits norm included, so that only
the operator differs.
"""

from torch import Tensor, nn

from saa_lite.models.blocks import ImageClassifier, activation, conv_layer
from saa_lite.models.registry import ModelInfo, register

WIDTH = 16  # channels of stem and first stage in the official code


class BasicBlock(nn.Module):
    """[B,c_in,H,W] → [B,c_out,H/stride,W/stride]: two 3×3 layers around a shortcut."""

    def __init__(self, kind: str, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_layer(kind, c_in, c_out, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.act1 = activation(kind)
        self.conv2 = conv_layer(kind, c_out, c_out, 3)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                conv_layer(kind, c_in, c_out, 1, stride=stride), nn.BatchNorm2d(c_out)
            )
        self.act2 = activation(kind)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.act2(out + self.shortcut(x))


class CifarResNet(ImageClassifier):
    """6·``blocks`` + 2 layers deep (shortcuts not counted); stages of w, 2w and 4w channels."""

    def __init__(
        self, blocks: int, num_classes: int, kind: str, in_channels: int, width: int = WIDTH
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act = activation(kind)
        self.stage1 = stage(kind, width, width, blocks, stride=1)
        self.stage2 = stage(kind, width, 2 * width, blocks, stride=2)
        self.stage3 = stage(kind, 2 * width, 4 * width, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = LogitsNorm(4 * width, num_classes)

    def trunk(self) -> list[nn.Module]:
        return [self.conv1, self.bn1, self.act, *self.stage1, *self.stage2, *self.stage3]

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → pooled features [B,4w]."""
        x = self.act(self.bn1(self.conv1(images)))  # [B,w,H,W]
        x = self.stage3(self.stage2(self.stage1(x)))  # [B,4w,H/4,W/4]
        return self.pool(x).flatten(1)


class LogitsNorm(nn.Module):
    """Multiplicative 1×1 convolution without bias, then batch norm (official code)."""

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, num_classes, 1, bias=False)
        self.bn = nn.BatchNorm2d(num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """[B,features] → [B,classes]."""
        return self.bn(self.conv(features[:, :, None, None])).flatten(1)


def stage(kind: str, c_in: int, c_out: int, blocks: int, stride: int) -> nn.Sequential:
    """``blocks`` basic blocks, of which the first changes size and width."""
    first = BasicBlock(kind, c_in, c_out, stride)
    return nn.Sequential(first, *(BasicBlock(kind, c_out, c_out, 1) for _ in range(blocks - 1)))


def _info(name: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        source="AdderNet (CVPR 2020), official resnet20.py; twins with 1 and with 5 blocks a stage",
        input_size=32,
        multiplicative=("conv1", "classifier.conv"),
        keeps="stem and classifier, as in the official code (ShiftAddNet's own also shifts these)",
        small_input="nothing: the network is made for 32² images",
        width=WIDTH,
    )


@register(_info("resnet8"))
def resnet8(
    num_classes: int, conv: str, small_input: bool, in_channels: int, width: int
) -> nn.Module:
    """One block a stage; 78,052 parameters for 10 classes with ``conv="conv"``."""
    return CifarResNet(1, num_classes, conv, in_channels, width)


@register(_info("resnet20"))
def resnet20(
    num_classes: int, conv: str, small_input: bool, in_channels: int, width: int
) -> nn.Module:
    """Three blocks a stage; 272,484 parameters for 10 classes with ``conv="conv"``."""
    return CifarResNet(3, num_classes, conv, in_channels, width)


@register(_info("resnet32"))
def resnet32(
    num_classes: int, conv: str, small_input: bool, in_channels: int, width: int
) -> nn.Module:
    """Five blocks a stage; 466,916 parameters for 10 classes with ``conv="conv"``."""
    return CifarResNet(5, num_classes, conv, in_channels, width)
