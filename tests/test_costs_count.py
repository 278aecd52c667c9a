"""Counting: against brute force, torch's own counter, and the exact numbers of known networks."""

import time

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from saa_lite.costs import KINDS, count
from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.nn import KINDS as OPERATORS
from saa_lite.nn import make_conv, make_linear
from saa_lite.ops import adder_conv2d_u8, shift_conv2d

NETWORKS = (
    "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1",
    "densenet121", "vit_b_16",
)  # fmt: skip
PER_TAP = {  # multiply, add, shift, xnor
    "conv": (1, 1, 0, 0),
    "adder": (0, 2, 0, 0),
    "shift": (0, 1, 1, 0),
    "shift-ps": (0, 1, 1, 0),
    "binary": (0, 1, 0, 1),
}


class Function(nn.Module):
    """A function of tensors as a network."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def totals(costs) -> tuple[int, ...]:
    return tuple(costs.count(kind) for kind in KINDS)


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_torch_s_counter(name: str) -> None:
    model = getattr(torchvision.models, name)()
    ours = count(model, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").eval()(torch.empty(1, 3, 224, 224, device="meta"))
    assert 2 * ours.taps == counter.get_total_flops()
    assert ours.multiply == ours.add == ours.taps
    assert not ours.unknown
    assert not ours.unused


def taps_by_hand(shape, weight, stride, padding, dilation, groups) -> int:
    """Walk every place of every filter; padded taps count."""
    batch, _, height, width = shape
    filters, channels, *kernel = weight
    places = []
    for size, k in zip((height, width), kernel, strict=True):
        reach = dilation * (k - 1) + 1
        starts = range(-padding, size + padding - reach + 1, stride)
        places.append(len(starts) * k)
    return batch * filters * channels * places[0] * places[1]


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [((3, 3), 1, 1, 1, 1), ((1, 1), 2, 0, 1, 1), ((3, 2), 2, 1, 2, 4), ((3, 3), 2, 1, 1, 8)],
)
def test_layers_by_brute_force(kind, kernel, stride, padding, dilation, groups) -> None:
    shape = (2, 8, 9, 7)
    layer = make_conv(
        kind, 8, 16, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups,
        bias=False,
    )  # fmt: skip
    taps = taps_by_hand(shape, (16, 8 // groups, *kernel), stride, padding, dilation, groups)
    assert totals(count(layer, shape)) == tuple(taps * n for n in PER_TAP[kind])


@pytest.mark.parametrize("kind", OPERATORS)
def test_linear_layers(kind: str) -> None:
    costs = count(make_linear(kind, 10, 7), (4, 5, 10))
    assert totals(costs) == tuple(4 * 5 * 10 * 7 * n for n in PER_TAP[kind])
    assert costs.count("bias") + costs.count("elementwise_add") == 4 * 5 * 7


def test_known_networks() -> None:
    mobilenet = count(create_model("mobilenet_v2_w035", 100), 160)
    assert mobilenet.multiply == 29_722_800
    assert (mobilenet.parameters, mobilenet.parameters_folded) == (524_228, 517_188)
    assert count(create_model("resnet32", 10), 32).multiply == 69_124_736
    assert count(create_model("resnet20", 10), 32).multiply == 40_813_184
    assert count(torchvision.models.resnet18(), 224).multiply == 1_814_073_344


EXACT = {  # name, classes, resolution: products (NetAug's published 23.5, 81.8 and 35.7 M, …)
    ("mobilenet_v2_tiny", 1000, 144): 23.50e6,
    ("mcunet", 1000, 176): 81.79e6,
    ("proxylessnas_w035", 1000, 160): 35.72e6,
    ("resnet18", 1000, 224): 1814.1e6,
    ("resnet50", 1000, 224): 3858.0e6,
    ("resnet50_v15", 1000, 224): 4089.2e6,
    ("deit_tiny", 1000, 224): 1253.7e6,
}


@pytest.mark.parametrize("network", EXACT, ids=lambda network: network[0])
def test_published_products(network: tuple[str, int, int]) -> None:
    name, classes, resolution = network
    costs = count(create_model(name, classes), resolution)
    assert costs.multiply == pytest.approx(EXACT[network], rel=2e-4)


@pytest.mark.parametrize(
    ("kind", "multiply", "add", "shift", "xnor"),
    [
        ("adder", 443_008, 81_183_360, 0, 0),
        ("binary", 443_008, 40_813_184, 0, 40_370_176),
        ("shift", 443_008, 40_813_184, 40_370_176, 0),
    ],
)
def test_counting_rule_of_the_tables(kind, multiply, add, shift, xnor) -> None:
    costs = count(create_model("resnet20", 10, kind), 32)
    assert totals(costs) == (multiply, add, shift, xnor)


def test_everything_else_has_keys_of_its_own() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Hardswish(), nn.MaxPool2d(2)
    )
    costs = count(net, (1, 3, 8, 8))
    assert costs.other == {
        "bias": 256, "batch_norm": 512, "activation": 256, "pooling": 4 * 16 * 4,
    }  # fmt: skip
    assert costs["3"].other == {"pooling": 256}
    gate = count(Function(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))), (1, 4, 5, 5))
    assert gate.other == {"pooling": 100, "activation": 4, "elementwise_multiply": 100}
    assert totals(gate) == (0, 0, 0, 0)


@pytest.mark.parametrize("real", [False, True])
def test_attention_however_it_is_written(real: bool) -> None:
    q = torch.randn(2, 3, 5, 8)
    k = torch.randn(2, 3, 7, 8)
    taps = 2 * (2 * 3) * 5 * 7 * 8
    for attend in (
        F.scaled_dot_product_attention,
        lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(-1) @ v,
        lambda q, k, v: torch.einsum("bhnm,bhmd->bhnd", torch.einsum("bhnd,bhmd->bhnm", q, k), v),
    ):
        assert count(Function(attend), (q, k, k), real=real).multiply == taps


def test_distances_are_products_too() -> None:
    x, y = torch.randn(3, 5, 4), torch.randn(3, 6, 4)
    taps = 3 * 5 * 6 * 4
    adder = count(Function(lambda x, y: torch.cdist(x, y, p=1).softmax(-1) @ y), (x, y))
    assert totals(adder) == (taps, 3 * taps, 0, 0)
    assert totals(count(Function(torch.cdist), (x, y))) == (taps, 2 * taps, 0, 0)
    other = count(Function(lambda x, y: torch.cdist(x, y, p=3)), (x, y))
    assert other.unknown == {"_cdist_forward": ["(network)"]}


def test_integer_operators() -> None:
    image = torch.zeros(1, 4, 6, 6, dtype=torch.uint8)
    weight = torch.zeros(5, 4, 3, 3, dtype=torch.uint8)
    u8 = count(Function(lambda x: adder_conv2d_u8(x, weight)), image, real=True)
    taps = 5 * 16 * 36
    assert totals(u8) == (0, 2 * taps, 0, 0)
    assert {op.number: op.bits for op in u8.operations} == {"integer": 32}
    codes = torch.zeros(1, 4, 6, 6, dtype=torch.int32)
    shift, sign = torch.zeros(2, 5, 4, 3, 3, dtype=torch.int8)
    integer = count(Function(lambda x: shift_conv2d(x, shift, sign)), codes, real=True)
    assert totals(integer) == (0, taps, taps, 0)


def test_widths_follow_the_quantisers() -> None:
    conv, shift, binary = (
        count(make_conv(kind, 4, 4, 3), (1, 4, 5, 5)).layers[0].products[0]
        for kind in ("conv", "shift", "binary")
    )
    assert (conv.input_bits, conv.weight_bits, conv.sum_bits) == (32, 32, 32)
    assert (shift.input_bits, shift.weight_bits, shift.number) == (32, 5, "integer")
    assert (binary.input_bits, binary.weight_bits, binary.sum_bits) == (1, 1, 6)
    half = count(nn.Linear(4, 4).half(), torch.zeros(1, 4, dtype=torch.float16))
    assert {op.bits for op in half.operations} == {16}
    three = make_conv("shift", 4, 4, 3, bits=3, fraction_bits=8)
    product = count(three, (1, 4, 5, 5)).layers[0].products[0]
    assert (product.input_bits, product.weight_bits) == (24, 3)
    for bits in (2, 3, 5):
        powers = make_conv("shift-ps", 4, 4, 3, bits=bits)
        assert count(powers, (1, 4, 5, 5)).layers[0].products[0].weight_bits == bits


def test_what_does_not_depend_on_the_input_costs_nothing() -> None:
    table = nn.Parameter(torch.randn(6, 6))
    net = Function(lambda x: x @ (table @ table).relu())
    assert totals(count(net, (2, 6))) == (72, 72, 0, 0)
    assert "quantisation" not in count(make_linear("shift", 4, 4, fraction_bits=None), (1, 4)).other


class OwnCount(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def count_operations(self, inputs: tuple[Tensor, ...], output: Tensor) -> dict[str, int]:
        return {"add": 2 * output.numel(), "lookup": inputs[0].numel()}


def test_a_module_may_count_itself() -> None:
    costs = count(nn.Sequential(OwnCount(), nn.Linear(4, 2, bias=False)), (3, 4))
    assert totals(costs) == (24, 24 + 24, 0, 0)
    assert costs.other["lookup"] == 12
    assert costs["0"].count("add") == 24
    assert costs.energy("B") is costs["0"].energy("B") is None  # nobody told its widths
    assert costs["1"].energy("B").total > 0


def test_unknown_operators_are_named_with_their_layer() -> None:
    costs = count(nn.Sequential(nn.Linear(4, 4), Function(torch.linalg.matrix_exp)), (4, 4))
    assert costs.unknown == {"linalg_matrix_exp": ["1"]}
    assert costs.multiply == 64


class OutsideTorch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.numpy())


def test_work_outside_torch_is_named_and_what_follows_counts() -> None:
    costs = count(nn.Sequential(OutsideTorch(), nn.Linear(4, 5, bias=False)), (2, 4))
    assert costs.unknown == {"work outside torch": ["0"]}
    assert costs.multiply == 2 * 4 * 5
    lost = count(Function(lambda x: torch.full((2, 4), float(x.sum())) @ torch.ones(4, 3)), (2, 4))
    assert lost.unknown == {"work outside torch": ["(network)"]}


def test_literals_and_kept_tensors_are_no_work_outside_torch() -> None:
    held = torch.ones(4)
    assert not count(Function(lambda x: x + torch.tensor([1.0, 2.0])), (3, 2)).unknown
    assert not count(Function(lambda x: x * held.exp()), (3, 4)).unknown


def test_unused_and_shared_parameters() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.borrowed = nn.Linear(4, 4), nn.Linear(3, 3), nn.Linear(4, 4)
            self.used.bias = self.borrowed.bias

        def forward(self, x: Tensor) -> Tensor:
            return self.used(F.linear(x, self.borrowed.weight))

    half = count(Half(), (1, 4))
    assert half.unused == ("idle",)
    assert half.parameters == 16 + 4 + 12 + 16


def test_inputs_have_the_parameters_type() -> None:
    half = count(nn.Linear(4, 3).half(), (1, 4))
    assert half.multiply == 12
    assert {op.bits for op in half.operations} == {16}


def test_layers_without_sizes_and_pruned_ones() -> None:
    lazy = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(10))
    assert count(lazy, 8).parameters == 4 * 28 + 10 * (4 * 36 + 1)
    pruned = nn.Conv2d(3, 4, 3, bias=False)
    prune.l1_unstructured(pruned, "weight", 0.5)
    assert count(pruned, 8).multiply == count(pruned, 8, real=True).multiply == 36 * 4 * 27


def test_wrong_questions() -> None:
    costs = count(nn.Linear(4, 3), (1, 4))
    assert costs.count("softmax") == 0
    with pytest.raises(UsageError, match=r"kind must be one of 'multiply'.*; got 'products'"):
        costs.count("products")
    with pytest.raises(UsageError, match=r"accounting must be one of 'A', 'B', 'C'; got 'D'"):
        costs.energy("D")
    with pytest.raises(UsageError, match=r"model must be a torch\.nn\.Module.*; got 'resnet20'"):
        count("resnet20", 32)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"cannot run on .*Dimension out of range"):
        count(nn.Flatten(5), (1, 2))


def test_the_network_is_left_as_it_was() -> None:
    net = create_model("resnet20", 10, "adder").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    device = next(net.parameters()).device
    count(net, 32)
    assert net.training
    assert next(net.parameters()).device == device
    assert not any(module._forward_hooks for module in net.modules())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_network_that_needs_numbers_is_run_with_numbers() -> None:
    def look(x: Tensor) -> Tensor:
        return x @ x if float(x.sum()) == 0 else x

    assert count(Function(look), (4, 4)).multiply == 64
    held = torch.randn(4, 3)  # neither parameter nor buffer
    assert count(Function(lambda x: x @ held), (2, 4)).multiply == 24


@pytest.mark.parametrize("given", [(), (0, 3), "224", None, (1, "a"), 3.5])
def test_inputs_that_cannot_be(given: object) -> None:
    with pytest.raises(UsageError, match=r"^input must be"):
        count(nn.Linear(2, 2), given)  # type: ignore[arg-type]


def test_an_input_that_does_not_fit_is_an_error_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"cannot run on \[1, 5\]: .*shapes"):
        count(nn.Linear(4, 2), (1, 5))


def test_other_dimensions_and_transposed_convolutions() -> None:
    assert count(nn.Conv1d(4, 6, 3, bias=False), (2, 4, 10)).multiply == 2 * 6 * 8 * 4 * 3
    volume = nn.Conv3d(2, 4, (1, 2, 3), bias=False)
    assert count(volume, (1, 2, 4, 5, 6)).multiply == 4 * (4 * 4 * 4) * 2 * 6
    wider = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False)
    assert count(wider, (1, 4, 5, 5)).multiply == 25 * 4 * 3 * 9


def test_counting_takes_less_than_a_second() -> None:
    model = torchvision.models.resnet50()
    count(model, 224)
    start = time.thread_time()
    count(model, 224)
    assert time.thread_time() - start < 1
