"""Item eq-gradients: the checks notice a wrong equation, the cosines are those of the formula."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from saa_lite.items.addernet_impacts import eq_gradients
from saa_lite.items.addernet_impacts.eq_gradients import (
    QUANTITIES,
    SLOPES,
    Settings,
    layer_directions,
    part_directions,
    sign_cosine,
    slope_per_decade,
    weight_gradients,
)
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.nn import AdderConv2d
from saa_lite.ops import reference

TINY = Settings(2, "digits", 40, 20, 1, 2, 1, demo_images=20, demo_epochs=1, batch_size=20)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [AdderConv2d(1, 4, 3, adaptive_lr="off"), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers, AdderConv2d(4, 3, 6, adaptive_lr="off"), nn.Flatten())


def batch() -> tuple[int, torch.Tensor, torch.Tensor]:
    return 0, torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_kernels_follow_the_equations(quantity: str) -> None:
    assert max(eq_gradients.relative_error(quantity, seed) for seed in range(4)) < 1e-12


def test_a_wrong_equation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "weight_surrogate", lambda d, kind: d.clamp(-1, 1))
    assert eq_gradients.relative_error("weight gradient", 0) > 1e-3


def test_cosine_of_known_gradients() -> None:
    spike = torch.zeros(100)
    spike[3] = -2.0
    assert sign_cosine(spike) == pytest.approx(0.1)  # the lower bound 1/√n
    assert sign_cosine(torch.tensor([3.0, -3.0, 3.0])) == pytest.approx(1.0)
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert sign_cosine(normal) == pytest.approx(math.sqrt(2 / math.pi), abs=3e-3)


def test_slope_is_per_tenfold_dimension() -> None:
    rows = [{"dimension": 10.0**e, "sign_cosine": 0.9 - 0.1 * e} for e in range(4)]
    assert slope_per_decade(rows, "sign_cosine") == pytest.approx(-0.1)


def test_gradient_kinds_differ_in_the_weight_gradient_alone(net: nn.Module) -> None:
    _, images, labels = batch()
    full, sign = (weight_gradients(net, images, labels, kind) for kind in ("full", "sign"))
    assert [layer.weight_gradient for layer in (net[0], net[3])] == ["full", "full"]
    assert all(layer.weight.grad is None for layer in (net[0], net[3]))
    assert not torch.allclose(full[1], sign[1])
    assert all(a.shape == b.shape for a, b in zip(full, sign, strict=True))


def test_rows_name_layer_and_dimension(net: nn.Module) -> None:
    rows = layer_directions(net, [batch(), batch()])
    assert [row["dimension"] for row in rows] == [36, 432]
    assert all(0 < row["sign_cosine"] <= 1 for row in rows)
    assert all(-1 <= row["layer_cosine"] <= 1 for row in rows)


def test_parts_of_a_gaussian_gradient_have_no_slope_beyond_small_dimension() -> None:
    gradient = torch.randn(50_000, generator=torch.Generator().manual_seed(1))
    rows = part_directions([gradient, gradient[:10]], seed=0)
    assert [row["dimension"] for row in rows] == [1, 10, 100, 1_000, 10_000]
    assert rows[0]["sign_cosine"] == pytest.approx(1)
    assert abs(slope_per_decade(rows[2:], "sign_cosine")) < 5e-3


def test_item_runs_records_and_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    item = get_item("addernet-impacts/eq-gradients")
    records = run_item(item, Context("smoke", progress=False), settings=TINY)
    metrics = sorted(record.metric for record in records)
    assert metrics == sorted([*SLOPES * 2, *["relative_error"] * len(QUANTITIES)])
    definition, worsens = (claim.samples(records) for claim in item.claims)
    assert definition.holds
    assert len(worsens.values) == 2
    assert item.draw is not None
    assert "2 seeds" in item.draw(records, []).get_suptitle()
    again = run_item(item, Context("smoke", progress=False), settings=TINY)
    assert [record.created for record in again] == [record.created for record in records]
