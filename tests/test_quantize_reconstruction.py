"""The engine under AdaRound, BRECQ and QDrop: losses, drops, what is switched on when."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from saa_lite.quantize import quantize_convolution, reconstruction
from saa_lite.quantize.convolution import RECIPES
from saa_lite.quantize.layers import input_quantizers, quantized_layers
from saa_lite.quantize.recipe import (
    MOST_ROUNDING_RATE,
    MOST_STEP_RATE,
    PUBLISHED_ITERATIONS,
    Phase,
)
from saa_lite.quantize.reconstruction import Samples, optimise


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def samples(weights: Tensor | None = None, exact: Tensor | None = None) -> Samples:
    return Samples(torch.zeros(6, 3, 4), exact, torch.arange(72.0).view(6, 3, 4), weights)


@pytest.mark.parametrize("power", [2.0, 2.4])
@pytest.mark.parametrize("weighted", [False, True])
def test_error_is_summed_over_channels_and_averaged_over_the_rest(
    power: float, weighted: bool
) -> None:
    weights = torch.rand(6, 3, 4) if weighted else None
    outputs, indices = torch.randn(2, 3, 4), torch.tensor([5, 1])
    found = samples(weights).error(outputs, indices, power)
    expected = 0.0
    for row, image in enumerate(indices.tolist()):
        for channel in range(3):
            for place in range(4):
                target = float(image * 12 + channel * 4 + place)
                weight = 1.0 if weights is None else float(weights[image, channel, place])
                off = abs(float(outputs[row, channel, place]) - target)
                expected += weight * off**power / (2 * 4)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_inputs_are_mixed_element_by_element() -> None:
    """QDrop: each element is the quantised network's with probability ``keep``."""
    mixed = Samples(torch.zeros(4, 5000), torch.ones(4, 5000), torch.zeros(4, 1), None)
    given = mixed.batch(torch.tensor([0, 1, 2, 3]), 0.3)
    assert set(given.unique().tolist()) == {0.0, 1.0}
    assert float((given == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert not torch.equal(given[0], given[1])
    alone = Samples(torch.zeros(4, 8), None, torch.zeros(4, 1), None)
    assert torch.equal(alone.batch(torch.tensor([2]), 1.0), torch.zeros(1, 8))


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def watched(method: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is on while each unit is optimised: one entry per unit and phase."""
    seen: list[dict[str, Any]] = []
    original: Callable[..., float] = optimise

    def noted(unit: nn.Module, given: Samples, phase: Phase, iterations: int, bar: tqdm) -> float:
        before = [quantizer.enabled for quantizer in input_quantizers(unit)]
        found = original(unit, given, phase, iterations, bar)
        seen.append(
            {
                "layers": len(list(quantized_layers(unit))),
                "inputs": before,
                "mixed": given.exact is not None,
                "weighted": given.weights is not None,
                "iterations": iterations,
                "power": phase.power,
            }
        )
        return found

    monkeypatch.setattr(reconstruction, "optimise", noted)
    quantize_convolution(network(), torch.randn(8, 1, 6, 6), method, iterations=8, progress=False)
    return seen


def test_adaround_learns_layers_on_quantised_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched("adaround", monkeypatch)
    assert [entry["layers"] for entry in seen] == [1, 1, 1]
    assert all(entry["inputs"] == [True] for entry in seen)
    assert not any(entry["mixed"] or entry["weighted"] for entry in seen)


def test_brecq_learns_roundings_first_then_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched("brecq", monkeypatch)
    assert [entry["layers"] for entry in seen] == [1, 1, 1] * 2
    first, second = seen[:3], seen[3:]
    assert all(entry["weighted"] and entry["inputs"] == [False] for entry in first)
    assert all(not entry["weighted"] and entry["inputs"] == [True] for entry in second)
    assert [entry["iterations"] for entry in seen] == [8] * 3 + [2] * 3
    assert {entry["power"] for entry in second} == {2.4}


def test_brecq_on_quantised_inputs_differs_in_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published, control = watched("brecq", monkeypatch), watched("brecq-inputs", monkeypatch)
    assert all(entry["inputs"] == [True] for entry in control)
    for entry in (*published, *control):
        entry.pop("inputs")
    assert control == published


def test_qdrop_learns_all_at_once_and_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched("qdrop", monkeypatch)
    assert len(seen) == 3
    assert all(entry["mixed"] and not entry["weighted"] for entry in seen)
    (phase,) = RECIPES["qdrop"].phases
    assert (phase.keep, phase.learns_rounding, phase.learns_steps) == (0.5, True, True)


def test_published_rates_at_the_published_iterations() -> None:
    """20,000 iterations at 1e-3 for roundings; 4e-4 for 5,000, and 4e-5, for steps."""
    rate = reconstruction.ROUNDING_TRAVEL / PUBLISHED_ITERATIONS
    assert rate == pytest.approx(1e-3)
    steps = RECIPES["brecq"].phases[1]
    count = PUBLISHED_ITERATIONS * steps.share
    assert (count, steps.step_travel / count) == (5000, pytest.approx(4e-4))
    assert RECIPES["qdrop"].phases[0].step_travel / PUBLISHED_ITERATIONS == pytest.approx(4e-5)


def test_rates_stay_small_where_iterations_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One iteration moves a rounding by 0.2 and a step by 2 % at most."""
    original, images = network(), torch.randn(8, 1, 6, 6)
    quantized = quantize_convolution(original, images, "nearest", edges="same", progress=False)
    unit, given = quantized[0], torch.randn(8, 1, 6, 6)
    with torch.no_grad():  # a finished layer holds rounded weights, which have one neighbour only
        unit[0].weight.copy_(original[0][0].weight)
        unit[2].weight.copy_(original[0][2].weight)
    targets = torch.randn(8, 4, 6, 6)
    starts: list[Tensor] = []
    moved: list[float] = []
    soften, harden = reconstruction._soften, reconstruction._harden

    def softened(layers: Any) -> list[nn.Parameter]:
        parameters = soften(layers)
        starts.extend(parameter.detach().clone() for parameter in parameters)
        return parameters

    def hardened(layers: Any) -> float:
        ends = [layer.weight_quantizer.v.detach() for layer in layers]
        moved.extend(float((b - a).abs().max()) for a, b in zip(starts, ends, strict=True))
        return harden(layers)

    monkeypatch.setattr(reconstruction, "_soften", softened)
    monkeypatch.setattr(reconstruction, "_harden", hardened)
    phase = Phase(learns_rounding=True, learns_steps=True, step_travel=1e6)
    with tqdm(disable=True) as bar:
        optimise(unit, Samples(given, None, targets, None), phase, 1, bar)
    assert moved == pytest.approx([MOST_ROUNDING_RATE] * 2, rel=1e-3)  # Adam's first step
    for quantizer in input_quantizers(unit):
        assert abs(float(quantizer.scale) - 1) == pytest.approx(MOST_STEP_RATE, rel=1e-3)


def test_learned_steps_recover_from_a_bad_start() -> None:
    """A step half as wide clips half of the inputs; reconstruction widens it again."""
    layer, images = nn.Conv2d(3, 8, 3), torch.randn(256, 3, 8, 8).relu()
    quantized = quantize_convolution(
        layer, images, "nearest", bits=8, activation_bits=3, edges="same"
    )
    targets, (quantizer,) = layer(images).detach(), input_quantizers(quantized)
    given = Samples(images, None, targets, None)
    best = reconstruction.mean_squared_error(quantized, given)
    quantizer.initial_step *= 0.5
    start = reconstruction.mean_squared_error(quantized, given)
    with tqdm(disable=True) as bar:
        optimise(quantized, given, Phase(learns_steps=True, step_travel=8.0), 100, bar)
    found = reconstruction.mean_squared_error(quantized, given)
    assert start > 3 * best
    assert found < 1.15 * best
    assert float(quantizer.scale) == pytest.approx(2, rel=0.25)
    assert not quantizer.scale.requires_grad
