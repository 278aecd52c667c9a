"""Tools that look into layers, or fuse them with others: they see ours as a whole."""

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils import fusion
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.nn import ShiftConv2d, attach_adaptive_lr, convert, make_conv, make_linear
from saa_lite.quantize import quantize, quantize_convolution, to_integer

NEW_KINDS = ("adder", "shift", "shift-ps", "binary")


def converted(kind: str) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ReLU before binary layers
        return convert(resnet18(num_classes=10), kind)


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_a_traced_network_has_the_layers_and_their_numbers(kind: str) -> None:
    net = converted(kind).eval()
    x = torch.randn(2, 3, 32, 32)
    seen: list[Tensor] = []
    net.layer3.register_forward_hook(lambda module, args, output: seen.append(output))
    logits = net(x)
    traced = torch.fx.symbolic_trace(net)
    assert torch.equal(traced(x), logits)
    assert traced.get_submodule("layer1.0.conv1") is net.layer1[0].conv1
    assert list(traced.state_dict()) == list(net.state_dict())
    assert torch.equal(create_feature_extractor(net, ["layer3"])(x)["layer3"], seen[0])


def test_an_optimizer_finds_the_adders_of_a_traced_network() -> None:
    traced = torch.fx.symbolic_trace(converted("adder"))
    optimizer = torch.optim.SGD(traced.parameters(), 0.1)
    assert len(attach_adaptive_lr(optimizer, traced)) == 19  # all but conv1 and fc
    shifts = convert(traced, "shift")
    assert isinstance(shifts.get_submodule("layer2.1.conv1"), ShiftConv2d)


@pytest.mark.parametrize("kind", ["conv", "adder", "shift"])
@pytest.mark.parametrize("name", ["deit_mini", "lenet5_bn"])
def test_networks_that_check_sizes_are_traced_and_go_on_checking(name: str, kind: str) -> None:
    torch.manual_seed(0)
    net, x = create_model(name, conv=kind).eval(), torch.randn(1, 3, 32, 32)
    traced = torch.fx.symbolic_trace(net)
    assert torch.equal(traced(x), net(x))
    with pytest.raises(UsageError, match=r"images of .*32×32; got 24×24"):
        traced(x[..., :24, :24])


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_a_layer_alone_says_where_to_put_it(kind: str) -> None:
    layer = make_conv(kind, 3, 4, 3)
    with pytest.raises(UsageError, match=r"put it into an nn\.Sequential"):
        torch.fx.symbolic_trace(layer)
    x = torch.randn(1, 3, 5, 5)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer))
    assert torch.equal(traced(input=x), layer(input=x))


FUSIONS: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "conv": lambda net, norm: fusion.fuse_conv_bn_eval(net[0], norm),
    "linear": lambda net, norm: fusion.fuse_linear_bn_eval(net[0], norm),
}


def network(kind: str, layer: str, *, bias: bool) -> nn.Sequential:
    torch.manual_seed(0)
    first = make_conv(kind, 3, 4, 3, bias=bias)
    if layer == "linear":
        first = make_linear(kind, 3, 4, bias=bias)
    norm = nn.BatchNorm2d(4) if layer == "conv" else nn.BatchNorm1d(4)
    nn.init.uniform_(norm.running_var, 2, 3)
    return nn.Sequential(first, norm).eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layer", FUSIONS)
@pytest.mark.parametrize("kind", NEW_KINDS)
def test_fusing_with_a_batch_norm_is_refused(kind: str, layer: str, bias: bool) -> None:
    net = network(kind, layer, bias=bias)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UsageError, match="cannot be fused with a batch norm"):
        FUSIONS[layer](net, net[1])
    assert all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.values(), strict=True)
    )
    x = torch.randn(5, 3, 4, 4) if layer == "conv" else torch.randn(5, 3)
    # a tool that looks for torch's own layers leaves ours alone
    assert torch.equal(fuse(net)(x), net(x))


@pytest.mark.parametrize("method", ["nearest", "redistribution", "adaround"])
def test_quantised_layers_are_whole_too(method: str) -> None:
    kind = "conv" if method == "adaround" else "adder"
    net, images = network(kind, "conv", bias=False), torch.randn(8, 3, 6, 6)
    if method == "adaround":
        net = nn.Sequential(*net, nn.Conv2d(4, 2, 1))
        found = quantize_convolution(net, images, "nearest", progress=False)
    else:
        found = quantize(net, [images], method=method)
    with pytest.raises(UsageError, match="cannot be fused with a batch norm"):
        fusion.fuse_conv_bn_eval(found[0], nn.BatchNorm2d(4).eval())
    nets = [found, to_integer(found)] if method == "redistribution" else [found]
    for quantised in nets:
        traced = torch.fx.symbolic_trace(quantised)
        assert traced.get_submodule("0") is quantised[0]
        assert torch.equal(traced(images), quantised(images))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_integer_layers_have_no_derivative() -> None:
    net = to_integer(quantize(network("adder", "conv", bias=True), [torch.randn(8, 3, 6, 6)]))
    x = torch.randn(1, 3, 6, 6)
    for transform in (
        lambda: torch.func.jvp(net, (x,), (x,)),
        lambda: torch.func.grad(lambda a: net(a).sum())(x),
    ):
        with pytest.raises(UsageError, match="integers have no derivative"):
            transform()


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_an_encoder_calls_a_layer_that_was_put_into_it(kind: str) -> None:
    """Torch's fused call in evaluation would multiply with the layer's weights."""
    torch.manual_seed(0)
    encoder, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 5, 8)
    for name, sizes in (("linear1", (8, 16)), ("linear2", (16, 8))):
        changed = copy.deepcopy(encoder)
        setattr(changed, name, make_linear(kind, *sizes))
        expected = changed(x).detach()  # with gradients on, torch does not fuse
        for other in (changed, copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
            with torch.no_grad():
                torch.testing.assert_close(other(x), expected)
    back = convert(make_linear(kind, 8, 16), "conv")
    assert not back._forward_pre_hooks
