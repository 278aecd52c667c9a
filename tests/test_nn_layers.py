"""The layers as drop-ins: signature, parameters, representation, padding, bias, copies, compile."""

import copy
import inspect
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from saa_lite import nn as snn
from saa_lite.errors import UsageError
from saa_lite.nn import KINDS, adaptive_lr, make_conv, make_linear
from saa_lite.ops import reference

NEW_KINDS = [kind for kind in KINDS if kind != "conv"]
WEIGHT_KINDS = ["adder", "shift", "binary"]


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The once-per-process warning has its own test; here it counts as said."""
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


def expected(kind: str, layer: nn.Module, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
    """The operator written with torch's own functions; x already padded unless zeros."""
    weight, bias = layer.weight.detach(), layer.bias.detach()
    conv = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    if kind == "adder":
        border = (padding, padding)
        geometry = (layer.stride, border, layer.dilation, layer.groups)
        return reference.adder_conv2d(x, weight, *geometry) + bias.double().view(-1, 1, 1)
    if kind == "binary":
        scale = weight.abs().mean((1, 2, 3), keepdim=True)
        x = torch.where(x < 0, -1.0, 1.0)
        return F.conv2d(x, torch.where(weight < 0, -scale, scale), bias, padding=padding, **conv)
    if kind == "shift":
        power = weight.abs().clamp(2**-15, 1).log2().round()
        weight = weight.sign() * 2**power
    x, bias = (x * 2**16).floor() / 2**16, (bias * 2**16).floor() / 2**16
    return F.conv2d(x, weight, bias, padding=padding, **conv)


@pytest.mark.parametrize("kind", NEW_KINDS)
@pytest.mark.parametrize("make", [make_conv, make_linear])
def test_signature_starts_like_torch(kind: str, make) -> None:
    sizes = (2, 2, 1) if make is make_conv else (2, 2)
    ours, theirs = type(make(kind, *sizes)), type(make("conv", *sizes))
    mine, torchs = (list(inspect.signature(c).parameters.values()) for c in (ours, theirs))
    names = [(p.name, p.default, p.kind) for p in mine[: len(torchs)]]
    assert names == [(p.name, p.default, p.kind) for p in torchs]
    assert all(p.kind is p.KEYWORD_ONLY for p in mine[len(torchs) :])
    assert issubclass(ours, theirs)


@pytest.mark.parametrize("kind", NEW_KINDS)
@pytest.mark.parametrize("make", [make_conv, make_linear])
def test_arguments_reach_the_layer(kind: str, make) -> None:
    sizes = (4, 6, (3, 2)) if make is make_conv else (4, 6)
    more = {"stride": 2, "padding": 1, "dilation": (1, 2), "groups": 2} if make is make_conv else {}
    more |= {"bias": False, "dtype": torch.float64, "device": "cpu"}
    ours, theirs = make(kind, *sizes, **more), make("conv", *sizes, **more)
    assert ours.bias is None
    assert all(p.dtype == torch.float64 for p in ours.parameters())
    assert ours.extra_repr() == theirs.extra_repr()
    assert ours.weight.shape == theirs.weight.shape


@pytest.mark.parametrize(
    ("kind", "options", "shown"),
    [
        ("adder", {"adaptive_lr": "off", "eta": 0.1}, ", adaptive_lr=off, eta=0.1"),
        ("adder", {"input_gradient": "full"}, ", input_gradient=full"),
        ("shift", {"bits": 4}, ", bits=4"),
        ("shift-ps", {"fraction_bits": None}, ", fraction_bits=None"),
        ("binary", {"scale": False}, ", scale=False"),
    ],
)
def test_extra_repr_adds_only_what_was_chosen(kind: str, options: dict, shown: str) -> None:
    for make, sizes in ((make_conv, (3, 4, 1)), (make_linear, (3, 4))):
        plain, chosen = make(kind, *sizes), make(kind, *sizes, **options)
        assert chosen.extra_repr() == plain.extra_repr() + shown


@pytest.mark.parametrize("kind", WEIGHT_KINDS)
def test_state_dict_exchanges_with_torch(kind: str) -> None:
    for make, sizes in ((make_conv, (3, 4, 3)), (make_linear, (3, 4))):
        ours, theirs = make(kind, *sizes), make("conv", *sizes)
        ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours.weight, theirs.weight)
        nn.init.ones_(ours.weight)
        theirs.load_state_dict(ours.state_dict())
        assert torch.equal(theirs.weight, ours.weight)
        assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("make", [make_conv, make_linear])
