"""What makes an augmented step cheap must not change what it computes, and its cost is counted."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from saa_lite.augment import AugmentedNet
from saa_lite.augment.config import Axis, Configuration
from saa_lite.augment.norm import add_first, first_channels
from saa_lite.augment.unit import WideConv
from saa_lite.costs import count
from saa_lite.items.shiftaddaug_supp import step_cost, step_memory
from saa_lite.items.shiftaddaug_supp.tab3 import PROFILES, training
from saa_lite.models import create_model
from saa_lite.nn import make_conv
from saa_lite.ops.shift import fixed_point, shift_quantize

X = torch.randn(4, 5, 6, 6, generator=torch.Generator().manual_seed(1))
SMALL = training(replace(PROFILES["smoke"], batch_size=2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_adding_to_the_first_channels(layout: torch.memory_format) -> None:
    x = X.clone().to(memory_format=layout).requires_grad_()
    first = torch.randn(4, 2, 6, 6).to(memory_format=layout).requires_grad_()
    weight = torch.randn_like(x.detach())
    seen = []
    first.register_hook(seen.append)
    added = add_first(x * 1, first)
    (added * weight).sum().backward()
    expected = X.clone()
    expected[:, :2] += first.detach()
    assert torch.equal(added, expected)
    assert torch.equal(x.grad, weight)
    assert torch.equal(first.grad, weight[:, :2])
    assert seen[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_taking_the_first_channels(layout: torch.memory_format) -> None:
    """The same values and gradients as a slice, in the layout of the whole."""
    x = X.clone().to(memory_format=layout).requires_grad_()
    kernel, weight = torch.randn(3, 5, 1, 1), torch.randn(4, 2, 6, 6)
    whole, first = first_channels(x * 1, 2)
    assert torch.equal(whole, x)
    assert torch.equal(first, x[:, :2])
    assert first.is_contiguous(memory_format=layout)
    (F.conv2d(whole, kernel).sum() + (first * weight).sum()).backward()
    gradient, x.grad = x.grad, None
    (F.conv2d(x * 1, kernel).sum() + (x[:, :2] * weight).sum()).backward()
    assert torch.equal(gradient, x.grad)


@pytest.mark.parametrize(
    ("reading", "p", "q"),
    [("block", 3, 2), ("output", 3, 5), ("input", 4, 2), ("free", 4, 5)],
)
def test_a_shift_hybrid_is_one_convolution(reading: str, p: int, q: int) -> None:
    """Weights of the rectangle are ±2^p, all inputs fixed-point; nothing else differs."""
    torch.manual_seed(0)
    inputs, outputs = Axis("in", 2, (1.0, 2.5)), Axis("out", 3, (1.0, 4 / 3))
    inputs.activate(2.5)
    outputs.activate(4 / 3)
    layer = make_conv("shift", 2, 3, 3, padding=1, bias=False)
    hybrid = WideConv(layer, nn.BatchNorm2d(3), inputs, outputs, reading=reading, combine="sum")
    assert hybrid.right is not None
    assert hybrid.below is not None
    weight = torch.cat([torch.cat([layer.weight, hybrid.right], 1), hybrid.below]).detach()
    rounded = weight.clone()
    rounded[:p, :q] = shift_quantize(weight[:p, :q])
    assert not torch.equal(rounded, weight)
    expected = F.batch_norm(F.conv2d(fixed_point(X), rounded, padding=1), None, None, training=True)
    torch.testing.assert_close(hybrid(X), expected, rtol=1e-5, atol=1e-5)
    # The gradient passes straight through the rounding, to every part.
    hybrid(X)[:, :, :3].square().sum().backward()
    for part in (layer.weight, hybrid.right, hybrid.below):
        assert part.grad is not None
        assert part.grad.abs().sum() > 0


def test_products_of_the_target_are_those_of_the_plain_network() -> None:
    base, (wide,) = step_cost.step_macs(SMALL, [0])
    net = create_model(SMALL.network, step_cost.CLASSES, small_input=SMALL.small_input)
    assert base == count(net, SMALL.image_size).count("multiply")
    (slowdown,) = step_cost.predicted_slowdowns(SMALL, [0])
    assert slowdown == pytest.approx(1 + wide / base)
    assert 1.5 < slowdown < 20


def test_all_methods_are_timed_on_the_same_configurations() -> None:
    steppers = [step_cost.Stepper(method, SMALL) for method in ("netaug", "aug-shift")]
    drawn = [[stepper.configuration(i) for i in range(3)] for stepper in steppers]
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


def test_the_largest_steps_and_the_largest_configuration_alone() -> None:
    first, *others = step_memory.largest(SMALL, [0, 1, 2], 5)
    assert sorted([first, *others]) == [0, 1, 2]
    assert step_memory.largest(SMALL, [0, 1, 2], 1) == [first]
    trained = step_memory.stepper(step_memory.ALONE, SMALL, [first, *others])
    wide = step_cost.Stepper("netaug", SMALL)
    model, size = wide.run.model, SMALL.image_size
    assert isinstance(model, AugmentedNet)
    sizes = [step_memory.map_numbers(model, wide.configuration(i), size) for i in range(3)]
    assert sizes[first] == max(sizes) > min(sizes)
    macs = step_cost.multiply_accumulates(model, wide.configuration(first), size)
    assert count(trained.run.model, size).count("multiply") == macs
    before = [p.clone() for p in trained.run.model.parameters()]
    trained.step(0)
    after = trained.run.model.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_augmented_pass_alone_leaves_the_targets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stepper = step_cost.Stepper("netaug", SMALL)
    model = stepper.run.model
    assert isinstance(model, AugmentedNet)
    chosen, ran, configured = [], [], model.configured
    model.register_forward_hook(lambda *_: ran.append(chosen[-1] if chosen else "target"))

    def noted(configuration: Configuration) -> object:
        chosen.append(configuration)
        return configured(configuration)

    monkeypatch.setattr(model, "configured", noted)
    before = [p.clone() for p in model.parameters()]
    step_memory.augmented_pass(stepper, 1)
    assert ran == [stepper.configuration(1)]
    after = model.parameters()
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    chosen.clear()
    stepper.step(1)
    assert ran[1:] == ["target", stepper.configuration(1)]


def test_memory_is_that_of_the_new_process_alone() -> None:
    """Whoever starts it may have needed more before, and does not count."""
    ballast = torch.ones(100_000_000)  # 400 MB, several times what these steps need
    del ballast
    needed = step_memory.step_memory_mb("conv", SMALL, [0, 1])
    assert 1 < needed < 200
    assert 1 < step_memory.step_memory_mb("netaug", SMALL, [0, 1], part="pass") < 400
