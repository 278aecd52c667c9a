"""Energy: the simulator's rules against a plain loop over splits, and the numbers of its figure."""

import itertools

import pytest
import torch
from torch import nn

from saa_lite.costs import ACCOUNTINGS, count, price, price_list
from saa_lite.costs.energy import access_prices, energy, operand_traffic
from saa_lite.costs.row_stationary import (
    Loops,
    as_matrix_product,
    choose,
    factorisations,
    valid_splits,
)
from saa_lite.models import create_model
from saa_lite.nn import make_conv

ENDS = ("stem.conv", "classifier")
LAYERS = (
    Loops(1, 6, 8, (9, 9), (4, 4), (3, 3), 2),
    Loops(12, 1, 1, (8, 8), (8, 8), (5, 5), 1),  # depthwise: channels are the batch
    Loops(7, 12, 10, (1, 1), (1, 1), (1, 1), 1, linear=True),
)


def splits_by_hand(layer: Loops, unit: tuple[float, ...]) -> list[tuple[float, float]]:
    """(memory energy, cycles) of every valid split, one at a time, as the rules are written."""
    (H, W), (E, F), (R, S), s = layer.input_size, layer.output_size, layer.kernel, layer.stride
    inputs = layer.batch * layer.channels * H * W
    weights = R * S * layer.channels * layer.filters
    outputs = layer.batch * layer.filters * E * F
    ways = (ordered(layer.batch, 2), ordered(layer.filters, 4), ordered(layer.channels, 3),
            ordered(E, 2))  # fmt: skip
    found = []
    for (N0, N3), (M0, M1, M2, M3), (C0, C1, C2), (E1, E3) in itertools.product(*ways):
        window = ((E1 - 1) * s + R) * ((F - 1) * s + S)
        fits = M0 <= 16 and M1 * C1 * E1 * R < 192 and C0 * S < 12 and M0 * C0 * S < 960
        fits = fits and N0 * C1 * C0 * window + N0 * M2 * M1 * M0 * E1 * F < 65536
        if not fits or (E1 == 1 and not layer.linear):
            continue
        noc = M3 * M2 * M1 * R * E / H * inputs
        counts = [
            M3 * inputs, N3 * E3 * weights, outputs,
            M3 * M2 * inputs, max(2 * (C2 - 1), 1) * outputs,
            noc, N3 * E3 * E1 * weights, max(C2 * (C1 * R - 1), 1) * outputs,
            noc * M0 * S * F / W, N3 * E3 * E1 * F * N0 * weights,
            max(2 * C2 * C1 * R * (C0 * S - 1), 1) * outputs,
        ]  # fmt: skip
        memory = sum(n * pj for n, pj in zip(counts, unit, strict=True))
        found.append((memory, N3 * N0 * M3 * M2 * M0 * C2 * C0 * E3 * F * S))
    return found


