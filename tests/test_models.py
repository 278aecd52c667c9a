"""Every registered network with every operator: shapes, gradients, sizes, round trips, symmetry."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from model_samples import KINDS, NAMES, build, count_parameters, images_for, sampled, variants
from safetensors.torch import load, save
from torch import nn

from saa_lite.errors import UsageError
from saa_lite.models import CONV_KINDS, create_model, describe, list_models
from saa_lite.nn import attach_adaptive_lr
from saa_lite.train import load_checkpoint, reestimate_batch_norm, save_checkpoint


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Fixed seed, and no waiting for cores that other tests use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def test_registry_names() -> None:
    assert tuple(list_models()) == NAMES
    assert set(CONV_KINDS) == set(KINDS)


@contextmanager
def keeping_only_the_last_statistics(model: nn.Module) -> Iterator[None]:
    """Running statistics become those of the batch: a tenth of the way centres no adder sum."""
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.momentum = 1.0
    yield
    for norm in norms:
        norm.momentum = 0.1


def reloaded(model: nn.Module, name: str, kind: str, folder: Path) -> nn.Module:
    """A copy by way of a checkpoint; in memory where that would be 100 MB and more."""
    if count_parameters(model) < 10**7:
        save_checkpoint(folder, model)
        twin = build(name, kind)
        load_checkpoint(folder, twin)
    else:
        with torch.device("meta"):
            twin = build(name, kind)
        twin.load_state_dict(load(save(model.state_dict())), assign=True)
    return twin


@pytest.mark.parametrize(("name", "kind"), sampled())
def test_trains_and_survives_a_round_trip(name: str, kind: str, tmp_path: Path) -> None:
    """Finite logits, a gradient for every parameter, and equal bits after save and load."""
    model = build(name, kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    attach_adaptive_lr(optimizer, model)
    images = images_for(name)
    with keeping_only_the_last_statistics(model):
        logits = model(images)
    assert logits.shape == (len(images), 10)
    assert logits.isfinite().all()
    (logits * torch.randn_like(logits)).sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"no gradient for {parameter_name}"
        assert 0 < parameter.grad.norm() < math.inf, parameter_name

    twin = reloaded(model, name, kind, tmp_path)
    with torch.no_grad():
        expected, actual = model.eval()(images), twin.eval()(images)
    assert torch.equal(actual, expected)
    assert (actual != actual[0]).any()  # the images do make a difference
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "kind"), [pair for pair in variants() if pair[1] != "conv"])
def test_multiplication_stays_where_the_model_says(name: str, kind: str) -> None:
    patterns = describe(name).multiplicative
    with torch.device("meta"):
        layers = build(name, kind).named_modules()
    kept = {n for n, m in layers if type(m) in {nn.Conv2d, nn.Linear}}
    if (name, kind) == ("lenet_pp", "binary"):  # the exception that its description names
        assert kept == {"classifier"}
        return
    assert all(any(fnmatch(n, pattern) for pattern in patterns) for n in kept)
    assert all(any(fnmatch(n, pattern) for n in kept) for pattern in patterns)


@pytest.mark.parametrize("width", [1, 4, 16])
def test_the_small_resnets_have_stages_of_once_twice_and_four_times_their_width(width: int) -> None:
    """Weights by hand: stem, per stage two 3×3 layers a block and a shortcut, norms, classifier."""
    for blocks, name in ((1, "resnet8"), (3, "resnet20")):
        count, before = 27 * width + 2 * width, width
        for channels in (width, 2 * width, 4 * width):
            for block in range(blocks):
                inputs = channels if block else before
                count += 9 * inputs * channels + 9 * channels**2 + 4 * channels
                count += (inputs + 2) * channels if inputs != channels else 0
            before = channels
        model = create_model(name, 10, width=width)
        assert count_parameters(model) == count + 40 * width + 20
        with torch.no_grad():
            assert model.forward_features(torch.randn(2, 3, 8, 8)).shape == (2, 4 * width)
    assert describe("resnet8").width == 16
    assert describe("mcunet").width is None


def test_feature_widths() -> None:
    """What the feature figures read: 2 units in LeNet++, pooled maps elsewhere."""
    widths = {"lenet5_bn": 84, "lenet_pp": 2, "resnet20": 64, "vgg_small": 8192, "deit_tiny": 192}
    for name, width in widths.items():
        with torch.no_grad():
            assert build(name).eval().forward_features(images_for(name, 2)).shape == (2, width)


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
        if "binary" not in describe(name).variants:
            continue
        with torch.device("meta"):
            kinds = {type(module) for module in build(name, "binary").modules()}
        assert not kinds & {nn.ReLU, nn.ReLU6, nn.Hardswish}, name


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
        ({"name": "resnet8", "width": 0}, "width must be an integer of at least 1; got 0"),
        ({"name": "resnet8", "width": 8.0}, "width must be an integer of at least 1; got 8"),
        ({"name": "resnet8", "width": True}, "width must be an integer of at least 1; got True"),
        (
            {"name": "mcunet", "width": 16},
            "width can be chosen for resnet20, resnet32, resnet8; mcunet has one; got width=16",
        ),
        (
            {"name": "deit_tiny", "conv": "binary"},
            "conv must be one of 'conv', 'adder', 'shift', 'shift-ps' for deit_tiny: no source has "
            "a transformer of signs or of ShiftAddNet's pairs; got 'binary'",
        ),
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