def test_power_sign_has_no_stray_weight(make) -> None:
    layer = make("shift-ps", *((3, 4, 3) if make is make_conv else (3, 4)))
    assert list(layer.state_dict()) == ["shift", "sign", "bias"]
    assert [name for name, _ in layer.named_parameters()] == ["shift", "sign", "bias"]
    values = layer.weight.detach()
    assert set(values.abs().flatten().tolist()) <= {0.0, *(2.0**-p for p in range(15))}
    with pytest.raises(AttributeError):
        layer.weight = values


@pytest.mark.parametrize("kind", WEIGHT_KINDS[1:])
def test_latent_weights_start_as_torch_starts(kind: str) -> None:
    torch.manual_seed(3)
    ours = make_conv(kind, 3, 8, 3)
    torch.manual_seed(3)
    theirs = make_conv("conv", 3, 8, 3)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_adder_starts_as_the_official_code() -> None:
    torch.manual_seed(0)
    for layer in (snn.AdderConv2d(32, 64, 3), snn.AdderLinear(128, 128)):
        assert abs(layer.weight.mean()) < 0.03
        assert abs(layer.weight.std() - 1) < 0.03
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_power_sign_starts_over_its_range() -> None:
    torch.manual_seed(0)
    layer = snn.ShiftPSConv2d(32, 64, 3, bits=4)
    assert -6 <= layer.shift.min() < -5.99
    assert -0.01 < layer.shift.max() <= 0
    assert -1 <= layer.sign.min() < -0.99
    assert 0.99 < layer.sign.max() <= 1
    assert 0.9 < layer.bias.abs().max() * math.sqrt(32 * 9) <= 1


@pytest.mark.parametrize("kind", NEW_KINDS)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 1, "same", "valid"])
def test_padding_equals_explicit_padding(kind: str, padding_mode: str, padding) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 7, 6)
    layer = make_conv(kind, 4, 6, (3, 2), padding=padding, groups=2, padding_mode=padding_mode)
    borders = {0: [0] * 4, "valid": [0] * 4, 1: [1] * 4, "same": [0, 1, 1, 1]}[padding]
    if kind == "binary":  # binarised first, so a padded zero stays 0
        x = torch.where(x < 0, -1.0, 1.0)
    padded = F.pad(x, borders, mode="constant" if padding_mode == "zeros" else padding_mode)
    bare = copy.deepcopy(layer)
    bare.padding, bare.padding_mode = (0, 0), "zeros"
    if kind == "binary":
        bare._prepare_input = lambda values: values
    assert torch.equal(layer(x), bare(padded))
    assert layer(x).shape == (2, 6, padded.shape[2] - 2, padded.shape[3] - 1)


