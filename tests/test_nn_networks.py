"""convert() on whole networks: misplaced layers are named, torchvision's networks train."""

import copy
import warnings

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from saa_lite.nn import KINDS, adaptive_lr, attach_adaptive_lr, convert
from saa_lite.nn.convert import KIND_OF


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


class OutOfOrder(nn.Module):
    """All convolutions defined first, all normalisations after: usual in tutorials."""

    def __init__(self, normalised: bool, branch: bool = False) -> None:
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.two, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.normalised, self.branch = normalised, branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last_input = x  # what a trace must not leave behind in the result
        if self.branch and x.sum() > 0:  # cannot be traced
            x = -x
        x = self.stem(x)
        y = self.one(x) if not self.normalised else F.relu(self.bn(self.one(x)))
        y = F.max_pool2d(self.two(y), 1)
        return self.head(torch.relu(F.instance_norm(y + x)))


def test_normalisation_is_looked_up_in_the_graph() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = convert(OutOfOrder(normalised=True), "adder")
    assert not hasattr(converted, "last_input")
    copy.deepcopy(converted)
    with pytest.warns(UserWarning, match=r"follows 1 adder layer\(s\) \('one'\): the output"):
        convert(OutOfOrder(normalised=False), "adder")
    with pytest.warns(UserWarning, match=r"follows 2 adder layer\(s\) \('one', 'two'\)"):
        convert(OutOfOrder(normalised=True, branch=True), "adder")


@pytest.mark.parametrize(
    "body",
    [
        [nn.Conv2d(4, 4, 1)],
        [nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)],
        [nn.Conv2d(4, 4, 1), nn.Identity(), nn.Dropout()],
    ],
)
def test_missing_normalisation_is_said(body: list[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), *body, nn.Conv2d(4, 4, 1))
    with pytest.warns(UserWarning, match="no normalisation follows"):
        convert(network, "adder")
    convert(network, "shift")  # says nothing


class Residual(nn.Module):
    """A convolution behind an activation, another behind the sum of both."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.head = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.act, self.bn = act, nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn(self.stem(x)))
        x = x + self.bn(self.one(x))
        return self.head(self.bn(self.two(x)))


def test_binary_layers_behind_relu_are_named() -> None:
    relu = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(1), nn.Conv2d(4, 4, 1))
    with pytest.warns(UserWarning, match=r"before 1 binary layer\(s\) \('3'\): the sign"):
        convert(relu, "binary", keep_last=False)
    with pytest.warns(UserWarning, match=r"before 1 binary layer\(s\) \('one'\)"):
        convert(Residual(nn.ReLU()), "binary")
    convert(Residual(nn.Hardtanh()), "binary")  # says nothing
    convert(Residual(nn.ReLU()), "shift")  # says nothing


def signed(network: nn.Module, kind: str) -> nn.Module:
    """What convert()'s warning advises for binary layers: Hardtanh for every ReLU6."""
    for part in list(network.modules()):
        for name, child in part.named_children():
            if kind == "binary" and isinstance(child, nn.ReLU6):
                setattr(part, name, nn.Hardtanh())
    return network


@pytest.mark.parametrize(
    ("name", "kind"), [("resnet18", "adder"), *(("mobilenet_v2", kind) for kind in KINDS[1:])]
)
def test_torchvision_networks_train_save_and_evaluate(name: str, kind: str, tmp_path) -> None:
    torch.manual_seed(0)
    build = getattr(torchvision.models, name)
    slim = {"width_mult": 0.25} if name == "mobilenet_v2" else {}
    network = convert(signed(build(num_classes=4, **slim), kind), kind)
    depthwise = 17 if name == "mobilenet_v2" else 0
    layers = [KIND_OF[type(part)] for part in network.modules() if type(part) in KIND_OF]
    assert (layers.count("conv"), set(layers)) == (2 + depthwise, {"conv", kind})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    attach_adaptive_lr(optimizer, network)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    loss = F.cross_entropy(network(images), labels)
    loss.backward()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer.step()
    assert loss.isfinite()
    still = [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    assert still == []
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    again = convert(signed(build(num_classes=4, **slim), kind), kind)
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), network.eval()(images))
