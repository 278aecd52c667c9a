"""Weights that a network reads itself: found in its graph, in a pass, or in its first one."""

import copy
import io
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import SwinTransformer

from saa_lite.nn import ShiftLinear, adaptive_lr, convert
from saa_lite.nn.first_pass import FirstPass
from saa_lite.nn.reads import WeightReads

KEPT = {"keep_first": False, "keep_last": False}
READ = r"the network reads the weight of 'qkv' itself, past the layer"


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


class Attention(nn.Module):
    """Reads the weight of ``qkv`` and never calls it, as some vision transformers do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.qkv, self.head = nn.Linear(8, 8), nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.linear(self.stem(x), self.qkv.weight, self.qkv.bias).chunk(3, -1)
        return self.head(F.scaled_dot_product_attention(q, k, v))


class Branching(Attention):
    """The same; ``torch.fx`` cannot follow it, as it asks for a size."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if len(x) else x


X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def converted_noisily(network: nn.Module, kind: str = "shift", **options) -> tuple:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return convert(network, kind, **KEPT, **options), [str(w.message) for w in said]


@pytest.mark.parametrize("kind", ["shift", "shift-ps", "binary"])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: nn.Sequential(n, nn.Identity())])
def test_a_layer_that_is_read_stays_and_is_named(kind: str, wrap) -> None:
    network = Attention().eval()
    with pytest.warns(UserWarning, match=r"not converted: .* of '(0\.)?qkv' itself"):
        converted = convert(wrap(network), kind, **KEPT)
    inner = converted if isinstance(converted, Attention) else converted[0]
    assert type(inner.qkv) is nn.Linear
    assert torch.equal(inner.qkv.weight, network.qkv.weight)
    assert type(inner.stem) is type(convert(nn.Linear(8, 8), kind))
    q, k, v = network.qkv(inner.stem(X)).chunk(3, -1)
    scores = (q @ k.mT / 8**0.5).softmax(-1)
    torch.testing.assert_close(converted(X), inner.head(scores @ v))


def test_weights_to_be_drawn_anew_are_kept_where_they_are_read() -> None:
    network = Attention()
    converted, said = converted_noisily(network, "adder")
    assert torch.equal(converted.qkv.weight, network.qkv.weight)
    assert any("reads the weight of 'qkv'" in message for message in said)


class TiedDecoder(nn.Module):
    """Calls its layer and reads its weight as well."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.middle = nn.Linear(6, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.middle(self.encode(x)), self.encode.weight.t())


class OnlyInEvaluation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(x)
        return self.first(y) if self.training else y @ self.first.weight.T + self.first.bias


class Alias(nn.Module):
    """The weight under a name of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(6, 6), nn.Linear(6, 6)
        self.matrix = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.middle(self.first(x)) @ self.matrix


@pytest.mark.parametrize(
    ("network", "name", "called"),
    [
        (TiedDecoder(), "encode", {"encode", "middle"}),
        (OnlyInEvaluation(), "first", {"middle"}),
        (Alias(), "first", {"first", "middle"}),
    ],
)
def test_relatives(network: nn.Module, name: str, called: set[str]) -> None:
    converted, said = converted_noisily(network.train())
    assert type(converted.get_submodule(name)) is nn.Linear
    assert type(converted.middle) is ShiftLinear
    assert [f"'{name}' itself" in message for message in said] == [True]
    with torch.no_grad(), WeightReads(network.eval(), [name, "middle"]) as reads:
        network(torch.randn(2, 6))
    assert reads.read == {name}
    assert reads.called == called


def test_swin_transformers_of_torchvision() -> None:
    torch.manual_seed(0)
    network = SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=3).eval()
    converted, said = converted_noisily(network)
    read = [n for n, _ in network.named_modules() if n.endswith(("attn.qkv", "attn.proj"))]
    assert len(read) == 4
    assert all(type(converted.get_submodule(name)) is nn.Linear for name in read)
    assert all(repr(name) in said[0] for name in read)
    assert sum(isinstance(part, ShiftLinear) for part in converted.modules()) == 6


