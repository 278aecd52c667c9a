"""AdderNet's adaptive rate in a step of two passes: once for both, or for each by itself.

The reference is written out: gradients of either pass alone without any adaptive rate, brought to
RMS η in the way that the mode says (AdderNet's code: g·η√k/‖g‖), and led through the map by hand.
"""

import math
from dataclasses import replace

import pytest
import torch
from augment_samples import CONFIG, begun, train
from scipy.special import erfcx
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.augment import AugmentConfig, AugmentedNet, AugmentedTraining, augment, export
from saa_lite.augment.unit import WideConv
from saa_lite.models.resnet import CifarResNet
from saa_lite.nn import AdderConv2d, attach_adaptive_lr

ETA = 0.3
ALPHA = 0.25


def adder_target(mode: str) -> CifarResNet:
    torch.manual_seed(0)
    target = CifarResNet(1, 4, "adder", 3)
    for layer in target.modules():
        if isinstance(layer, AdderConv2d):
            layer.adaptive_lr, layer.eta = mode, ETA
    return target


def adder_model(mode: str, remap: str | None = None) -> AugmentedNet:
    target = adder_target(mode)
    return augment(target, AugmentConfig(width=(1.0, 1.5), expand=(1.0, 1.5), remap=remap))


def adders(net: nn.Module) -> dict[str, WideConv]:
    found = net.named_modules()
    return {
        name: unit
        for name, unit in found
        if isinstance(unit, WideConv) and unit.is_multiplication_free
    }


def update_gradients(mode: str, remap: str | None = None, **changes) -> dict[str, Tensor]:
    """What the optimiser finds at the stored weights, its own normalisation included."""
    net = adder_model(mode, remap)
    run, training = begun(net, AugmentedTraining(ALPHA), **changes)
    _, images, labels = next(run.batches.epoch(0))
    training.backward(run, images, labels)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0
    run.optimizer.step()
    return {name: unit.layer.weight.grad for name, unit in adders(net).items()}


def pass_gradients(remap: str | None = None) -> tuple[AugmentedNet, list[dict[str, Tensor]]]:
    """Of each pass alone, at the weights that the operator reads."""
    net = adder_model("off", remap)
    run, training = begun(net, AugmentedTraining(ALPHA))
    _, images, labels = next(run.batches.epoch(0))
    found = []
    for weight, configuration in ((1.0, None), (ALPHA, training.configuration(run))):
        parts = {name: unit.shared for name, unit in adders(net).items()}
        run.optimizer.zero_grad()
        for shared in parts.values():
            shared.begin()
        net.activate(configuration)
        (weight * F.cross_entropy(net(images), labels)).backward()
        read = {k: p._leaf if p.apart else p.layer.weight for k, p in parts.items()}
        found.append({name: leaf.grad.clone() for name, leaf in read.items()})
        for shared in parts.values():
            shared.finish()
    net.activate(None)
    return net, found


def normalised(gradient: Tensor) -> Tensor:
    return gradient * (ETA * math.sqrt(gradient.numel()) / gradient.norm())


def together(mode: str, first: Tensor, second: Tensor) -> Tensor:
    if mode == "step":
        return normalised(first + second)
    return normalised(first) + normalised(second)


@pytest.mark.parametrize("mode", ["step", "pass", "backward"])
def test_weights_that_the_adder_reads_themselves(mode: str) -> None:
    found = update_gradients(mode)
    _, (first, second) = pass_gradients()
    for name, gradient in found.items():
        expected = together(mode, first[name], second[name])
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5 * ETA, msg=name)
    lengths = torch.stack([g.square().mean().sqrt() for g in found.values()]) / ETA
    if mode == "step":
        torch.testing.assert_close(lengths, torch.ones(len(found)), rtol=1e-4, atol=0)
    else:  # as long as the passes agree in direction: two that do not are still √2
        assert 1 < float(lengths.min()) <= float(lengths.max()) < 2


@pytest.mark.parametrize("mode", ["step", "pass", "backward"])
def test_weights_that_are_generated(mode: str) -> None:
    """Normalised at R(W); then R'(w) = (b/σ)·√(2/π)/erfcx(|z|/√2), and the gauge (σ/σ_R)²."""
    found = update_gradients(mode, "analytic")
    net, (first, second) = pass_gradients("analytic")
    for name, unit in adders(net).items():
        weight = unit.layer.weight.detach().double()
        sigma = weight.std(correction=0)
        z = ((weight - weight.mean()) / sigma).abs()
        slope = math.sqrt(2 / math.pi) / torch.from_numpy(erfcx((z / math.sqrt(2)).numpy()))
        read = unit.shared.frozen().double()
        gauge = sigma.square() / read.var(correction=0)
        expected = together(mode, first[name], second[name]) * slope / math.sqrt(2) / sigma * gauge
        torch.testing.assert_close(
            found[name].double(), expected, rtol=2e-3, atol=1e-5 * ETA, msg=name
        )


def test_micro_batches_of_a_pass_are_one_pass() -> None:
    """The official layer normalises each; four of them would count up to four times."""
    lengths = {}
    for mode in ("pass", "backward"):
        found = update_gradients(mode, accumulate=4)
        lengths[mode] = max(float(g.square().mean().sqrt()) / ETA for g in found.values())
    assert lengths["pass"] < 2 < lengths["backward"]


def test_alone_it_is_the_rate_of_a_step() -> None:
    layer = AdderConv2d(2, 3, 3, adaptive_lr="pass", eta=ETA, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert len(attach_adaptive_lr(optimizer, layer)) == 1
    for _ in range(2):
        layer(torch.randn(2, 2, 5, 5)).square().sum().backward()
    optimizer.step()
    assert layer.weight.grad.square().mean().sqrt().item() == pytest.approx(ETA)


def test_the_exported_layer_has_the_mode_that_was_chosen() -> None:
    for mode in ("step", "pass", "backward", "off"):
        for remap in (None, "analytic"):
            alone = export(adder_model(mode, remap))
            modes = {m.adaptive_lr for m in alone.modules() if isinstance(m, AdderConv2d)}
            assert modes == {mode}, (mode, remap)


def test_without_an_augmented_pass_it_is_plain_training_bit_for_bit() -> None:
    plain, wide = adder_target("pass"), adder_model("pass")
    config = replace(CONFIG, epochs=1)
    train(plain, None, config)
    train(wide, AugmentedTraining(0.0), config)
    for name, value in export(wide).state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name
