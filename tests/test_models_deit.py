"""What is particular to the transformer: its adder and shift forms."""

import pytest
import torch
from torch import nn

from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.models.deit import Attention, TokenNorm, token_linear
from saa_lite.nn import AdderLinear, AdderScores, DotScores, ShiftLinear, ShiftPSLinear


def meta(kind: str) -> nn.Module:
    with torch.device("meta"):
        return create_model("deit_tiny", conv=kind, small_input=True)


def test_adder_form_has_adder_layers_with_norms_and_adder_scores() -> None:
    model = meta("adder")
    adders = {name: m for name, m in model.named_modules() if isinstance(m, AdderLinear)}
    assert len(adders) == 12 * 4
    for name, layer in adders.items():
        norm = model.get_submodule(name.removesuffix("adder") + "norm")
        assert isinstance(norm, TokenNorm)
        assert norm.num_features == layer.out_features
        assert layer.bias is None
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(AdderScores) == 12
    assert DotScores not in kinds
    assert all(block.attention.values.identity for block in model.blocks)


def test_small_twin_is_the_same_network_but_for_its_sizes() -> None:
    with torch.device("meta"):
        mini = create_model("deit_mini", conv="adder")
    assert (len(mini.blocks), mini.positions.shape) == (4, (1, 65, 64))
    assert mini.blocks[0].attention.heads == 2
    assert [type(m) for m in mini.blocks[0].modules()] == [
        type(m) for m in meta("adder").blocks[0].modules()
    ]


@pytest.mark.parametrize(("kind", "layer"), [("shift", ShiftLinear), ("shift-ps", ShiftPSLinear)])
def test_shift_form_has_shift_layers_and_plain_attention(kind: str, layer: type) -> None:
    model = meta(kind)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(layer) == 12 * 4
    assert kinds.count(DotScores) == 12
    assert not any(block.attention.values.identity for block in model.blocks)


def test_shift_ps_starts_at_powers_of_two_near_small_weights() -> None:
    torch.manual_seed(0)
    weight = token_linear("shift-ps", 192, 192).weight
    assert 0.015 < weight.std() < 0.025
    assert weight.abs().log2().frac().count_nonzero() == 0


def test_adder_attention_by_the_formula() -> None:
    """(softmax(−τ·Σ|q − k|) + I)·v for every head, then the projection."""
    torch.manual_seed(0)
    layer = Attention("adder", 12, heads=3).double().eval()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    qkv = layer.qkv(tokens)
    heads = []
    for head in range(3):
        query, key, value = (
            qkv[..., start + 4 * head : start + 4 * head + 4] for start in (0, 12, 24)
        )
        weights = (-torch.cdist(query, key, p=1) / 2).softmax(-1)  # τ = 1/√4
        heads.append(weights @ value + value)
    expected = layer.project(torch.cat(heads, -1))
    torch.testing.assert_close(layer(tokens), expected)


def test_token_norm_is_batch_norm_over_images_and_tokens() -> None:
    torch.manual_seed(0)
    tokens = 3 + 2 * torch.randn(4, 6, 5)
    normal = TokenNorm(5)(tokens)
    assert normal.mean((0, 1)).abs().max() < 1e-5
    torch.testing.assert_close(normal.var((0, 1), correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="positions for images of 32×32; got 32×64"):
        create_model("deit_tiny", small_input=True)(torch.zeros(1, 3, 32, 64))