class AsksForLooks(nn.Module):
    """Shape, dtype and device of a weight are not its values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight
        x = x.to(weight.dtype).to(weight).view(-1, weight.shape[1]).to(weight.device)
        return self.second(self.first(x)) + torch.zeros_like(weight)[0] + weight.new_ones(1)


def test_looks_may_be_asked_for() -> None:
    converted, said = converted_noisily(AsksForLooks())
    assert said == []
    assert type(converted.first) is type(converted.second) is ShiftLinear
    with WeightReads(converted, ["first", "second"]) as reads:
        converted(torch.randn(2, 6))
    assert (reads.read, reads.called) == (set(), {"first", "second"})


class TiedEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.middle, self.answer = nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6)
        self.answer.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.middle(self.words(x)) if len(x) else self.words(x))


def test_an_embedding_may_hold_the_weight() -> None:
    converted, said = converted_noisily(TiedEmbedding())
    assert said == []
    converted(torch.tensor([1, 3]))  # would warn
    assert type(converted.answer) is ShiftLinear
    assert not converted._forward_hooks


def copied(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network)


def saved(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("handed_on", [lambda n: n, copied, saved, nn.DataParallel])
def test_the_first_pass_tells_where_no_graph_can(handed_on) -> None:
    network, said = converted_noisily(Branching().eval())
    assert said == []
    network = handed_on(network)
    with pytest.warns(UserWarning, match=READ):
        first = network(X)
    assert torch.equal(network(X), first)  # and is silent
    inner = network.module if isinstance(network, nn.DataParallel) else network
    hooks = (inner._forward_hooks, inner._forward_pre_hooks, inner._forward_hooks_always_called)
    assert not any(hooks)


def test_a_wrapped_network_is_watched_inside() -> None:
    converted, said = converted_noisily(nn.DataParallel(Branching().eval()))
    assert said == []
    with pytest.warns(UserWarning, match=READ):
        converted(X)
    with pytest.warns(UserWarning, match=r"the weight of 'module\.qkv'"):
        convert(nn.DataParallel(Attention()), "shift", **KEPT)


def test_failed_and_compiled_and_exported_passes_leave_the_question_open() -> None:
    network, _ = converted_noisily(Branching().eval())
    with pytest.raises(RuntimeError):
        network(X[..., :3])
    assert torch.overrides._get_current_function_mode() is None
    compiled = torch.compile(network, backend="eager", fullgraph=True)(X)
    exported = torch.export.export(network, (X,)).module()(X)
    assert torch.equal(exported, compiled)
    with pytest.warns(UserWarning, match=READ):
        assert torch.equal(network(X), compiled)


class Forgets(Branching):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(8, 8)


def test_a_layer_without_a_call_is_named() -> None:
    network, _ = converted_noisily(Forgets())
    network.qkv = nn.Identity()  # replaced after conversion: no longer asked about
    network.qkv.weight, network.qkv.bias = torch.randn(24, 8), None
    with pytest.warns(UserWarning, match=r"did not call 'spare': .* keep=.* call"):
        network(X)


def test_attention_of_torch_reads_the_layer_in_its_projections_place() -> None:
    attention = nn.MultiheadAttention(8, 2)
    attention.out_proj = nn.Linear(8, 8)
    network = nn.Sequential(nn.Linear(8, 8), attention)
    converted, said = converted_noisily(network)
    assert type(converted[1].out_proj) is nn.Linear
    assert type(converted[0]) is ShiftLinear
    assert said == [
        "convert() leaves as they are: MultiheadAttention ('1')",
        "not converted: the network reads the weight of '1.out_proj' itself, past the layer, and "
        "goes on multiplying there; call the layer instead",
    ]


def test_return_to_multiplication_asks_nothing() -> None:
    converted, said = converted_noisily(Branching(), "conv")
    assert said == []
    assert not any(isinstance(h, FirstPass) for h in converted._forward_hooks.values())
    assert not converted._forward_hooks
