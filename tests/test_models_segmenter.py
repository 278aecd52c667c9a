"""Segmenters: dilation that changes no number, costs by hand, adders that read negative numbers."""

import copy

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentConfig, augment, export, plain_network
from saa_lite.costs import count
from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError
from saa_lite.models import calm_start, create_model, create_segmenter, list_encoders
from saa_lite.models.resnet import BasicBlock, CifarResNet
from saa_lite.models.resnet_imagenet import ImageNetResNet, bottleneck_v1, bottleneck_v15
from saa_lite.models.segmenter import LiteHead, Segmenter, dilate
from saa_lite.nn import AdderConv2d, convert

KINDS = ("conv", "shift", "adder")
TINY = "mobilenet_v2_tiny"
BLOCKS = {"basic": (BasicBlock, 1), "v1": (bottleneck_v1, 4), "v1.5": (bottleneck_v15, 4)}


def lively(net: nn.Module) -> nn.Module:
    """Statistics and scales of their own in every norm, so that none is an identity."""
    generator = torch.Generator().manual_seed(1)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.bias.data):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
            for tensor in (norm.running_var, norm.weight.data):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return net.eval()


def small(kind: str = "conv", seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return create_segmenter("resnet8", 4, kind, width=4, head_width=6)


def pictures(size: int = 16, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
@pytest.mark.parametrize("name", [TINY, "mcunet", "mobilenet_v3_w035", *BLOCKS])
def test_a_dilated_trunk_computes_the_old_numbers_at_the_old_places(name):
    torch.manual_seed(0)
    if name in BLOCKS:
        net = lively(ImageNetResNet(*BLOCKS[name], (1, 2, 1, 1), 2, "conv", False, 3))
    else:
        net = lively(create_model(name))
    dilated = copy.deepcopy(net)
    reached = dilate(dilated.trunk(), 8)
    assert reached[-1].stride == 8
    x = y = pictures(64, 1)
    for old, new in zip(net.trunk(), dilated.trunk(), strict=True):
        x, y = old(x), new(y)
        assert x.shape[1] == y.shape[1]
    assert reached[-1].channels == x.shape[1]
    assert y.shape[2:] == (8, 8)
    assert x.shape[2:] == (2, 2)
    torch.testing.assert_close(y[:, :, ::4, ::4], x, rtol=1e-4, atol=1e-4)
    assert y.std() > 1e-3  # it does not compare noughts


@torch.no_grad()
@pytest.mark.parametrize("name", list_encoders())
def test_every_encoder_labels_every_pixel(name):
    size = (33, 40)
    with torch.device("meta"):
        model = create_segmenter(name, 5, output_stride=16, in_channels=1).eval()
    assert model(torch.empty(1, 1, *size, device="meta")).shape == (1, 5, *size)
    assert model.output_stride == min(16, {"resnet8": 4, "resnet20": 4, "resnet32": 4}.get(
        name, 8 if name in ("vgg_small", "lenet_pp") else 16
    ))  # fmt: skip


def test_what_is_no_segmenter():
    cases = [
        (("deit_tiny", 4), {}, "encoder must be one of"),
        ((TINY, 0), {}, "num_classes must be an integer of at least 1; got 0"),
        ((TINY, 4, "dense"), {}, "conv must be one of"),
        ((TINY, 4), {"output_stride": 4}, "output_stride must be one of"),
        ((TINY, 4), {"head_width": 1.5}, "head_width must be an integer"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(UsageError, match=message):
            create_segmenter(*arguments, **options)
    with pytest.raises(UsageError, match="stride of a pooling"):
        dilate(create_model("vgg_small").trunk(), 4)


@torch.no_grad()
def test_the_head_by_hand():
    """Lite R-ASPP written out once more, with norms as one factor and one summand."""
    head = lively(LiteHead("conv", 3, 5, 4, 2))
    fine, coarse = torch.randn(2, 3, 8, 6), torch.randn(2, 5, 4, 3)

    def layer(part, x):
        norm, (weight,) = part.norm, part.conv.parameters()
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        y = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x)
        return (y - norm.running_mean[:, None, None]) * factor[:, None, None] + norm.bias[
            :, None, None
        ]

    gate = torch.sigmoid(layer(head.gate, coarse.mean((2, 3), keepdim=True)))
    inner = layer(head.project, coarse).clamp(min=0) * gate
    up = nn.Upsample(size=(8, 6), mode="bilinear")
    expected = layer(head.fine, fine) + layer(head.coarse, up(inner))  # the source's order
    torch.testing.assert_close(head(fine, coarse), expected)


@torch.no_grad()
def test_adders_behind_linear_bottlenecks_read_negative_numbers():
    torch.manual_seed(0)
    net = create_segmenter("mobilenet_v2_tiny", 4, "adder", small_input=True)
    calm_start(net)
    lively(net)
    read = {}
    for name in ("head.project.conv", "head.gate.conv"):
        layer = net.get_submodule(name)
        assert isinstance(layer, AdderConv2d)
        layer.register_forward_hook(lambda m, i, o, name=name: read.update({name: (i[0], o)}))
    net(pictures(32))
    for name, (x, y) in read.items():
        assert (x < 0).double().mean() > 0.2
        weight = net.get_submodule(name).weight.double()[None]  # [1,C',C,1,1]
        expected = -(x.double()[:, None] - weight).abs().sum(2)
        torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-3)


def test_every_convolution_of_the_head_converts():
    net = create_segmenter(TINY, 4, "conv", small_input=True)
    found = convert(net, "adder", keep_last=False)
    kinds = {name: type(part) for name, part in found.head.named_modules() if name.endswith("conv")}
    assert set(kinds) == {"project.conv", "gate.conv", "fine.conv", "coarse.conv"}
    assert set(kinds.values()) == {AdderConv2d}


def test_costs_are_those_of_the_layers():
    """Products of the head by hand, at 32 × 32 and output stride 8."""
    net = create_segmenter(TINY, 11, small_input=True, head_width=20)
    layers = {layer.name: layer for layer in count(net, 32).layers}
    products = {
        name: sum(product.taps for product in layers[f"head.{name}.conv"].products)
        for name in ("project", "gate", "fine", "coarse")
    }
    assert products == {
        "project": 4 * 4 * 112 * 20,
        "gate": 112 * 20,
        "fine": 8 * 8 * 16 * 11,
        "coarse": 4 * 4 * 20 * 11,
    }
    assert not any(layer.unknown for layer in layers.values())


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_export_is_the_target_inside(kind):
    wide = augment(small(kind), AugmentConfig(width=(1.0, 1.5), expand=(1.0, 2.0)))
    images = pictures()
    generator = torch.Generator().manual_seed(0)
    wide.train()
    for _ in range(2):
        wide(images)
        with wide.configured(wide.draw(generator)):
            assert wide(images).shape == (2, 4, 16, 16)
    lively(wide)
    alone = export(wide)
    assert isinstance(alone, Segmenter)
    assert isinstance(alone.encoder, CifarResNet)
    assert torch.equal(alone(images), wide(images))
    fresh = small(kind, seed=1)
    fresh.load_state_dict(alone.state_dict())
    assert torch.equal(fresh.eval()(images), wide(images))
    with wide.configured(wide.largest):
        assert not torch.allclose(wide(images), alone(images))


@torch.no_grad()
def test_inverted_blocks_are_augmented_up_to_the_head():
    torch.manual_seed(0)
    net = create_segmenter(TINY, 4, "conv", small_input=True)
    wide = lively(augment(net, AugmentConfig(width=(1.0, 1.5), expand=(1.0, 1.5))))
    images = pictures(32, 1)
    torch.testing.assert_close(export(wide)(images), wide(images), rtol=0, atol=0)
    largest = plain_network(wide, wide.largest)
    assert largest.head.project.conv.in_channels == 168
    assert largest.head.fine.conv.in_channels == 24
    with wide.configured(wide.largest):
        torch.testing.assert_close(largest(images), wide(images))


def test_other_encoders_are_not_augmented():
    with pytest.raises(UsageError, match=r"must have resnet8.* as encoder; got VGGSmall"):
        augment(create_segmenter("vgg_small", 4))


def test_a_segmenter_learns():
    """Two halves of a picture, in fifteen steps; pixels without a label are left alone."""
    model = small().train()
    images = torch.zeros(4, 3, 16, 16)
    images[:, :, :, 8:] = 1
    masks = (images[:, 0] > 0).long()
    masks[:, :2] = VOID
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), masks, ignore_index=VOID)
        loss.backward()
        optimizer.step()
    assert loss < 0.3
