"""Pieces that all networks share: a layer of the chosen operator, and layer → norm → activation."""

from collections import OrderedDict

from torch import Tensor, nn

from saa_lite.nn import KINDS, make_conv, make_linear

CONV_KINDS = (*KINDS, "shiftadd")


def conv_layer(
    kind: str, c_in: int, c_out: int, kernel: int, *, stride: int = 1, padding: int | None = None
) -> nn.Module:
    """One bias-free convolution of operator ``kind``; ``padding`` defaults to ``kernel // 2``.

    ``"shiftadd"`` is ShiftAddNet's pair (official code, ``resnet20_shiftadd.py``): a DeepShift-PS
    convolution c_in → c_out, then an adder convolution c_out → c_out of the same kernel and stride
    1, with no normalisation or activation between. The adder half keeps the map's size also after
    an unpadded shift half: our reading, as the official networks only hold padded ones.
    """
    padding = kernel // 2 if padding is None else padding
    if kind != "shiftadd":
        return make_conv(kind, c_in, c_out, kernel, stride=stride, padding=padding, bias=False)
    shift = make_conv("shift-ps", c_in, c_out, kernel, stride=stride, padding=padding, bias=False)
    adder = make_conv("adder", c_out, c_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(shift=shift, adder=adder))


def linear_layer(kind: str, n_in: int, n_out: int) -> nn.Module:
    """One bias-free linear map of operator ``kind``; ``"shiftadd"`` as in :func:`conv_layer`."""
    if kind != "shiftadd":
        return make_linear(kind, n_in, n_out, bias=False)
    shift = make_linear("shift-ps", n_in, n_out, bias=False)
    return nn.Sequential(
        OrderedDict(shift=shift, adder=make_linear("adder", n_out, n_out, bias=False))
    )


def activation(kind: str, relu: type[nn.Module] = nn.ReLU) -> nn.Module:
    """The activation before a layer of ``kind``: Hardtanh for binary layers, ``relu`` otherwise.

    A binary layer takes the sign of its input. After ReLU every sign is +1 and nothing passes;
    BinaryNet's order is batch norm → Hardtanh → binary layer (official code).
    """
    return nn.Hardtanh() if kind == "binary" else relu()


def conv_norm_act(
    kind: str, c_in: int, c_out: int, kernel: int, *, padding: int | None = None, pool: bool = False
) -> nn.Sequential:
    """Layer, 2×2 max pooling if asked, batch norm, activation: [B,c_in,H,W] → [B,c_out,H',W'].

    Pooling stands before the norm as in BinaryNet. For γ > 0 it commutes with batch norm and
    activation, and the sign of an already pooled Hardtanh would nearly always be +1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=conv_layer(kind, c_in, c_out, kernel, padding=padding)
    )
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    layers["norm"] = nn.BatchNorm2d(c_out)
    layers["act"] = activation(kind)
    return nn.Sequential(layers)


class ImageClassifier(nn.Module):
    """A network whose ``forward`` is ``classifier(forward_features(images))``."""

    classifier: nn.Module

    def trunk(self) -> list[nn.Module]:
        """What is called one after the other up to the last map of features, [B,C,h,w]."""
        raise NotImplementedError

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → what the classifier reads, [B,F]."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,C,H,W] → logits [B,classes]."""
        return self.classifier(self.forward_features(images))
