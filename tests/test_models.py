"""Every registered network with every operator: shapes, gradients, sizes, round trips, symmetry."""

import math
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
import torch
from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.models import CONV_KINDS, create_model, describe, list_models
from saa_lite.nn import attach_adaptive_lr
from saa_lite.train import load_checkpoint, reestimate_batch_norm, save_checkpoint

NAMES = ("lenet5_bn", "lenet_pp", "mobilenet_v2_w035", "resnet20", "resnet32", "vgg_small")
KINDS = ("conv", "adder", "shift", "shift-ps", "binary", "shiftadd")
GREY = ("lenet5_bn", "lenet_pp")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Fixed seed, and no waiting for cores that other tests use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def build(name: str, kind: str = "conv", num_classes: int = 10) -> nn.Module:
    return create_model(
        name, num_classes, conv=kind, small_input=True, in_channels=1 if name in GREY else 3
    )


def images_for(name: str, count: int = 2) -> Tensor:
    return torch.randn(count, 1 if name in GREY else 3, 32, 32)


def test_registry_names() -> None:
    assert tuple(list_models()) == NAMES
    assert set(CONV_KINDS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_trains_and_survives_a_round_trip(name: str, kind: str, tmp_path) -> None:
    """Finite logits, a gradient for every parameter, and equal bits after save and load."""
    model = build(name, kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    attach_adaptive_lr(optimizer, model)
    # MobileNetV2 ends in 2×2 maps: the variance of few of them is a poor one to re-estimate with.
    images = images_for(name, count=16 if name == "mobilenet_v2_w035" else 3)
    logits = model(images)
    assert logits.shape == (len(images), 10)
    assert logits.isfinite().all()
    (logits * torch.randn_like(logits)).sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"no gradient for {parameter_name}"
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), f"nothing but zeros for {parameter_name}"
    optimizer.step()

    reestimate_batch_norm(model, [images])  # one step's running averages centre no adder sum
    save_checkpoint(tmp_path, model)
    twin = build(name, kind)
    load_checkpoint(tmp_path, twin)
    with torch.no_grad():
        expected, actual = model.eval()(images), twin.eval()(images)
    assert torch.equal(actual, expected)
    assert not torch.equal(actual[0], actual[1])  # the images do make a difference


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        # Sums of c_in·c_out·k² + 2 per normalised channel + classifier, by hand.
        ("resnet20", 10, 272_484),
        ("resnet32", 10, 466_916),
        ("vgg_small", 10, 4_660_106),
        ("lenet5_bn", 10, 61_942),
        ("lenet_pp", 10, 799_416),
        # 517,188 (published: .517M) + 7,040 norm weights, which folding removes.
        ("mobilenet_v2_w035", 100, 517_188 + 7_040),
    ],
)
def test_parameter_counts(name: str, classes: int, parameters: int) -> None:
    for kind in ("conv", "adder", "shift", "binary"):
        assert count_parameters(build(name, kind, classes)) == parameters


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "size", "millions"),
    [
        ("resnet20", 10, 32, 40.813),
        ("resnet32", 10, 32, 69.125),
        ("vgg_small", 10, 32, 607.6),
        ("mobilenet_v2_w035", 100, 160, 29.7228),
    ],
)
def test_multiply_accumulates(name: str, classes: int, size: int, millions: float) -> None:
    """Against the counts derived from the papers' tables, to the digits printed there."""
    model = create_model(name, classes).eval()
    assert count_macs(model, torch.zeros(1, 3, size, size)) / 1e6 == pytest.approx(
        millions, rel=1e-4
    )


def count_macs(model: nn.Module, images: Tensor) -> int:
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(add)
    with torch.no_grad():
        model(images)
    return total


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "conv"])
@pytest.mark.parametrize("name", NAMES)
def test_multiplication_stays_where_the_model_says(name: str, kind: str) -> None:
    patterns = describe(name).multiplicative
    kept = {n for n, m in build(name, kind).named_modules() if type(m) in {nn.Conv2d, nn.Linear}}
    if (name, kind) == ("lenet_pp", "binary"):  # the exception that its description names
        assert kept == {"classifier"}
        return
    assert all(any(fnmatch(n, pattern) for pattern in patterns) for n in kept)
    assert all(any(fnmatch(n, pattern) for n in kept) for pattern in patterns)


