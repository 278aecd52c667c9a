"""convert(): which layers, which weights, what survives, and what it says."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import prune

from saa_lite.errors import UsageError
from saa_lite.nn import (
    KINDS,
    AdderConv2d,
    AdderLinear,
    ShiftConv2d,
    ShiftLinear,
    adaptive_lr,
    convert,
    make_conv,
    make_linear,
)
from saa_lite.nn.convert import KIND_OF
from saa_lite.quantize import quantize

ALL = {"keep_first": False, "keep_last": False, "keep_depthwise": False}


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


def small(kind: str = "conv") -> nn.Sequential:
    """Two normalised convolutions, a depthwise one between them, a classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        make_conv(kind, 3, 4, 3, stride=2, bias=False),
        nn.BatchNorm2d(4),
        make_conv(kind, 4, 4, 3, groups=4, padding="same", padding_mode="reflect"),
        nn.BatchNorm2d(4),
        make_conv(kind, 4, 6, (2, 1), dilation=(2, 1), groups=2),
        nn.BatchNorm2d(6),
        nn.Flatten(),
        make_linear(kind, 48, 5),
        nn.BatchNorm1d(5),
    )


X = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def kinds(module: nn.Module) -> list[str]:
    return [KIND_OF[type(part)] for part in module.modules() if type(part) in KIND_OF]


def same_state(first: nn.Module, second: nn.Module) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[n], theirs[n]) for n in mine)


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_every_direction_keeps_everything_but_the_operator(old: str, new: str) -> None:
    network = small(old).double()
    network[7].eval()
    network[4].bias.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    converted = convert(network, new, **ALL)
    assert kinds(converted) == [new] * 4
    assert kinds(network) == [old] * 4
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    fresh = small(new)
    assert str(converted) == str(fresh)
    assert list(converted.state_dict()) == list(fresh.state_dict())
    assert not converted[7].training
    assert not converted[4].bias.requires_grad
    assert all(p.dtype == torch.float64 and p.is_leaf for p in converted.parameters())
    converted[7].train()
    converted(X.double()).square().sum().backward()
    trained = [p for p in converted.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert vars(converted[0]).keys() == vars(fresh[0]).keys()


@pytest.mark.parametrize("between", ["adder", "shift", "binary"])
def test_there_and_back_is_the_identity_with_keep(between: str) -> None:
    network = small()
    back = convert(convert(network, between, weights="keep", **ALL), "conv", weights="keep", **ALL)
    assert same_state(network, back)
    assert torch.equal(network(X), back(X))


@pytest.mark.parametrize("new", ["shift", "binary"])
def test_auto_hands_over_between_approximations(new: str) -> None:
    assert same_state(small(), convert(small(), new, **ALL))


def test_power_sign_starts_at_the_quantised_weights_and_returns_them() -> None:
    network = small()
    nn.init.zeros_(network[0].weight[0])
    shift, power = convert(network, "shift", **ALL), convert(network, "shift-ps", **ALL)
    back = convert(power, "conv", **ALL)
    for index in (0, 2, 4, 7):
        expected = shift[index]._shift_weight(shift[index].weight).detach()
        lowest = expected.sign() * 2.0**-14  # one exponent less than Q
        expected = torch.where(expected.abs() < 2.0**-14, lowest, expected)
        assert torch.equal(power[index].weight, expected)
        assert torch.equal(back[index].weight, expected)
    torch.testing.assert_close(power.eval()(X), back.eval()(X), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("old", "new"), [("conv", "adder"), ("adder", "shift")])
def test_auto_draws_anew_to_and_from_adders(old: str, new: str) -> None:
    torch.manual_seed(5)
    converted = convert(small(old), new, **ALL)
    assert not torch.equal(converted[4].weight, small(old)[4].weight)
    bound = 1 / (2 * 2) ** 0.5  # nn.Conv2d's initialisation, fan-in 4
    assert (converted[4].weight.abs().max() <= bound) == (new == "shift")
    assert (converted[4].bias == 0).all() == (new == "adder")


def test_init_draws_anew_and_leaves_present_operators_alone() -> None:
    assert not same_state(small(), convert(small(), "binary", weights="init", **ALL))
    assert same_state(small("shift"), convert(small("shift"), "shift", weights="init", **ALL))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({}, ["conv", "conv", "shift", "conv"]),
        ({"keep_first": False}, ["shift", "conv", "shift", "conv"]),
        ({"keep_last": False}, ["conv", "conv", "shift", "shift"]),
        ({"keep_depthwise": False}, ["conv", "shift", "shift", "conv"]),
    ],
)
@pytest.mark.parametrize("old", ["conv", "adder"])
def test_kept_layers_stay_or_return_to_multiplication(kept: dict, expected: list, old: str) -> None:
    network = small(old)
    converted = convert(network, "shift", **kept)
    assert kinds(converted) == expected
    if old == "conv":
        assert same_state(network, converted)
    assert kinds(convert(converted, "conv")) == ["conv"] * 4


