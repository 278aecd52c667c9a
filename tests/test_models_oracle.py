"""Networks and blocks against torchvision's, with the same weights."""

from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig

from saa_lite.models import create_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def copy_in_order(target: nn.Module, source: nn.Module, left_out: tuple[str, ...] = ()) -> None:
    """Give ``target`` the tensors of ``source``; both list their layers in the same order."""
    names = [name for name in target.state_dict() if not name.startswith(left_out)]
    values = [v for n, v in source.state_dict().items() if not n.startswith(left_out)]
    assert [target.state_dict()[name].shape for name in names] == [v.shape for v in values]
    target.load_state_dict(dict(zip(names, values, strict=True)), strict=False)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.std() > 1e-3  # there is something to compare
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_mobilenet_v2() -> None:
    """torchvision's width 0.35 is the same network; batch norm in training mode on both sides."""
    theirs = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=10)
    ours = create_model("mobilenet_v2_w035")
    copy_in_order(ours, theirs)
    images = torch.randn(4, 3, 96, 96)
    assert_same(ours.last(ours.blocks(ours.stem(images))), theirs.features(images))
    assert_same(ours.eval()(images), theirs.eval()(images))


# (position in our network, c_in, kernel, middle width, c_out, gate, activation, stride)
V3_BLOCKS = [
    (2, 8, 3, 24, 8, False, "RE", 1),
    (4, 16, 5, 40, 16, True, "RE", 1),
    (6, 16, 3, 88, 32, False, "HS", 2),
    (10, 32, 3, 168, 40, True, "HS", 1),
    (12, 40, 5, 232, 56, True, "HS", 2),
    (14, 56, 5, 336, 56, True, "HS", 1),
]


@pytest.mark.parametrize("row", V3_BLOCKS)
def test_mobilenet_v3_blocks(row: tuple) -> None:
    """One block of each sort. The whole differs from torchvision's in narrow gates and the head."""
    position, c_in, kernel, mid, c_out, gate, act, stride = row
    config = InvertedResidualConfig(c_in, kernel, mid, c_out, gate, act, stride, 1, 1.0)
    theirs = InvertedResidual(config, nn.BatchNorm2d)
    ours = create_model("mobilenet_v3_w035").blocks[position]
    copy_in_order(ours, theirs)
    x = torch.randn(4, c_in, 14, 14)
    assert_same(ours(x), theirs(x))


def test_mobilenet_v3_stem_and_head() -> None:
    """Hard swish around, ReLU in the first block."""
    theirs = torchvision.models.mobilenet_v3_large(width_mult=0.35).features
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-5  # NetAug's; torchvision has 1e-3
    ours = create_model("mobilenet_v3_w035")
    stem = nn.Sequential(ours.stem, ours.blocks[0])
    copy_in_order(stem, theirs[:2])
    copy_in_order(ours.last, theirs[-1])
    images, last = torch.randn(4, 3, 32, 32), torch.randn(4, 56, 3, 3)
    assert_same(stem(images), theirs[:2](images))
    assert_same(ours.last(last), theirs[-1](last))
    assert [type(layer) for layer in ours.widen] == [nn.Conv2d, nn.Hardswish]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_v15"])
def test_resnet(name: str) -> None:
    """torchvision's ResNet-50 is v1.5; moving its strides to the first layers makes it v1."""
    theirs = getattr(torchvision.models, name.removesuffix("_v15"))(num_classes=10)
    if name == "resnet50":
        for block in theirs.modules():
            if isinstance(block, torchvision.models.resnet.Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    ours = create_model(name)
    copy_in_order(ours, theirs, left_out=("fc.", "classifier."))
    images = torch.randn(4, 3, 64, 64)
    theirs.fc = nn.Identity()
    assert_same(ours.forward_features(images), theirs(images))
    assert_same(ours.eval().forward_features(images), theirs.eval()(images))


def test_deit() -> None:
    """DeiT's network is the vision transformer; torchvision has no tiny one, but its parts."""
    sizes = {"num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
    theirs = torchvision.models.VisionTransformer(32, 4, num_classes=10, **sizes).eval()
    nn.init.normal_(theirs.heads.head.weight)  # it starts at 0
    ours = create_model("deit_tiny", small_input=True).eval()
    copy_in_order(ours.patches, theirs.conv_proj)
    copy_in_order(ours.blocks, theirs.encoder.layers)
    copy_in_order(ours.norm, theirs.encoder.ln)
    copy_in_order(ours.classifier, theirs.heads)
    with torch.no_grad():
        theirs.class_token.normal_()
        ours.class_token.copy_(theirs.class_token)
        ours.positions.copy_(theirs.encoder.pos_embedding)
        images = torch.randn(2, 3, 32, 32)
        assert_same(ours(images), theirs(images))