@pytest.mark.parametrize("kind", NEW_KINDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    groups=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    kernel=st.integers(1, 3),
    size=st.integers(5, 9),
    seed=st.integers(0, 999),
)
def test_forward_is_the_operator_plus_bias(
    kind: str, groups: int, stride: int, dilation: int, padding: int, kernel: int, size: int, seed
) -> None:
    torch.manual_seed(seed)
    geometry = {"stride": stride, "dilation": dilation, "groups": groups}
    layer = make_conv(kind, 2 * groups, 3 * groups, kernel, padding=padding, **geometry)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 2 * groups, size, size + 1)
    torch.testing.assert_close(
        layer(x), expected(kind, layer, x, padding).float(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_linear_is_a_one_by_one_convolution(kind: str) -> None:
    torch.manual_seed(0)
    linear, conv = make_linear(kind, 5, 7), make_conv(kind, 5, 7, 1)
    state = {n: v.reshape(conv.state_dict()[n].shape) for n, v in linear.state_dict().items()}
    conv.load_state_dict(state)
    x = torch.randn(2, 3, 5)
    images = x.reshape(6, 5, 1, 1)
    torch.testing.assert_close(linear(x), conv(images).reshape(2, 3, 7))


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_single_image_without_batch(kind: str) -> None:
    x = torch.randn(3, 6, 6)
    for mode in ("zeros", "reflect"):
        layer = make_conv(kind, 3, 4, 3, padding=1, padding_mode=mode)
        torch.testing.assert_close(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_every_parameter_learns(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    for layer in (make_conv(kind, 3, 4, 3, padding=1), make_linear(kind, 6, 4)):
        layer(x).square().sum().backward()
        for name, parameter in layer.named_parameters():
            assert parameter.grad.abs().sum() > 0, name
            assert parameter.grad.isfinite().all(), name
    assert x.grad.abs().sum() > 0


def test_adder_options_reach_the_operator() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 5)
    grads = {}
    for kind in ("full", "sign"):
        torch.manual_seed(1)
        layer = snn.AdderConv2d(3, 2, 3, weight_gradient=kind, adaptive_lr="off")
        layer(x).sum().backward()
        grads[kind] = layer.weight.grad
    weight = layer.weight.detach()
    taps = F.unfold(x, 3).transpose(1, 2).reshape(-1, 1, 27) - weight.view(1, 2, 27)
    torch.testing.assert_close(grads["full"].view(2, 27), taps.sum(0))
    torch.testing.assert_close(grads["sign"].view(2, 27), taps.sign().sum(0))


def test_adder_is_unchanged_by_a_common_constant() -> None:
    torch.manual_seed(0)
    layer, x = snn.AdderConv2d(3, 4, 3, dtype=torch.float64), torch.randn(2, 3, 6, 6).double()
    before = layer(x)
    with torch.no_grad():
        layer.weight += 5
    torch.testing.assert_close(layer(x + 5), before)
    assert before.max() <= 0


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_copy_pickle_file_and_compile_keep_the_output(kind: str) -> None:
    torch.manual_seed(0)
    layer, x = make_conv(kind, 3, 4, 3, padding="same"), torch.randn(2, 3, 6, 6)
    layer(x).sum().backward()
    stored = io.BytesIO()
    torch.save(layer.state_dict(), stored)
    stored.seek(0)
    loaded = make_conv(kind, 3, 4, 3, padding="same")
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    compiled = torch.compile(copy.deepcopy(layer), backend="eager", fullgraph=True)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded, compiled):
        assert torch.equal(other(x), layer(x))
        other(x).sum().backward()


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_autocast_and_meta(kind: str) -> None:
    layer = make_conv(kind, 3, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(torch.randn(1, 3, 5, 5))
    assert output.isfinite().all()
    empty = make_conv(kind, 3, 4, 3, device="meta")
    assert empty(torch.empty(2, 3, 5, 5, device="meta")).shape == (2, 4, 3, 3)


def test_functional_call_with_tensors_in_place_of_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", [])  # so that weights are watched
    layer = snn.AdderLinear(3, 2)
    swapped = {"weight": torch.zeros(2, 3, requires_grad=True) * 1, "bias": torch.ones(2)}
    output = torch.func.functional_call(layer, swapped, (torch.ones(1, 3),))
    assert torch.equal(output, torch.full((1, 2), -2.0))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: make_conv("adda", 1, 1, 1), UsageError, "kind must be one of 'conv', 'adder'"),
        (lambda: make_linear(None, 1, 1), UsageError, "kind must be one of .*; got None"),
        (lambda: snn.AdderConv2d(1, 1, 1, weight_gradient="clip"), UsageError, "weight_gradient"),
        (lambda: snn.AdderLinear(1, 1, input_gradient="none"), UsageError, "input_gradient must"),
        (
            lambda: snn.AdderConv2d(1, 1, 1, adaptive_lr=True),
            UsageError,
            "'step', 'pass', 'backward'",
        ),
        (lambda: snn.AdderLinear(1, 1, eta=0), UsageError, "eta must be a positive finite"),
        (lambda: snn.AdderLinear(1, 1, eta=math.nan), UsageError, "eta must be .*; got nan"),
        (lambda: snn.AdderLinear(1, 1, eta="0.2"), UsageError, "eta must be .*; got '0.2'"),
        (lambda: snn.ShiftConv2d(1, 1, 1, bits=1), UsageError, "bits must be an integer"),
        (lambda: snn.ShiftPSLinear(1, 1, fraction_bits=40), UsageError, "fraction_bits"),
        (lambda: make_conv("binary", 1, 1, 1, bits=3), TypeError, "bits"),
        (lambda: make_conv("adder", 3, 4, 3, groups=2), ValueError, "divisible by groups"),
        (lambda: make_conv("shift", 2, 2, 3, padding="some"), ValueError, "padding string"),
        (lambda: make_conv("binary", 2, 2, 3, padding_mode="x"), ValueError, "padding_mode"),
    ],
)
def test_wrong_arguments_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