def test_options_go_to_the_new_layers_alone() -> None:
    converted = convert(small(), "adder", adaptive_lr="backward", eta=0.1)
    assert (converted[4].adaptive_lr, converted[4].eta) == ("backward", 0.1)
    assert "eta" not in vars(convert(converted, "conv")[4])
    assert convert(small("shift"), "shift-ps", bits=3, **ALL)[7].weight.abs().min() in (0, 0.25)


def test_bare_layer_is_converted() -> None:
    assert type(convert(nn.Conv2d(3, 4, 3), "adder")) is AdderConv2d
    assert type(convert(nn.Linear(3, 4), "adder")) is AdderLinear
    assert type(convert(AdderLinear(3, 4), "conv")) is nn.Linear
    with pytest.warns(UserWarning, match="no nn.Conv2d or nn.Linear of the module became 'adder'"):
        assert type(convert(nn.Conv2d(4, 4, 3, groups=4), "adder")) is nn.Conv2d


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Linear(2, 2)), r"its 1 layer\(s\) are all kept"),
        (nn.ReLU(), "no such layer"),
    ],
)
def test_nothing_to_convert_is_said(module: nn.Module, reason: str) -> None:
    with pytest.warns(UserWarning, match=reason):
        convert(module, "shift")


def quantized_by_torch(network: nn.Module, names: set[str] | None = None) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its days are numbered
        return quantize_dynamic(network, names)


def exported() -> nn.Module:
    return torch.export.export(small().eval(), (X,)).module()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (exported, "a graph of torch.export or torch.fx holds calls of operators, not layers"),
        (
            lambda: quantized_by_torch(nn.Sequential(nn.Linear(2, 2))),
            "torch has quantised its layer",
        ),
    ],
)
@pytest.mark.filterwarnings(r"ignore:convert\(\) leaves as they are:UserWarning")
def test_networks_that_have_lost_their_layers(make: Callable, reason: str) -> None:
    network = make()
    with pytest.warns(UserWarning, match=f"no such layer; {reason}"):
        convert(network, "shift")
    with pytest.raises(UsageError, match=f"no nn.Conv2d, .* to quantise; {reason}"):
        quantize(network, [X], layers="all")


def test_layers_that_torch_has_quantised_are_named() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.LSTM(2, 2))
    network = quantized_by_torch(network, {"1", "2"})
    with pytest.warns(UserWarning, match="leaves as they are") as said:
        assert type(convert(network, "shift", keep_last=False, keep_first=False)[0]) is ShiftLinear
    assert [str(w.message) for w in said] == [
        "convert() leaves as they are: DynamicQuantizedLinear ('1'), DynamicQuantizedLSTM ('2')"
    ]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("treat", [lambda n: convert(n, "shift"), lambda n: quantize(n, [X])])
def test_scripted_networks_are_refused(treat: Callable[[nn.Module], nn.Module]) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    with pytest.raises(UsageError, match="exchanges layers; the network is scripted or traced"):
        treat(scripted)
    with pytest.raises(UsageError, match="exchanges layers; part '1' is scripted"):
        treat(nn.Sequential(nn.Linear(2, 2), scripted))