def ordered(number: int, parts: int) -> list[tuple[int, ...]]:
    every = itertools.product(range(1, number + 1), repeat=parts - 1)
    return [
        (*first, number // torch.tensor(first).prod().item())
        for first in every
        if number % torch.tensor(first).prod().item() == 0
    ]


@pytest.mark.parametrize("layer", LAYERS, ids=("conv", "depthwise", "linear"))
def test_splits_and_choice_against_a_plain_loop(layer: Loops) -> None:
    unit, tap = access_prices(), 3.7
    by_hand = splits_by_hand(layer, unit)
    assert valid_splits(layer).cycles.size == len(by_hand)
    total = [memory + tap * layer.taps for memory, _ in by_hand]
    cycles = [time for _, time in by_hand]
    scores = [
        (e - min(total)) / max(total) + (t - min(cycles)) / max(cycles)
        for e, t in zip(total, cycles, strict=True)
    ]
    best = min(m for (m, _), x in zip(by_hand, scores, strict=True) if x <= min(scores) + 1e-12)
    choice = choose(layer, tap, unit)
    assert choice.chosen == pytest.approx(best)
    assert choice.least == pytest.approx(min(memory for memory, _ in by_hand))


def test_factorisations_are_all_there_and_right() -> None:
    assert len(factorisations(12, 3)) == len(ordered(12, 3)) == 18
    assert (factorisations(12, 3).prod(1) == 12).all()


def test_a_layer_that_fits_no_split_is_a_matrix_product() -> None:
    patches = Loops(1, 3, 192, (224, 224), (14, 14), (16, 16), 16)
    product = as_matrix_product(patches)
    assert product.taps == patches.taps == 28_901_376
    assert valid_splits(patches).cycles.size == valid_splits(product).cycles.size > 0


def published(name: str, mult: float, shift: float, ends: tuple[str, ...] = ENDS) -> None:
    inner = count(create_model(name, 100), 160).without(ends)
    multiplied, shifted = inner.energy("A"), inner.as_operator("shift").energy("A")
    assert multiplied is not None
    assert shifted is not None
    assert multiplied.total == pytest.approx(mult, rel=0.02)
    assert shifted.total == pytest.approx(shift, rel=0.02)
    for found in (multiplied, shifted):  # another rule of choice would move it by 2 %
        assert found.least <= found.memory
        assert found.fastest == pytest.approx(found.memory, rel=0.02)


def test_simulator_on_mobilenet_v2() -> None:
    published("mobilenet_v2_w035", 2.47, 0.744)


def test_simulator_on_mobilenet_v3() -> None:
    published("mobilenet_v3_w035", 1.744, 0.528)


def test_simulator_charges_adders_no_traffic_and_has_no_rule_for_xnor() -> None:
    conv, adder, binary = (
        count(make_conv(kind, 16, 16, 3, padding=1, bias=False), (1, 16, 8, 8))
        for kind in ("conv", "adder", "binary")
    )
    assert adder.energy("A").compute == pytest.approx(0.9e-9 * adder.taps)
    assert conv.energy("A").compute == pytest.approx(3.7e-9 * conv.taps)
    assert adder.energy("A").memory < 0.8 * conv.energy("A").memory
    assert binary.energy("A") is None
    assert binary.energy("B") is not None


@pytest.mark.parametrize("operator", ["adder", "shift", "xnor"])
def test_honest_accounting_gives_every_method_the_same_memory(operator: str) -> None:
    costs = count(create_model("resnet20"), 32)
    other = costs.as_operator(operator)
    assert other.energy("B").memory == costs.energy("B").memory
    assert other.energy("B").compute < costs.energy("B").compute


def test_prices_of_a_tap() -> None:
    costs = count(nn.Linear(10, 10, bias=False), (1, 10))
    taps = 100
    tap = {"multiply": 3.7 + 0.9, "adder": 1.8, "shift": 0.13 + 0.9, "xnor": 0.004 + 0.9}
    for operator, pj in tap.items():
        compute = costs.as_operator(operator).energy("B").compute
        assert compute == pytest.approx(1e-9 * taps * pj)
    true = costs.as_operator("shift").energy("C").compute
    assert true == pytest.approx(1e-9 * taps * (0.13 + 0.1))


def test_true_widths_scale_the_traffic() -> None:
    costs = count(nn.Linear(64, 64, bias=False), (4, 64))
    (product,) = costs.layers[0].products
    traffic = operand_traffic(product)
    assert 32e-9 * sum(traffic.values()) == pytest.approx(costs.energy("B").memory)
    shift = costs.as_operator("shift").energy("C").memory
    expected = 1e-9 * (32 * traffic["input"] + 5 * traffic["weight"] + 32 * traffic["output"])
    assert shift == pytest.approx(expected)
    assert costs.energy("C") == costs.energy("B")


def test_nothing_costs_nothing() -> None:
    for accounting in ACCOUNTINGS:
        assert energy([], accounting).total == 0


def test_every_price_has_a_source_and_widths_between_are_between() -> None:
    assert all(p.source and p.locator and p.pj > 0 for p in price_list())
    assert price("multiply", "float", 32) == 3.7
    assert price("shift", "integer", 8) == 0.024
    assert price("add", "integer", 8) < price("add", "integer", 16) < price("add", "integer", 32)
    assert price("multiply", "integer", 16) == pytest.approx((0.2 * 3.1) ** 0.5)
    assert access_prices()[:3] == (200, 200, 200)
    assert access_prices()[-3:] == (3.7, 7.4, 3.7)
