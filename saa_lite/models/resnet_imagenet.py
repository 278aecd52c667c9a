"""ResNet-18 and ResNet-50 for 224² images, in AdderNet's form.

Stem 7×7 stride 2 and max pooling; four stages of basic or bottleneck blocks; where size or width
changes, the shortcut is the operator's own 1×1 layer with batch norm (option B); average pooling;
a multiplicative 1×1 convolution and **batch norm over the logits**, as in AdderNet's official
``resnet50.py``. The bias that this file has before that norm is left out here: the norm takes it
away again. As in :mod:`saa_lite.models.resnet`, ``conv="conv"`` has the same topology.

ResNet-50 comes in two forms. v1 (He et al., CVPR 2016) halves the size in the first 1×1 layer of a
block; it has the 3.9 G products that the tables of AdderNet quantisation count. v1.5, which the
official code and torchvision build, halves it in the 3×3 layer and has 4.1 G.
"""

from collections.abc import Callable

from torch import Tensor, nn

from saa_lite.models.blocks import ImageClassifier, activation, conv_layer
from saa_lite.models.registry import ModelInfo, register
from saa_lite.models.resnet import BasicBlock, LogitsNorm

# (kind, c_in, width, stride) → block whose output has ``expansion``·width channels
BlockOf = Callable[[str, int, int, int], nn.Module]


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 layer around a shortcut: [B,c_in,H,W] → [B,4·width,H/stride,W/stride].

    Args:
        stride_first: halve the size in the first layer (v1) instead of the second (v1.5).
    """

    def __init__(
        self, kind: str, c_in: int, width: int, stride: int, *, stride_first: bool
    ) -> None:
        super().__init__()
        c_out = 4 * width
        strides = (stride, 1) if stride_first else (1, stride)
        self.conv1 = conv_layer(kind, c_in, width, 1, stride=strides[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = activation(kind)
        self.conv2 = conv_layer(kind, width, width, 3, stride=strides[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = activation(kind)
        self.conv3 = conv_layer(kind, width, c_out, 1)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                conv_layer(kind, c_in, c_out, 1, stride=stride), nn.BatchNorm2d(c_out)
            )
        self.act3 = activation(kind)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.act2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.act3(out + self.shortcut(x))


def bottleneck_v1(kind: str, c_in: int, width: int, stride: int) -> nn.Module:
    """The block of the paper."""
    return Bottleneck(kind, c_in, width, stride, stride_first=True)


def bottleneck_v15(kind: str, c_in: int, width: int, stride: int) -> nn.Module:
    """The block of torchvision and of AdderNet's code."""
    return Bottleneck(kind, c_in, width, stride, stride_first=False)


class ImageNetResNet(ImageClassifier):
    """Total stride 32, or 8 with ``small_input``.

    Args:
        block: builds one block.
        expansion: output channels of a block divided by its width.
        counts: blocks in each stage.
    """

    def __init__(
        self,
        block: BlockOf,
        expansion: int,
        counts: tuple[int, ...],
        num_classes: int,
        kind: str,
        small_input: bool,
        in_channels: int,
    ) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small_input else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, 64, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act = activation(kind)
        self.maxpool = nn.Identity() if small_input else nn.MaxPool2d(3, 2, 1)
        blocks, c_in = [], 64
        for position, count in enumerate(counts):
            width = 64 << position
            for i in range(count):
                blocks.append(block(kind, c_in, width, 2 if position and not i else 1))
                c_in = expansion * width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = LogitsNorm(c_in, num_classes)

    def trunk(self) -> list[nn.Module]:
        return [self.conv1, self.bn1, self.act, self.maxpool, *self.blocks]

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → pooled features [B,F]: 512 for ResNet-18, 2048 for ResNet-50."""
        x = self.maxpool(self.act(self.bn1(self.conv1(images))))
        return self.pool(self.blocks(x)).flatten(1)


def _info(name: str, source: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        source=source + "; logits norm after AdderNet's official resnet50.py",
        input_size=224,
        multiplicative=("conv1", "classifier.conv"),
        keeps="stem and classifier, as in AdderNet's official code",
        small_input="total stride 8 instead of 32 for 32² images: stem 3×3 at stride 1, no max "
        "pooling",
    )


@register(_info("resnet18", "ResNet (CVPR 2016), 18 layers"))
def resnet18(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """Two basic blocks a stage; 1,814,073,344 products at 224² with 1000 classes."""
    return ImageNetResNet(BasicBlock, 1, (2, 2, 2, 2), num_classes, conv, small_input, in_channels)


@register(_info("resnet50", "ResNet (CVPR 2016), 50 layers, v1: stride in the first 1×1 layer"))
def resnet50(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """3, 4, 6 and 3 bottlenecks; 3,857,973,248 products at 224² with 1000 classes."""
    return ImageNetResNet(
        bottleneck_v1, 4, (3, 4, 6, 3), num_classes, conv, small_input, in_channels
    )


@register(_info("resnet50_v15", "ResNet-50 as torchvision and AdderNet's code build it (v1.5)"))
def resnet50_v15(num_classes: int, conv: str, small_input: bool, in_channels: int) -> nn.Module:
    """3, 4, 6 and 3 bottlenecks, stride in the 3×3 layer; 4,089,184,256 products at 224²."""
    return ImageNetResNet(
        bottleneck_v15, 4, (3, 4, 6, 3), num_classes, conv, small_input, in_channels
    )
