"""MobileNetV3-Large at width 0.35, as in NetAug's code.

Differs from MobileNetV2 by squeeze-and-excitation gates in some stages, hard swish instead of
ReLU6 (plain ReLU in the first two stages), widths between the two 1×1 layers that are listed
rather than multiplied, and a head that widens *after* pooling: 1×1 → 336, pool, 1×1 → 1280 with
bias and without norm, classifier. All numbers are make_divisible(w·0.35, 8) of the full network's.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.models.blocks import ImageClassifier, activation
from saa_lite.models.inverted import KEEPS, SMALL, InvertedBlock, multiplicative, pointwise
from saa_lite.models.registry import ModelInfo, register
from saa_lite.nn import make_conv

STEM, HEAD, LAST = 8, 336, 1280
NEEDS_NO_NORM = ("conv", "shift", "shift-ps")


class GatedStage(NamedTuple):
    """Inverted blocks of one output width; stride of the first; squeezed width by middle width."""

    width: int
    stride: int
    mids: tuple[int, ...]
    kernel: int
    relu: type[nn.Module]
    squeezed: dict[int, int]  # empty: no gates


STAGES = (
    GatedStage(8, 2, (24, 24), 3, nn.ReLU, {}),
    GatedStage(16, 2, (24, 40, 40), 5, nn.ReLU, {24: 16, 40: 16}),
    GatedStage(32, 2, (88, 72, 64, 64), 3, nn.Hardswish, {}),
    GatedStage(40, 1, (168, 232), 3, nn.Hardswish, {168: 40, 232: 56}),
    GatedStage(56, 2, (232, 336, 336), 5, nn.Hardswish, {232: 56, 336: 88}),
)


class SqueezeExcite(nn.Module):
    """A factor in [0, 1] per image and channel: [B,C,H,W] → [B,C,H,W].

    Both 1×1 layers have a bias and no norm, and work on one pixel per channel. They stay
    multiplicative with every operator, our reading: the gate multiplies whatever computed it.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.excite(F.relu(self.squeeze(self.pool(x)))))


def gated_blocks(kind: str, c_in: int, stages: tuple[GatedStage, ...]) -> list[InvertedBlock]:
    """The blocks of all stages; a shortcut in every block of a stage but the first."""
    blocks = []
    for stage in stages:
        for i, mid in enumerate(stage.mids):
            gate = SqueezeExcite(mid, stage.squeezed[mid]) if stage.squeezed else None
            shape = (c_in, mid, stage.width, stage.kernel, 1 if i else stage.stride)
            blocks.append(InvertedBlock(kind, *shape, shortcut=i > 0, gate=gate, relu=stage.relu))
            c_in = stage.width
    return blocks


def widening(kind: str) -> nn.Sequential:
    """The 1×1 layer behind the pooling: [B,336,1,1] → [B,1280,1,1].

    It has a bias and no norm in the source. Adder and binary layers need a norm behind them, so
    with these operators a batch norm takes the place of the bias: our reading.
    """
    if kind not in NEEDS_NO_NORM:
        return pointwise(kind, HEAD, LAST, True, nn.Hardswish)
    conv = make_conv(kind, HEAD, LAST, 1)
    return nn.Sequential(OrderedDict(conv=conv, act=activation(kind, nn.Hardswish)))


class MobileNetV3(ImageClassifier):
    """Total stride 32, or 16 with ``small_input`` (only the stem runs at stride 1)."""

    def __init__(self, num_classes: int, kind: str, small_input: bool, in_channels: int) -> None:
        super().__init__()
        stride = 1 if small_input else 2
        self.stem = multiplicative(kind, in_channels, STEM, stride, groups=1, relu=nn.Hardswish)
        first = InvertedBlock(kind, STEM, STEM, STEM, 3, 1, shortcut=True, relu=nn.ReLU)
        self.blocks = nn.Sequential(first, *gated_blocks(kind, STEM, STAGES))
        self.last = pointwise(kind, STAGES[-1].width, HEAD, True, nn.Hardswish)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.widen = widening(kind)
        self.classifier = nn.Linear(LAST, num_classes)

    def trunk(self) -> list[nn.Module]:
        return [self.stem, *self.blocks, self.last]

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → widened features [B,1280]."""
        return self.widen(self.pool(self.last(self.blocks(self.stem(images))))).flatten(1)


@register(
    ModelInfo(
        name="mobilenet_v3_w035",
        source="MobileNetV3-Large (ICCV 2019) at width 0.35, in the form of NetAug's code",
        input_size=160,
        multiplicative=(
            "stem.conv",
            "*.depthwise.conv",
            "*.gate.squeeze",
            "*.gate.excite",
            "classifier",
        ),
        keeps=KEEPS + "; also both layers of each squeeze-and-excitation gate (our reading)",
        small_input=SMALL,
    )
)
def mobilenet_v3_w035(
    num_classes: int, conv: str, small_input: bool, in_channels: int
) -> nn.Module:
    """Build the network; see the module's docstring."""
    return MobileNetV3(num_classes, conv, small_input, in_channels)
