"""Which layers convert() leaves at the ends: by flow, not by the order of definition."""

import copy

import pytest
import torch
from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.nn import convert
from saa_lite.nn.plan import KIND_OF
from saa_lite.quantize import quantize


class Heads(nn.Module):
    """One head is defined before everything else, the other before the layer it follows."""

    def __init__(self) -> None:
        super().__init__()
        self.head_a, self.head_b = nn.Linear(6, 2), nn.Linear(6, 3)
        self.body = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 6))
        self.stem, self.norm = nn.Linear(4, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        features = self.body(self.norm(self.stem(x)))
        return {"logits": [self.head_a(features).softmax(-1), self.head_b(features.relu())]}


class Branching(Heads):
    """The same; ``torch.fx`` cannot trace it."""

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        return super().forward(x if x.sum() > 0 else -x)


class Towers(nn.Module):
    """Two stems; a shortcut from one of them to the output, past the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.left = nn.Linear(4, 4), nn.Linear(4, 4)
        self.unused, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        return self.last(left + self.right(x).relu_()) + left


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def kept(network: nn.Module, **options) -> set[str]:
    """Layers that still multiply."""
    converted = convert(network, "shift", **options)
    return {n for n, part in converted.named_modules() if KIND_OF.get(type(part)) == "conv"}


@pytest.mark.parametrize("options", [{}, {"example": X}], ids=["graph", "pass"])
def test_heads_and_stem_stay_wherever_they_are_defined(options: dict) -> None:
    assert kept(Heads(), **options) == {"stem", "head_a", "head_b"}
    assert kept(Heads(), keep_last=False, **options) == {"stem"}
    assert kept(Heads(), keep_first=False, **options) == {"head_a", "head_b"}
    assert kept(nn.DataParallel(Heads()), **options) == {
        "module.stem",
        "module.head_a",
        "module.head_b",
    }


def test_an_example_tells_where_there_is_no_graph() -> None:
    network = Branching().requires_grad_(False)
    assert kept(network, example=(X,)) == {"stem", "head_a", "head_b"}
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


@pytest.mark.parametrize("gradients", [True, False])
def test_without_graph_and_example_the_first_pass_tells(gradients: bool) -> None:
    """With gradients what depends on what; without, what is called first and last."""
    assert kept(Branching()) == {"head_a", "stem"}  # the first and the last by definition
    converted = convert(Branching(), "shift")
    for network in (converted, copy.deepcopy(converted)):
        with torch.set_grad_enabled(gradients):
            with pytest.warns(UserWarning, match="by the order of .*: 'head_b' no longer multiply"):
                network(X)
            network(X)  # said once
        assert not any(part._forward_hooks for part in network.modules())
    for options in ({"keep": ["head_b"]}, {"keep_last": False, "keep": ["stem"]}):
        with torch.set_grad_enabled(gradients):
            convert(Branching(), "shift", **options)(X)


@pytest.mark.parametrize("options", [{}, {"example": X}], ids=["graph", "pass"])
@pytest.mark.filterwarnings("ignore:the first pass:UserWarning")
def test_several_first_layers_and_a_shortcut(options: dict) -> None:
    assert kept(Towers(), **options) == {"left", "right", "last"}


def test_layers_inside_a_module_that_is_not_traced() -> None:
    encoder = nn.Sequential(
        nn.Linear(4, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.LayerNorm(8)
    )
    with pytest.warns(UserWarning, match="MultiheadAttention"):
        assert kept(encoder) == {"0", "1.linear2"}


def test_kept_by_name() -> None:
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    assert kept(network, keep=["3", "5"]) == {"0", "3", "5", "11"}
    assert kept(network, keep="1*", keep_first=False, keep_last=False) == {"1", "10", "11"}
    with pytest.raises(UsageError, match=r"keep must name layers, which are: '0', .*; got 'head'"):
        convert(network, "shift", keep=["head"])


@pytest.mark.parametrize("example", [torch.randn(3, 4), (torch.randn(3, 4), None)])
def test_an_example_that_reaches_no_layer(example: object) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor, mask: None = None) -> Tensor:
            return x * 2

    with pytest.raises(UsageError, match="a pass over the example must call the layers; this"):
        convert(Idle(), "shift", example=example)


def test_quantisation_keeps_more_bits_at_the_same_ends() -> None:
    """Its calibration images are the example."""
    torch.manual_seed(0)
    found = quantize(Branching(), [X], method="nearest", bits=3, layers="all", reestimate=False)
    bits = {name: part.bits for name, part in found.named_modules() if hasattr(part, "bits")}
    inner = dict.fromkeys(("body.0", "body.3"), 3)
    assert bits == inner | dict.fromkeys(("stem", "head_a", "head_b"), 8)


def test_an_output_without_gradient_goes_by_the_order_of_calls() -> None:
    class Decides(Heads):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x)["logits"][1].argmax(-1)

    assert kept(Decides(), example=X) == {"stem", "head_b"}
