"""Every registered network with every operator, counted at its published resolution.

The taps are checked against a counter of our own that knows nothing of torch's dispatcher: an
output element of a layer costs one row of its weights.
"""

import json
import time

import pytest
import torch
from model_samples import GREY, sampled
from torch import Tensor, nn

from saa_lite.costs import ACCOUNTINGS, Costs, count
from saa_lite.models import create_model, describe
from saa_lite.nn import AdderScores, DotScores, WeightedValues


def network(name: str, kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The published form without numbers, and the shape of one image."""
    channels, size = 1 if name in GREY else 3, describe(name).input_size
    with torch.device("meta"):
        model = create_model(name, conv=kind, in_channels=channels).eval()
    return model, (1, channels, size, size)


def taps_by_hooks(model: nn.Module, shape: tuple[int, ...]) -> int:
    total = 0

    def of_weights(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weights = next(p for p in layer.parameters(recurse=False) if p.dim() > 1)
        total += output.numel() * weights[0].numel()

    def of_attention(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * inputs[0].shape[-1]

    for layer in model.modules():
        if any(p.dim() > 1 for p in layer.parameters(recurse=False)) and layer is not model:
            layer.register_forward_hook(of_weights)
        if isinstance(layer, (DotScores, AdderScores, WeightedValues)):
            layer.register_forward_hook(of_attention)
    with torch.no_grad():
        model(torch.empty(shape, device="meta"))
    return total


@pytest.mark.parametrize(("name", "kind"), sampled())
def test_every_network_with_every_operator(name: str, kind: str) -> None:
    model, shape = network(name, kind)
    costs = count(model, shape)
    assert any(counted_within_a_second(model, shape) for _ in range(3))
    text = json.dumps(costs.as_dict(), allow_nan=False)
    assert (costs.unknown, costs.unused) == ({}, ())
    assert json.loads(text)["total"]["multiply"] == costs.multiply
    assert costs.parameters == sum(p.numel() for p in model.parameters())
    priced = {name: costs.energy(name) for name in ACCOUNTINGS}
    assert {name for name, energy in priced.items() if energy is None} == (
        {"A"} if costs.xnor else set()
    )
    assert costs.taps == taps_by_hooks(model, shape)
    operators_add_up(costs, kind)


def counted_within_a_second(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """On a core of its own: other programs' turns do not count."""
    start = time.thread_time()
    count(model, shape)
    return time.thread_time() - start < 1


def operators_add_up(costs: Costs, kind: str) -> None:
    """Every tap is one multiplication, shift or XNOR and one addition, or two additions."""
    others = costs.taps - costs.multiply - costs.shift - costs.xnor
    assert costs.add == costs.taps + others
    used = {"shift": costs.shift, "xnor": costs.xnor, "adder": others}
    assert {operator for operator, taps in used.items() if taps} == {
        "conv": set(),
        "adder": {"adder"},
        "shift": {"shift"},
        "shift-ps": {"shift"},
        "binary": {"xnor"},
        "shiftadd": {"shift", "adder"},
    }[kind]


def test_adder_transformer_by_hand() -> None:
    """197 tokens of 192 features, 12 blocks of 3 heads; the identity term adds the values."""
    costs = count(*network("deit_tiny", "adder"))
    tokens, width, blocks = 197, 192, 12
    scores = values = tokens**2 * width  # 3 heads of 64 features each
    linear = tokens * width * width * (3 + 1 + 4 + 4)
    ends = 196 * width * 16 * 16 * 3 + width * 10
    assert costs.multiply == ends + blocks * values
    assert costs.add == ends + blocks * (values + 2 * scores + 2 * linear)
    block = "blocks.0.attention"
    assert costs[f"{block}.scores"].count("add") == 2 * scores
    assert costs[f"{block}.scores"].count("multiply") == 0
    assert costs[f"{block}.scores"].count("elementwise_multiply") == 3 * tokens**2  # τ
    assert costs[f"{block}.values"].count("multiply") == values
    assert costs[f"{block}.values"].count("elementwise_add") == tokens * width  # + I·v
    plain = count(*network("deit_tiny", "conv"))
    assert plain[f"{block}.values"].count("elementwise_add") == 0
    assert plain.taps == costs.taps
