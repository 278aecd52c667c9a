"""Inverted bottlenecks, and the chain of them that NetAug's tiny networks share.

Stem 3×3 stride 2 → 16; a depthwise block 16 → 8; stages of inverted blocks; where the table says
so, a last 1×1 layer; average pooling; linear classifier. ReLU6 after every layer except the
projections (linear bottlenecks). Topology after NetAug's official code (``netaug/models/base``).
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.models.blocks import ImageClassifier, activation, conv_layer

STEM, FIRST = 16, 8  # make_divisible(32·0.35, 8) and (16·0.35, 8); MCUNet has the same

MULTIPLICATIVE = ("stem.conv", "*.depthwise.conv", "classifier")
KEEPS = (
    "stem, depthwise convolutions and classifier: ShiftAddAug's supplement keeps the depthwise "
    "ones; it leaves stem and classifier open, and we keep them as AdderNet does"
)
SMALL = "total stride 16 instead of 32 for 32² images: only the stem at stride 1"


class Stage(NamedTuple):
    """Inverted blocks of one output width; the stride is that of the first.

    ``kinds`` are the blocks' own operators, where they are not all that of the network.
    """

    width: int
    stride: int
    expansions: tuple[int, ...]
    kernels: tuple[int, ...]
    kinds: tuple[str, ...] = ()


def pointwise(
    kind: str, c_in: int, c_out: int, act: bool, relu: type[nn.Module] = nn.ReLU6
) -> nn.Sequential:
    """1×1 layer of operator ``kind``, norm, ``relu`` if ``act``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=conv_layer(kind, c_in, c_out, 1), norm=nn.BatchNorm2d(c_out)
    )
    if act:
        layers["act"] = activation(kind, relu)
    return nn.Sequential(layers)


def multiplicative(
    kind: str,
    c_in: int,
    c_out: int,
    stride: int,
    groups: int,
    kernel: int = 3,
    relu: type[nn.Module] = nn.ReLU6,
) -> nn.Sequential:
    """k×k convolution that keeps multiplication (stem, depthwise), norm, ``relu``."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm, act = nn.BatchNorm2d(c_out), activation(kind, relu)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm, act=act))


class InvertedBlock(nn.Module):
    """Expand (1×1), depthwise (k×k), gate, project (1×1, linear).

    [B,c_in,H,W] → [B,c_out,H/s,W/s]. There is no expansion when ``mid`` equals ``c_in``.

    Args:
        mid: channels between the two 1×1 layers.
        shortcut: add the input to the output; its shape must allow that.
        gate: what stands between depthwise layer and projection, nothing if not given.
        relu: activation after expansion and depthwise layer.
    """

    def __init__(
        self,
        kind: str,
        c_in: int,
        mid: int,
        c_out: int,
        kernel: int,
        stride: int,
        *,
        shortcut: bool,
        gate: nn.Module | None = None,
        relu: type[nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        self.expand: nn.Module = nn.Identity()
        if mid != c_in:
            self.expand = pointwise(kind, c_in, mid, True, relu)
        self.depthwise = multiplicative(kind, mid, mid, stride, mid, kernel, relu)
        self.gate = gate if gate is not None else nn.Identity()
        self.project = pointwise(kind, mid, c_out, act=False)
        self.has_shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + out if self.has_shortcut else out


def rectify_bottlenecks(net: nn.Module) -> None:
    """Put a ReLU before every 1×1 layer that reads a linear bottleneck, in place.

    Those are the expansions and the last layer. The projections end without activation, so what
    these layers read has both signs and grows from block to block, whereas adder layers of the
    official networks always stand behind a ReLU. Shortcuts carry what they carried: only the branch
    is rectified. Parameters and their names stay.

    Raises:
        UsageError: ``net`` has no inverted block with an expansion.
    """
    blocks = [part for part in net.modules() if isinstance(part, InvertedBlock)]
    readers = [*((block, "expand") for block in blocks), (net, "last")]
    places = [(owner, name) for owner, name in readers if _has_layer(owner, name)]
    if not places:
        raise UsageError(
            "rectify_bottlenecks() is for networks of inverted blocks with expansions; got "
            f"{type(net).__name__}"
        )
    for owner, name in places:
        layers = dict(getattr(owner, name).named_children())
        rectified = nn.Sequential(OrderedDict(rectify=nn.ReLU(), **layers))
        setattr(owner, name, rectified.train(net.training))


def _has_layer(owner: nn.Module, name: str) -> bool:
    """Whether there is a 1×1 layer in this place, and not an identity or nothing."""
    return isinstance(getattr(owner, name, None), nn.Sequential)


class BlockShape(NamedTuple):
    """What an :class:`InvertedBlock` of this chain is built from."""

    kind: str
    c_in: int
    mid: int
    c_out: int
    kernel: int
    stride: int
    shortcut: bool

    def build(self) -> InvertedBlock:
        """The block, untrained."""
        return InvertedBlock(*self[:-1], shortcut=self.shortcut)


def block_shapes(kind: str, c_in: int, stages: tuple[Stage, ...]) -> list[BlockShape]:
    """The blocks of all stages; a shortcut in every block of a stage but the first.

    The first one has none even where its shape would allow it (ProxylessNAS's fourth stage).
    """
    shapes = []
    for stage in stages:
        kinds = stage.kinds or (kind,) * len(stage.kernels)
        rows = zip(kinds, stage.expansions, stage.kernels, strict=True)
        for i, (own, expansion, kernel) in enumerate(rows):
            stride = 1 if i else stage.stride
            shape = BlockShape(own, c_in, expansion * c_in, stage.width, kernel, stride, i > 0)
            shapes.append(shape)
            c_in = stage.width
    return shapes


def first_shape(kind: str, stem: int, first: int) -> BlockShape:
    """The depthwise block behind the stem: it has no expansion."""
    return BlockShape(kind, stem, stem, first, 3, 1, False)


class InvertedNet(ImageClassifier):
    """Total stride 32, or 16 with ``small_input`` (only the stem runs at stride 1).

    Args:
        last: width of the 1×1 layer before pooling; None where there is none.
        stem, first: widths of the stem and of the depthwise block behind it.
        first_kind: operator of that block, where it is not ``kind``.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        last: int | None,
        num_classes: int,
        kind: str,
        small_input: bool,
        in_channels: int,
        *,
        stem: int = STEM,
        first: int = FIRST,
        first_kind: str = "",
    ) -> None:
        super().__init__()
        self.stem = multiplicative(kind, in_channels, stem, 1 if small_input else 2, groups=1)
        shapes = [first_shape(first_kind or kind, stem, first), *block_shapes(kind, first, stages)]
        self.blocks = nn.Sequential(*(shape.build() for shape in shapes))
        features = stages[-1].width
        self.last: nn.Module = nn.Identity()
        if last is not None:
            self.last = pointwise(kind, features, last, act=True)
            features = last
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(features, num_classes)

    def trunk(self) -> list[nn.Module]:
        return [self.stem, *self.blocks]  # the last 1×1 layer widens for the classifier alone

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → pooled features [B,F]."""
        return self.pool(self.last(self.blocks(self.stem(images)))).flatten(1)
