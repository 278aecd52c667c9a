"""Products with parameters that are no layer's, and layers where torch does not look, are named."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.ops import DeformConv2d

from saa_lite.models import create_model
from saa_lite.nn import adaptive_lr, convert
from saa_lite.nn.own_products import OwnProducts
from saa_lite.quantize import quantize, quantize_convolution

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


class Own(nn.Module):
    """A 1×1 product of ``use`` between two layers of torch."""

    def __init__(self, use: Callable[["Own", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4, 1, 1)), nn.Parameter(torch.ones(4))
        self.matrices = nn.ParameterList([torch.randn(4, 4), torch.randn(4, 4)])
        self.words = nn.Embedding(4, 4)
        self.unseen = [nn.Parameter(torch.randn(4, 4))]
        self.norm = nn.LayerNorm(6)
        self.register_buffer("mask", torch.ones(4, 4, 1, 1))
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.use(self, self.first(x)))


def channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def back(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def in_place(m: Own, x: Tensor) -> Tensor:
    """What began as a parameter has become an activation."""
    scores = m.matrices[0].clone()
    scores += x.mean()
    return back(channels_last(x) @ scores)


def filled(zeros: Callable[..., Tensor], x: Tensor) -> Tensor:
    """An activation that no function of torch made, as that of a kernel of one's own."""
    copied = zeros(x.shape, dtype=x.dtype).detach()
    copied.numpy()[:] = x.detach().numpy()
    return copied


USES: dict[str, tuple[Callable[[Own, Tensor], Tensor], list[str]]] = {
    "convolution": (lambda m, x: F.conv2d(x, m.weight, m.bias), ["weight"]),
    "by keyword": (lambda m, x: torch.conv2d(x, weight=m.weight), ["weight"]),
    "standardised": (
        lambda m, x: F.conv2d(x, m.mask * (m.weight - m.weight.mean()) / m.weight.std()),
        ["weight"],
    ),
    "in a list": (lambda m, x: back(channels_last(x) @ m.matrices[0]), ["matrices.0"]),
    "of low rank": (
        lambda m, x: back(F.linear(channels_last(x), m.matrices[1] @ m.matrices[0].T)),
        ["matrices.0", "matrices.1"],
    ),
    "with an addend": (
        lambda m, x: back(
            torch.addmm(m.bias, channels_last(x).reshape(-1, 4), m.matrices[1]).view(2, 6, 6, 4)
        ),
        ["matrices.1"],
    ),
    "in letters": (
        lambda m, x: torch.einsum("bchw,cd->bdhw", x, m.matrices[0]),
        ["matrices.0"],
    ),
    "of linear algebra": (
        lambda m, x: back(torch.linalg.matmul(channels_last(x), m.matrices[0])),
        ["matrices.0"],
    ),
    "of words": (lambda m, x: back(channels_last(x) @ m.words.weight.T), ["words.weight"]),
    "unseen": (lambda m, x: back(channels_last(x) @ m.unseen[0]), ["unseen[0]"]),
    "sum": (lambda m, x: m.norm(x + m.bias.view(1, 4, 1, 1)) * m.weight[0], []),
    "attention": (lambda m, x: x @ (x.mT @ x).softmax(-1), []),
    "learned queries": (lambda m, x: m.norm(x @ m.first(X).mT), []),
    "constants": (lambda m, x: back(channels_last(x) @ torch.eye(4)), []),
    "in place": (in_place, []),
    "filled elsewhere": (lambda m, x: (filled(torch.zeros, x) * m.bias.mean()) @ x, []),
    "filled as well": (lambda m, x: (filled(m.bias.new_zeros, x) * m.bias.mean()) @ x, []),
}


def said_by(function: Callable[..., object], *args, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        function(*args, **options)
    return [str(w.message) for w in said]


def quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


OWN = (
    "the network multiplies with parameters that belong to no nn.Conv2d or nn.Linear, and goes on "
    "doing so: "
)


@pytest.mark.parametrize("case", USES)
def test_products_are_named_in_the_pass_that_there_is(case: str) -> None:
    use, names = USES[case]
    network, expected = Own(use).eval(), [OWN + quoted(names)] if names else []
    converted = convert(network, "shift", keep_last=False)  # a warning would be an error here
    assert said_by(converted, X) == expected
    assert said_by(converted, X) == []
    assert not converted._forward_hooks
    assert said_by(convert, network, "shift", keep_last=False, example=X) == expected
    assert said_by(quantize, network, [X], layers="all") == expected


@pytest.mark.filterwarnings("ignore:no normalisation follows:UserWarning")
def test_other_functions() -> None:
    network = Own(USES["convolution"][0]).eval()
    expected = [OWN + "'weight'"]
    assert said_by(quantize_convolution, network, X, method="nearest") == expected
    assert said_by(convert, network, "conv", example=X) == []
    adders = convert(nn.Sequential(network, nn.BatchNorm2d(2)), "adder", keep_first=False).eval()
    assert said_by(adders, X) == [OWN + "'0.weight'"]


def test_layers_of_other_libraries() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset, self.deform = nn.Conv2d(3, 18, 3, padding=1), DeformConv2d(3, 4, 3)
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.deform(x, self.offset(x)[:, :, 1:-1, 1:-1]))

    expected = [OWN + "'deform.weight'"]
    assert said_by(convert, Deformed(), "shift", keep_first=False, example=X) == expected


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: create_model("resnet8"),
    "deit": lambda: create_model("deit_mini"),
    "vision transformer": lambda: models.VisionTransformer(32, 8, 1, 2, 8, 16, num_classes=3),
    "swin": lambda: models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=3),
    "regnet": models.regnet_y_400mf,
    "convnext": models.convnext_tiny,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_known_networks_multiply_in_layers(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad(), OwnProducts(network) as products:
        network(torch.randn(1, 3, 32, 32))
    assert products.found == set()


class Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.hid = [nn.Linear(8, 8), nn.Sequential(nn.Conv1d(8, 8, 1), nn.Linear(8, 8))]
        self.by_name = {"ours": (nn.Linear(8, 8),), "none": nn.ReLU()}
        self.again = [self.first]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.by_name["ours"][0](self.hid[0](self.first(x))))


def test_layers_that_torch_does_not_see_are_named_by_attribute() -> None:
    expected = (
        "layers that torch does not see stay as they are: '0.hid' (Linear, Conv1d), '0.by_name' "
        "(Linear); put them into an nn.ModuleList (or nn.ModuleDict), without which no optimiser, "
        ".to() or state_dict() reaches them either"
    )
    network = nn.Sequential(Listed())
    assert said_by(convert, network, "shift", keep_last=False) == [expected]
    images = torch.randn(2, 8, 8, 8)
    assert said_by(quantize, network, [images], layers="all") == [expected]


def test_a_parent_is_no_part() -> None:
    parent = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    child = nn.Sequential(nn.Linear(2, 2), parent[0], nn.Linear(2, 2))
    parent.add_module("child", child)
    object.__setattr__(child, "parent", parent)
    assert said_by(convert, child, "shift", keep_last=False) == []