def test_shared_layers_and_tied_weights_stay_so() -> None:
    first, second, third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    third.weight = second.weight
    network = nn.Sequential(first, first, second, third)
    for kind, names in (("binary", ["weight"]), ("shift-ps", ["shift", "sign"])):
        converted = convert(network, kind, **ALL)
        back = convert(converted, "conv", **ALL)
        assert converted[0] is converted[1]
        assert all(getattr(converted[2], n) is getattr(converted[3], n) for n in names)
        assert back[2].weight is back[3].weight


def test_tie_to_something_else() -> None:
    network = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6))
    network[2].weight = network[0].weight
    kept = {"keep_first": False, "keep_last": False}
    converted = convert(network, "shift", **kept)
    assert converted[2].weight is converted[0].weight
    for kind, weights in (("adder", "auto"), ("shift", "init"), ("shift-ps", "keep")):
        with pytest.raises(UsageError, match="layer '2' is tied to '0'"):
            convert(network, kind, weights=weights, **kept)


def test_hooks_and_attributes_survive() -> None:
    seen = []
    network = small()
    network[4].register_forward_hook(lambda layer, args, output: seen.append(type(layer)))
    network[4].note = "mine"
    converted = convert(network, "shift")
    converted(X)
    assert seen == [ShiftConv2d]
    assert converted[4].note == "mine"


class OwnLinear(nn.Linear):
    """A user's subclass."""


def test_other_classes_are_left_alone_and_named() -> None:
    others = [OwnLinear(2, 2), nn.Conv1d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1), nn.LazyLinear(2)]
    attention = nn.MultiheadAttention(4, 2)
    network = nn.Sequential(*others, attention, nn.Linear(2, 2))
    message = (
        r"leaves as they are: OwnLinear \('0'\), Conv1d \('1'\), ConvTranspose2d \('2'\), "
        r"LazyLinear \('3'\), MultiheadAttention \('4'\)$"
    )
    with pytest.warns(UserWarning, match=message):
        converted = convert(network, "shift", keep_first=False, keep_last=False)
    assert [type(part) for part in converted] == [
        *(type(part) for part in others),
        nn.MultiheadAttention,
        type(make_linear("shift", 2, 2)),
    ]
    assert type(converted[4].out_proj) is type(attention.out_proj)


@pytest.mark.parametrize("eager", [True, False])
def test_transformer_layer_does_not_bypass_its_linears(eager: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=eager)
    with pytest.warns(
        UserWarning, match=r"leaves as they are: MultiheadAttention \('self_attn'\)$"
    ):
        converted = convert(layer, "binary", keep_first=False, keep_last=False).eval()
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        fused = converted(x)
    torch.testing.assert_close(fused, converted(x))


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize("change", [nn.utils.parametrizations.weight_norm, pruned])
def test_parametrised_layers_are_named(change) -> None:
    network = small()
    change(network[4])
    with pytest.raises(UsageError, match="layer '4' carries more than weight and bias"):
        convert(network, "shift")


def test_parametrised_layers_may_be_kept() -> None:
    network = small()
    nn.utils.parametrizations.weight_norm(network[0])
    converted = convert(network, "shift")
    assert type(converted[4]) is ShiftConv2d
    assert torch.equal(converted[0](X), network[0](X))


def test_networks_that_cannot_be_copied_are_named() -> None:
    network = small()
    pruned(network[0])  # kept, but torch cannot copy the computed weight
    with pytest.raises(UsageError, match="cannot be copied: Only Tensors created explicitly"):
        convert(network, "shift")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((small(), "adda"), UsageError, "kind must be one of 'conv', 'adder', .*; got 'adda'"),
        ((small(), None), UsageError, "kind must be one of .*; got None"),
        ((small, "adder"), TypeError, "module must be a torch.nn.Module; got function"),
        ((small().state_dict(), "adder"), TypeError, "module must be .*; got OrderedDict"),
    ],
)
def test_wrong_arguments(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        convert(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "copy"}, "weights must be one of 'auto', 'keep', 'init'; got 'copy'"),
        ({"bits": 4}, "options of kind 'adder' are: weight_gradient, .*eta; got 'bits'"),
        ({"eta": -1}, "eta must be a positive finite number; got -1"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(small(), "adder", **options)


def test_compiled_network_gives_the_same() -> None:
    network = convert(small(), "adder").eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.equal(compiled(X), network(X))
