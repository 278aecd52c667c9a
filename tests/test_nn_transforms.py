"""Whole layers and networks under torch.func, against backward() of one image at a time."""

from collections.abc import Callable

import pytest
import torch
from augment_samples import images, model, warm_up
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jvp, vmap

from saa_lite.augment.norm import InPlaceReLU6
from saa_lite.nn import AdderConv2d, AdderLinear, AdderScores, adaptive_lr, make_conv, make_linear
from saa_lite.quantize import quantize

NEW_KINDS = ("adder", "shift", "shift-ps", "binary")


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The once-per-process warning has its own test; here it counts as said."""
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


class Attention(nn.Module):
    """Scores of pixels with each other: [B,C,H,W] → [B,1,H·W,H·W]."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.scores = make_linear("conv", 3, 3), AdderScores(3)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2).mT[:, None]
        scores: Tensor = self.scores(self.query(pixels), pixels)
        return scores


def quantised() -> nn.Module:
    """An adder layer that trains after quantisation."""
    net = nn.Sequential(AdderConv2d(3, 4, 3, adaptive_lr="off"), nn.BatchNorm2d(4)).eval()
    found = quantize(net, [torch.randn(8, 3, 5, 5)], edges="float")[0]
    assert type(found) is not AdderConv2d
    return found.train()


NETS: dict[str, Callable[[], nn.Module]] = {
    **{kind: lambda kind=kind: make_conv(kind, 3, 4, 3, padding=1) for kind in NEW_KINDS},
    **{
        f"{kind} linear": lambda kind=kind: nn.Sequential(nn.Flatten(), make_linear(kind, 75, 4))
        for kind in NEW_KINDS
    },
    "signs": lambda: AdderConv2d(3, 4, 3, weight_gradient="sign", input_gradient="sign"),
    "backward": lambda: AdderConv2d(3, 4, 3, adaptive_lr="backward"),
    "attention": Attention,
    "quantised": quantised,
}


@pytest.mark.parametrize("name", NETS)
def test_per_sample_gradients(name: str) -> None:
    torch.manual_seed(0)
    net, x = NETS[name](), torch.randn(3, 3, 5, 5)
    weights = dict(net.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        output: Tensor = functional_call(net, parameters, (image[None],))
        return output.square().sum()

    per_sample = vmap(grad(loss), (None, 0))(weights, x)
    for i, image in enumerate(x):
        net.zero_grad()
        net(image[None]).square().sum().backward()
        for key, parameter in weights.items():
            torch.testing.assert_close(per_sample[key][i], parameter.grad, rtol=1e-4, atol=1e-4)
    assert all(g.abs().sum() > 0 for g in per_sample.values())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", NEW_KINDS[1:])
def test_forward_mode_of_layers(kind: str) -> None:
    """One number: the derivative along a direction, by either mode."""
    torch.manual_seed(0)
    layer, x, along = make_conv(kind, 3, 4, 3, padding=1), *torch.randn(2, 1, 3, 6, 6)
    leaf = x.clone().requires_grad_()
    layer(leaf).sin().sum().backward()
    assert leaf.grad is not None
    _, slope = jvp(lambda a: layer(a).sin().sum(), (x,), (along,))
    torch.testing.assert_close(slope, (leaf.grad * along).sum(), rtol=1e-4, atol=1e-4)
    assert slope != 0


@pytest.mark.parametrize("kind", ["conv", "shift", "adder"])
@pytest.mark.parametrize("combine", ["norm", "sum", "scale"])
def test_augmented_models(kind: str, combine: str) -> None:
    """What is in place in a training step is not under torch.func, to the same gradients."""
    torch.manual_seed(0)
    net, x = model(kind, combine=combine, remap=None), images(2)
    warm_up(net)
    weights = dict(net.named_parameters())

    def loss(parameters: dict[str, Tensor], given: Tensor) -> Tensor:
        logits: Tensor = functional_call(net, parameters, (given,))
        return logits.square().sum()

    with net.configured(net.largest):
        net.zero_grad()
        net(x).square().sum().backward()
        found = grad(loss)(weights, x)
        each = vmap(grad(loss), (None, 0))(weights, x[:, None])
    learns = {key: w.grad for key, w in weights.items() if w.grad is not None}
    assert len(learns) > 10
    for key, expected in learns.items():
        torch.testing.assert_close(found[key], expected, rtol=1e-4, atol=1e-4)
        if kind != "adder":  # adders normalise each sample's gradient
            torch.testing.assert_close(each[key].sum(0), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_second_derivatives_of_an_augmented_model() -> None:
    """By torch.func, forward over reverse, and by backward() of backward(), which is in place."""
    torch.manual_seed(0)
    net, x = model("shift", remap=None), images(1).double()
    warm_up(net)
    net.double()
    with net.configured(net.largest):
        found = hessian(lambda a: net(x * a).square().sum())(torch.ones(1, dtype=torch.float64))
        leaf = torch.ones(1, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(net(x * leaf).square().sum(), leaf, create_graph=True)
        slope.backward()
    torch.testing.assert_close(found.flatten(), leaf.grad)
    assert found.abs() > 0


def test_relu6_in_place_gives_way() -> None:
    x = torch.tensor([-1.0, 2.0, 7.0])
    slopes = vmap(grad(lambda a: InPlaceReLU6()(a * 1).square()))(x)
    assert slopes.tolist() == [0, 4, 0]


def test_a_linear_layer_in_an_ensemble() -> None:
    """vmap over networks: parameters differ, the input is one."""
    torch.manual_seed(0)
    layers = [AdderLinear(5, 3) for _ in range(4)]
    stacked, _ = torch.func.stack_module_state(layers)
    x = torch.randn(2, 5)
    outputs = vmap(lambda p: functional_call(layers[0], p, (x,)))(stacked)
    torch.testing.assert_close(outputs, torch.stack([layer(x) for layer in layers]))