def test_small_input_only_changes_the_stem_of_mobilenet() -> None:
    sizes = []
    for small in (False, True):
        model = create_model("mobilenet_v2_w035", small_input=small).eval()
        model.pool.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-1]))
        with torch.no_grad():
            model(torch.zeros(1, 3, 64, 64))
    assert sizes == [64 // 32, 64 // 16]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mobilenet_v2_w035"])
def test_small_input_changes_nothing_elsewhere(name: str) -> None:
    models = []
    for small in (False, True):
        torch.manual_seed(3)
        models.append(create_model(name, small_input=small))
    assert describe(name).small_input.startswith("nothing")
    assert repr(models[0]) == repr(models[1])


def test_feature_widths() -> None:
    """What the feature figures read: 2 units in LeNet++, pooled maps elsewhere."""
    widths = {"lenet5_bn": 84, "lenet_pp": 2, "resnet20": 64, "vgg_small": 8192}
    for name, width in widths.items():
        with torch.no_grad():
            assert build(name).eval().forward_features(images_for(name)).shape == (2, width)


def test_shiftadd_is_a_pair_without_norm_between() -> None:
    """Shift changes the width and the stride; adder keeps both (ShiftAddNet, official code)."""
    block = build("resnet20", "shiftadd").stage2[0]
    shift, adder = block.conv1
    assert [type(m).__name__ for m in (shift, adder)] == ["ShiftPSConv2d", "AdderConv2d"]
    assert (shift.in_channels, shift.out_channels, shift.stride) == (16, 32, (2, 2))
    assert (adder.in_channels, adder.out_channels, adder.stride) == (32, 32, (1, 1))
    assert (shift.bits, adder.kernel_size, adder.padding) == (5, (3, 3), (1, 1))
    assert [type(m).__name__ for m in block.shortcut[0]] == ["ShiftPSConv2d", "AdderConv2d"]


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_channels_may_be_permuted(kind: str) -> None:
    """Reordering a block's middle channels, producers and consumers together, changes nothing."""
    block = build("resnet20", kind).stage2[0].eval()
    x = torch.randn(2, 16, 8, 8)
    # Uncentred adder sums would leave ReLU at 0 and the test with nothing to see.
    reestimate_batch_norm(block, [x])
    with torch.no_grad():
        before = block(x)
        order = torch.randperm(32)
        assert not torch.equal(order, torch.arange(32))
        producer = block.conv1[-1] if kind == "shiftadd" else block.conv1
        consumer = block.conv2[0] if kind == "shiftadd" else block.conv2
        for parameter in producer.parameters():
            parameter.copy_(parameter[order])
        for tensor in (*block.bn1.parameters(), *block.bn1.buffers()):
            if tensor.ndim:
                tensor.copy_(tensor[order])
        moved = block(x)
        for parameter in consumer.parameters():
            parameter.copy_(parameter[:, order])
        after = block(x)
    scale = before.abs().max()
    assert scale > 0.1
    assert (after - before).abs().max() < 1e-4 * scale
    assert (moved - before).abs().max() > 1e-2 * scale  # half a permutation is noticed


def test_binary_networks_see_negative_activations() -> None:
    """ReLU before a sign would make every input +1: the binary nets use Hardtanh."""
    for name in NAMES:
        kinds = {type(module) for module in build(name, "binary").modules()}
        assert not kinds & {nn.ReLU, nn.ReLU6}


def test_lenet_of_adders_starts_with_an_unsaturated_softmax() -> None:
    """Why its logits are normalised: raw adder sums all sit near −√(2/π)·84·√2."""
    model = build("lenet5_bn", "adder")
    with torch.no_grad():
        probabilities = model(images_for("lenet5_bn", 64)).softmax(1)
    entropy = -(probabilities * probabilities.log()).sum(1).mean()
    assert 0.6 * math.log(10) < entropy < math.log(10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet21"}, "model must be one of .*'resnet20'.*got 'resnet21'"),
        ({"name": "resnet20", "conv": "add"}, "conv must be one of .*'shiftadd'.*got 'add'"),
        ({"name": "resnet20", "num_classes": 0}, "num_classes must be an integer of at least 1"),
        ({"name": "resnet20", "num_classes": 2.5}, "num_classes must be an integer"),
        ({"name": "resnet20", "in_channels": -1}, "in_channels must be an integer of at least 1"),
    ],
)
def test_wrong_names_and_counts(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create_model(**arguments)


def test_unknown_description() -> None:
    with pytest.raises(UsageError, match="model must be one of"):
        describe("alexnet")


def test_lenet5_says_which_images_it_needs() -> None:
    with pytest.raises(UsageError, match="at least 32×32; got 28×28"):
        create_model("lenet5_bn", in_channels=1)(torch.zeros(2, 1, 28, 28))
