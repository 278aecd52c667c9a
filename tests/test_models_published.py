"""Sizes of the registered networks against published numbers, and their forms for 32² images."""

import pytest
import torch
from model_samples import (
    FOR_32,
    IMAGENET,
    NAMES,
    TINY,
    build,
    count_parameters,
    count_products,
)

from saa_lite.models import create_model, describe


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        # Sums of c_in·c_out·k² + 2 per normalised channel + classifier, by hand.
        ("resnet8", 10, 78_052),
        ("resnet20", 10, 272_484),
        ("resnet32", 10, 466_916),
        ("vgg_small", 10, 4_660_106),
        ("lenet5_bn", 10, 61_942),
        ("lenet_pp", 10, 799_416),
        # 517,188 (published: .517M) + 7,040 norm weights, which folding removes.
        ("mobilenet_v2_w035", 100, 517_188 + 7_040),
    ],
)
def test_parameters_by_hand(name: str, classes: int, parameters: int) -> None:
    for kind in ("conv", "adder", "shift", "binary"):
        assert count_parameters(build(name, kind, classes)) == parameters


@pytest.mark.parametrize(
    ("name", "millions", "digits"),
    [
        # NetAug's README, with 1000 classes.
        ("mobilenet_v2_tiny", 0.75, 2),
        ("mcunet", 0.74, 2),
        ("proxylessnas_w035", 1.8, 1),
        # torchvision's, without the bias of the classifier and with the norm over the logits.
        ("resnet18", 11.689512 + 0.001, 6),
        ("resnet50", 25.557032 + 0.001, 6),
        ("resnet50_v15", 25.557032 + 0.001, 6),
        ("deit_tiny", 5.717416, 6),
    ],
)
def test_published_parameters(name: str, millions: float, digits: int) -> None:
    with torch.device("meta"):
        model = create_model(name, 1000)
    assert round(count_parameters(model) / 1e6, digits) == pytest.approx(millions, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "classes", "size", "millions", "digits"),
    [
        # Counted from NetAug's definitions; its README prints 23.5, 81.8 and 35.7.
        ("mobilenet_v2_tiny", 1000, 144, 23.50, 2),
        ("mcunet", 1000, 176, 81.79, 2),
        ("proxylessnas_w035", 1000, 160, 35.72, 2),
        ("mobilenet_v2_w035", 100, 160, 29.7228, 4),
        # First layer, three stages and classifier: 0.442368 + 4.718592 + 2 · 3.670016 + 0.00064.
        ("resnet8", 10, 32, 12.501632, 6),
        # AdderNet quantisation, Tables 1 and 2: 69.12M, 1.8G, 3.9G; exact by the same rule.
        ("resnet20", 10, 32, 40.813, 3),
        ("resnet32", 10, 32, 69.125, 3),
        ("vgg_small", 10, 32, 607.6, 1),
        ("resnet18", 1000, 224, 1814.0, 0),
        ("resnet50", 1000, 224, 3858.0, 0),
        ("resnet50_v15", 1000, 224, 4089.0, 0),
        # Patches 28.9, qkv 261.4, q·k 89.4, weights·v 89.4, projection 87.1, perceptron 697.2.
        ("deit_tiny", 1000, 224, 1253.7, 1),
        # With the gates' 104,200 factors per image this is 19.6M.
        ("mobilenet_v3_w035", 1000, 160, 19.495688, 6),
    ],
)
def test_products(name: str, classes: int, size: int, millions: float, digits: int) -> None:
    """Multiply-accumulates, or whatever an operator does instead, of one image, to all digits."""
    assert size == describe(name).input_size
    for kind in ("conv", "adder"):
        with torch.device("meta"):
            model = create_model(name, classes, kind).eval()
            products = count_products(model, torch.empty(1, 3, size, size))
        assert round(products / 1e6, digits) == millions, kind


@pytest.mark.parametrize(
    ("name", "shortcuts"),
    [
        # In all blocks of a stage but the first, which fits in ProxylessNAS's fourth stage too.
        ("mobilenet_v2_tiny", [1, 2, 3, 2, 2]),
        ("proxylessnas_w035", [1, 3, 3, 3, 3]),
        ("mcunet", [3, 2, 2, 2, 2]),
        ("mobilenet_v3_w035", [1, 1, 2, 3, 1, 2]),  # and around the depthwise block
    ],
)
def test_shortcuts(name: str, shortcuts: list[int]) -> None:
    """Neither products nor parameters show them."""
    with torch.device("meta"):
        blocks = create_model(name).blocks
    runs = "".join("s" if block.has_shortcut else " " for block in blocks).split()
    assert [len(run) for run in runs] == shortcuts


def test_every_network_has_its_products_checked() -> None:
    marks = [*test_products.pytestmark]
    checked = {row[0] for mark in marks if mark.name == "parametrize" for row in mark.args[1]}
    uncounted = {"lenet5_bn", "lenet_pp", "deit_mini"}  # no source counts the LeNets; mini is ours
    assert checked | uncounted == set(NAMES)


@pytest.mark.parametrize(
    ("name", "strides"),
    [(name, (32, 16)) for name in TINY] + [(name, (32, 8)) for name in IMAGENET],
)
def test_small_input_only_changes_the_stem(name: str, strides: tuple[int, int]) -> None:
    sizes, weights = [], []
    for small in (False, True):
        with torch.device("meta"):
            model = create_model(name, small_input=small).eval()
            model.pool.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape))
            model(torch.empty(1, 3, 64, 64))
        weights.append([(n, p.shape) for n, p in model.named_parameters() if n != "conv1.weight"])
    assert [size[-1] for size in sizes] == [64 // stride for stride in strides]
    assert f"stride {strides[1]} instead of {strides[0]}" in describe(name).small_input
    assert weights[0] == weights[1]


def test_small_input_of_the_transformer() -> None:
    with torch.device("meta"):
        tokens = [
            create_model("deit_tiny", small_input=small).positions.shape[1]
            for small in (False, True)
        ]
    assert tokens == [1 + 14**2, 1 + 8**2]


@pytest.mark.parametrize("name", FOR_32)
def test_small_input_changes_nothing_elsewhere(name: str) -> None:
    models = []
    for small in (False, True):
        torch.manual_seed(3)
        models.append(create_model(name, small_input=small))
    assert describe(name).small_input.startswith("nothing")
    assert repr(models[0]) == repr(models[1])


@pytest.mark.parametrize("name", [*TINY, *IMAGENET])
def test_published_form_runs_at_other_sizes(name: str) -> None:
    """The forms for large images are fully convolutional; 64² is enough to see them work."""
    with torch.no_grad():
        logits = create_model(name, 7).eval()(torch.randn(1, 3, 64, 64))
    assert logits.shape == (1, 7)
    assert logits.isfinite().all()
