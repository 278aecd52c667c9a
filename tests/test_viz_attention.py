"""Attention maps: caught from the networks, measured, drawn."""

import math
import time

import pytest
import torch
from matplotlib.figure import Figure
from model_samples import build
from torch import nn

from saa_lite.viz.attention import (
    HEADS,
    attention_figure,
    attention_maps,
    attention_numbers,
    effective_rank,
    entropy,
    one_map,
)
from saa_lite.viz.panel import numbers_line, png

START = {"image": 0.0, "layer": 1.0, "head": HEADS}
STEPS = {"image": 1.0, "layer": 2.0, "head": "2"}


def made(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random maps of 2 layers, 3 images, 2 heads, 17 tokens."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(2, 3, 2, 17, 17, generator=generator).softmax(-1)
        for name in ("conv", "adder")
    }


def hooks_of(model: nn.Module) -> list[int]:
    return [len(module._forward_pre_hooks) for module in model.modules()]


@pytest.mark.parametrize("conv", ["conv", "adder"])
def test_maps_of_a_transformer(conv: str) -> None:
    torch.manual_seed(0)
    model, images = build("deit_mini", conv), torch.randn(2, 3, 32, 32)
    before = hooks_of(model)
    maps = attention_maps(model, images)
    assert maps.shape == (4, 2, 2, 65, 65)
    torch.testing.assert_close(maps.sum(-1), torch.ones(4, 2, 2, 65))
    assert not maps.requires_grad
    assert hooks_of(model) == before
    alone = attention_maps(model, images[1:])
    torch.testing.assert_close(alone[:, 0], maps[:, 1], atol=1e-4, rtol=1e-3)


def test_entropy_counts_tokens() -> None:
    assert float(entropy(torch.full((16,), 1 / 16))) == pytest.approx(4)
    assert float(entropy(torch.eye(4)[0])) == 0


def test_effective_rank() -> None:
    alike = torch.rand(8).softmax(0).expand(8, 8)
    assert float(effective_rank(alike)) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(torch.eye(8))) == pytest.approx(8)
    assert float(effective_rank(alike + torch.eye(8))) > 7


def test_one_map_chooses() -> None:
    maps = made()["conv"]
    assert torch.equal(one_map(maps, 2.0, 1.0, "2"), maps[0, 2, 1])
    torch.testing.assert_close(one_map(maps, 0.0, 2.0, HEADS), maps[1, 0].mean(0))


def test_numbers_name_both_networks() -> None:
    numbers = attention_numbers(made(), **START)
    assert list(numbers) == [
        "products: bits",
        "products: rank",
        "distances: bits",
        "distances: rank",
        "distances: rank with I",
    ]
    assert 0 < numbers["products: bits"] < math.log2(17)
    assert numbers["distances: rank with I"] > numbers["distances: rank"]


@pytest.mark.parametrize("control", STEPS)
def test_every_control_moves_a_printed_number(control: str) -> None:
    maps = made()
    moved = attention_numbers(maps, **{**START, control: STEPS[control]})
    assert numbers_line(moved) != numbers_line(attention_numbers(maps, **START))


@pytest.mark.parametrize("channels", [1, 3])
def test_figure(channels: int) -> None:
    images = torch.randn(3, channels, 16, 16)
    figure = attention_figure(images, made(), **START)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 5 + 4  # pictures, then the scales of the maps
    looked = figure.axes[1].images[0].get_array()
    expected = one_map(made()["conv"], 0, 1, HEADS)[0, 1:].reshape(4, 4)
    assert looked.tolist() == expected.tolist()
    assert png(figure).startswith(b"\x89PNG")


def test_numbers_are_quick() -> None:
    maps = {name: torch.rand(4, 8, 2, 65, 65).softmax(-1) for name in ("conv", "adder")}
    attention_numbers(maps, **START)
    started = time.thread_time()
    attention_numbers(maps, **START)
    assert time.thread_time() - started < 0.25
