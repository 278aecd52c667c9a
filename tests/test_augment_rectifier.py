"""ReLU6 in place inside an augmented network."""

import pytest
import torch
from torch import Tensor, nn

from saa_lite.augment import AugmentConfig, Mutation, augment, export
from saa_lite.augment.norm import InPlaceReLU6, rectify_in_place
from saa_lite.augment.unit import WideConv
from saa_lite.models import create_model
from saa_lite.train.checkpoint import layers_of


def passed(layer: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Output and the gradient of the input."""
    leaf = x.clone().requires_grad_()
    out = layer(leaf * 1)
    out.backward(gradient.clone())
    assert leaf.grad is not None
    return out.detach(), leaf.grad


def test_same_bits_as_torch() -> None:
    edges = torch.tensor([-1.0, -0.0, 0.0, 1e-40, 3.0, 6.0, 6.1, torch.inf, -torch.inf, torch.nan])
    x = torch.cat([edges, 4 * torch.randn(1000)])
    gradient = torch.randn(len(x))
    ours, theirs = (passed(layer, x, gradient) for layer in (InPlaceReLU6(), nn.ReLU6()))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_takes_the_memory_of_its_input_and_of_the_gradient() -> None:
    x = torch.randn(8, requires_grad=True) * 1
    out = InPlaceReLU6()(x)
    assert out.data_ptr() == x.data_ptr()
    gradient, given = torch.randn(8), []
    x.register_hook(lambda g: given.append(g.data_ptr()))
    out.backward(gradient)
    assert given == [gradient.data_ptr()]


def test_second_derivative_is_refused() -> None:
    x = torch.randn(8, requires_grad=True)
    (slope,) = torch.autograd.grad(InPlaceReLU6()(x * 1).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_an_expanded_gradient_has_room_of_its_own() -> None:
    x = torch.tensor([-1.0, 2.0, 7.0], requires_grad=True)
    InPlaceReLU6()(x * 1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 0]


def test_hooks_and_evaluation_have_torchs_own() -> None:
    model = augment(create_model("mobilenet_v2_tiny"), AugmentConfig())
    seen: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, (WideConv, InPlaceReLU6)):
            module.register_full_backward_hook(lambda m, i, out: seen.extend(out))
    model(torch.randn(2, 3, 32, 32, requires_grad=True)).sum().backward()
    assert len(seen) > 5
    x = torch.tensor([-1.0])
    InPlaceReLU6()(x)
    assert x.item() == -1


@pytest.mark.filterwarnings("ignore:an adder layer trains")  # no optimiser here
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("conv", ["conv", "shift", "adder"])
def test_network_trains_to_the_same_bits(
    conv: str, share: float, layout: torch.memory_format
) -> None:
    """Also while blocks are blended, where a map is read twice."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32).to(memory_format=layout)
    config = AugmentConfig(depth=1, mutation=None if share == 1 else Mutation(0, 2))
    model = augment(create_model("mobilenet_v2_tiny", conv=conv), config)
    for block in model.mutating:
        for unit in block:
            unit.share = share
    found = []
    for on in (True, False):
        rectify_in_place(model, on=on)
        model.zero_grad()
        with model.configured(model.largest):
            model(images).square().sum().backward()
        found.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


def test_export_has_torchs_own() -> None:
    model = augment(create_model("mobilenet_v2_tiny"), AugmentConfig(depth=1))
    wide = {type(m) for m in model.modules() if isinstance(m, nn.ReLU6)}
    plain = {type(m) for m in export(model).modules() if isinstance(m, nn.ReLU6)}
    assert (wide, plain) == ({InPlaceReLU6}, {nn.ReLU6})


def test_checkpoints_see_the_same_layer() -> None:
    """Runs that began before it was there go on."""
    assert layers_of(InPlaceReLU6()) == layers_of(nn.ReLU6()) == {"": "ReLU6()"}
