"""MobileNetV2 at width 0.35, the form of NetAug's code that ShiftAddAug builds on.

Stem 3×3 stride 2 → 16; a depthwise block 16 → 8; inverted blocks (expansion t, repeats n, stride
s) of widths 8, 16, 24, 32, 56; a head block → 112; 1×1 → 1280; average pooling; linear classifier.
ReLU6 after every layer except the projections (linear bottlenecks). With 100 classes: 524,228
trainable parameters (517,188 with every batch norm folded into one bias per channel) and, at 160²,
29,722,800 multiply-accumulates.
"""

from collections import OrderedDict

from torch import Tensor, nn

from saa_lite.models.blocks import ImageClassifier, activation, conv_layer
from saa_lite.models.registry import ModelInfo, register

# (expansion, width, blocks, stride of the first): widths are make_divisible(w·0.35, 8).
STAGES = ((6, 8, 2, 2), (6, 16, 3, 2), (6, 24, 4, 2), (6, 32, 3, 1), (6, 56, 3, 2), (6, 112, 1, 1))
STEM, FIRST, LAST = 16, 8, 1280


def pointwise(kind: str, c_in: int, c_out: int, act: bool) -> nn.Sequential:
    """1×1 layer of operator ``kind``, norm, ReLU6 if ``act``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=conv_layer(kind, c_in, c_out, 1), norm=nn.BatchNorm2d(c_out)
    )
    if act:
        layers["act"] = activation(kind, nn.ReLU6)
    return nn.Sequential(layers)


def multiplicative(kind: str, c_in: int, c_out: int, stride: int, groups: int) -> nn.Sequential:
    """3×3 convolution that keeps multiplication (stem, depthwise), norm, ReLU6."""
    conv = nn.Conv2d(c_in, c_out, 3, stride, 1, groups=groups, bias=False)
    norm, act = nn.BatchNorm2d(c_out), activation(kind, nn.ReLU6)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm, act=act))


class InvertedBlock(nn.Module):
    """Expand (1×1), depthwise (3×3), project (1×1, linear): [B,c_in,H,W] → [B,c_out,H/s,W/s]."""

    def __init__(self, kind: str, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        mid = c_in * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = pointwise(kind, c_in, mid, act=True)
        self.depthwise = multiplicative(kind, mid, mid, stride, groups=mid)
        self.project = pointwise(kind, mid, c_out, act=False)
        self.has_shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


class MobileNetV2(ImageClassifier):
    """Total stride 32, or 16 with ``small_input`` (only the stem runs at stride 1)."""

    def __init__(self, num_classes: int, kind: str, small_input: bool, in_channels: int) -> None:
        super().__init__()
        self.stem = multiplicative(kind, in_channels, STEM, 1 if small_input else 2, groups=1)
        blocks, width = [InvertedBlock(kind, STEM, FIRST, expansion=1, stride=1)], FIRST
        for expansion, c_out, count, stride in STAGES:
            for i in range(count):
                blocks.append(InvertedBlock(kind, width, c_out, expansion, 1 if i else stride))
                width = c_out
        self.blocks = nn.Sequential(*blocks)
        self.last = pointwise(kind, width, LAST, act=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(LAST, num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → pooled features [B,1280]."""
        return self.pool(self.last(self.blocks(self.stem(images)))).flatten(1)


@register(
    ModelInfo(
        name="mobilenet_v2_w035",
        source="NetAug's MobileNetV2 at width 0.35, which ShiftAddAug (supplement) trains",
        input_size=160,
        multiplicative=("stem.conv", "*.depthwise.conv", "classifier"),
        keeps="stem, depthwise convolutions and classifier: ShiftAddAug's supplement keeps the "
        "depthwise ones; it leaves stem and classifier open, and we keep them as AdderNet does",
        small_input="total stride 16 instead of 32 for 32² images: only the stem at stride 1",
    )
)
def mobilenet_v2_w035(
    num_classes: int, conv: str, small_input: bool, in_channels: int
) -> nn.Module:
    """Build the network; see the module's docstring."""
    return MobileNetV2(num_classes, conv, small_input, in_channels)
