"""Segmenters: an encoder whose stride is kept by dilation, with the LR-ASPP head.

**Keep the resolution of an encoder: dilation in place of its last strides.**

A layer whose stride goes computes at every position what it computed at every second one, and all
layers behind it look twice as far apart, so that they see what they saw (DeepLab, Chen et al.,
2017). At the old positions the outputs stay the same numbers.

**Networks that label every pixel: a registered encoder and the light head of MobileNetV3's paper.**

Lite R-ASPP (Howard et al., ICCV 2019): the encoder's last map, dilated to a total stride of 8 or
16, passes a 1×1 layer and a gate that sees the whole image; a classifier of it and one of the
map at twice its resolution are added and scaled up to the image, bilinearly. Our readings:

* every layer of the head has a batch norm behind it, the gate and both classifiers, too, where the
  source has none or a bias. Adder layers need it, and so the operators share one topology; over
  logits it is AdderNet's own;
* classifiers keep multiplication, as in the encoders. :func:`saa_lite.nn.convert` with
  ``keep_last=False`` takes it from them, too;
* the classifier of the coarse map comes before it is scaled up, which gives the same numbers in
  evaluation and reads fewer;
* of an encoder of linear bottlenecks the last 1×1 layer, which only widens for the classifier of
  images, is left out. Then the head reads numbers of both signs.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.data import normalize
from saa_lite.errors import UsageError, check_choice
from saa_lite.models.blocks import ImageClassifier, activation, conv_layer
from saa_lite.models.create import create_model
from saa_lite.models.registry import list_models


class Reach(NamedTuple):
    """What a piece of a trunk gives."""

    channels: int
    stride: int


def dilate(trunk: Sequence[nn.Module], output_stride: int) -> list[Reach]:
    """Change strides to dilation, in place, wherever the total stride would pass the output's.

    Args:
        trunk: pieces that are called one after the other. Each halves its input at most once, and
            holds its layers in the order in which they are called, a shortcut last.

    Returns:
        Channels and total stride behind each piece.

    Raises:
        UsageError: a pooling would have to be dilated, which moves its output by half a pixel.
    """
    reached: list[Reach] = []
    channels, stride, dilation = 0, 1, 1
    for piece in trunk:
        layers = [m for m in piece.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
        factor = max((_stride(layer) for layer in layers), default=1)
        keeps = stride * factor <= output_stride
        stride *= factor if keeps else 1
        before = dilation
        for layer in layers:
            strided = not keeps and _stride(layer) > 1
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
                # The strided layer reads what is not yet apart; a shortcut's has one tap only.
                _look_apart(layer, before if strided else dilation)
            elif strided:
                raise UsageError(
                    f"output_stride={output_stride} would take away the stride of a pooling; "
                    "choose a larger one"
                )
            if strided:
                layer.stride, dilation = (1, 1), before * factor
        reached.append(Reach(channels, stride))
    return reached


def _stride(layer: nn.Conv2d | nn.MaxPool2d) -> int:
    return layer.stride[0] if isinstance(layer.stride, tuple) else layer.stride


def _look_apart(layer: nn.Conv2d, dilation: int) -> None:
    """The padding grows with the window, so that the map keeps its size."""
    layer.dilation = (dilation, dilation)
    layer.padding = tuple(dilation * (kernel // 2) for kernel in layer.kernel_size)


OUTPUT_STRIDES = (8, 16)
HEAD = 64  # 128 in the source, whose encoders are three times as wide


class LiteHead(nn.Module):
    """Two maps of an encoder → logits at the resolution of the finer one.

    Args:
        kind: operator of the two layers that read the coarse map.
        fine, coarse: channels of the two maps.
        width: of the layer between.
    """

    def __init__(self, kind: str, fine: int, coarse: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.project = nn.Sequential(
            OrderedDict(
                conv=conv_layer(kind, coarse, width, 1),
                norm=nn.BatchNorm2d(width),
                act=activation(kind),
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = _with_norm(conv_layer(kind, coarse, width, 1), width)
        self.fine = _with_norm(nn.Conv2d(fine, num_classes, 1, bias=False), num_classes)
        self.coarse = _with_norm(nn.Conv2d(width, num_classes, 1, bias=False), num_classes)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """[B,C,2h,2w] and [B,C',h,w] → [B,classes,2h,2w]."""
        gate = torch.sigmoid(self.gate(self.pool(coarse)))  # [B,width,1,1]
        logits = self.coarse(self.project(coarse) * gate)
        return self.fine(fine) + scaled(logits, fine)


class Segmenter(nn.Module):
    """Images [B,C,H,W] → logits [B,classes,H,W].

    Attributes:
        encoder: a network of the registry without what turns its last map into classes.
        tap: number of the trunk's piece whose output is the head's finer map.
        output_stride: of the last map.
    """

    def __init__(self, encoder: ImageClassifier, head: nn.Module, tap: int, stride: int) -> None:
        super().__init__()
        self.encoder, self.head, self.tap, self.output_stride = encoder, head, tap, stride

    def forward(self, images: Tensor) -> Tensor:
        x = fine = images
        for number, piece in enumerate(self.encoder.trunk()):
            x = piece(x)
            if number == self.tap:
                fine = x
        return scaled(self.head(fine, x), images)


def scaled(maps: Tensor, like: Tensor) -> Tensor:
    """``maps`` at height and width of ``like``, bilinearly."""
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def create_segmenter(
    encoder: str,
    num_classes: int,
    conv: str = "conv",
    *,
    output_stride: int = 8,
    head_width: int = HEAD,
    small_input: bool = False,
    in_channels: int | None = None,
    width: int | None = None,
    weights: str | None = None,
) -> Segmenter:
    """Build a network that labels every pixel of images [B,in_channels,H,W]::

        model = create_segmenter("mobilenet_v2_tiny", 11, conv="adder")
        logits = model(images)  # [B,11,H,W]

    Args:
        encoder: one of :func:`list_encoders`.
        conv: operator of all layers that may lose multiplication, in encoder and head.
        output_stride: 8 or 16, how many pixels apart the encoder's last outputs are, at most:
            some encoders never get that far.
        head_width: channels of the head's only inner layer.
        small_input, in_channels, width, weights: of :func:`saa_lite.models.create_model`, for the
            encoder.

    Raises:
        UsageError: another encoder or operator, or a number outside its range.
    """
    check_choice("encoder", encoder, list_encoders())
    check_choice("output_stride", output_stride, OUTPUT_STRIDES)
    for name, given in (("num_classes", num_classes), ("head_width", head_width)):
        if type(given) is not int or given < 1:
            raise UsageError(f"{name} must be an integer of at least 1; got {given!r}")
    network = create_model(
        encoder, None, conv, small_input=small_input, in_channels=in_channels, width=width,
        weights=weights,
    ).train()  # fmt: skip
    assert isinstance(network, ImageClassifier)
    reached = dilate(network.trunk(), output_stride)
    _strip(network)
    tap = _tap(reached)
    channels = reached[tap].channels, reached[-1].channels
    head = LiteHead(conv, *channels, head_width, num_classes)
    return Segmenter(network, head, tap, reached[-1].stride)


@torch.no_grad()
def label_pixels(
    model: Segmenter, pixels: Tensor, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """The class of every pixel of one image, uint8 [C,H,W] → uint8 [H,W].

    Sides that are no multiple of the output stride are continued by their last pixels, and cropped
    again: otherwise the maps of the encoder would not lie where its pixels are.

    Args:
        model: in evaluation mode.
        mean, std: that it was trained with.
    """
    images = normalize(pixels[None], mean, std)
    height, width = pixels.shape[1:]
    below, right = (-side % model.output_stride for side in (height, width))
    padded = F.pad(images, (0, right, 0, below), mode="replicate")
    return model(padded)[0, :, :height, :width].argmax(0).byte()


def list_encoders() -> list[str]:
    """Names of the registered networks that :func:`create_segmenter` takes, sorted."""
    return [name for name in list_models() if name not in WITHOUT_TRUNK]


WITHOUT_TRUNK = ("deit_mini", "deit_tiny", "lenet5_bn")
"""Tokens are no map, and layers without padding lose the border."""


def _tap(reached: list[Reach]) -> int:
    """The last piece at twice the final resolution."""
    wanted = reached[-1].stride // 2
    return max(number for number, reach in enumerate(reached) if reach.stride == wanted)


def _strip(network: ImageClassifier) -> None:
    """Leave identities where pooling and classifier were."""
    kept = {id(part) for piece in network.trunk() for part in piece.modules()}
    for name, child in list(network.named_children()):
        if not any(id(part) in kept for part in child.modules()):
            setattr(network, name, nn.Identity())


def _with_norm(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(channels)))
