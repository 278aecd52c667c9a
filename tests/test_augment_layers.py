"""Hybrid layers: the target inside, the readings around it, what gradients reach."""

import math
import pickle
import re

import pytest
import torch
from augment_samples import KINDS, READINGS, images, model, small_target
from torch import nn
from torch.nn import functional as F

from saa_lite.augment import AugmentConfig, Mutation, augment, export, sort_channels
from saa_lite.augment.build import WIDENERS
from saa_lite.augment.config import Axis
from saa_lite.augment.unit import WideConv
from saa_lite.errors import UsageError
from saa_lite.models import create_model, list_models
from saa_lite.nn import AdderConv2d, attach_adaptive_lr, make_conv
from saa_lite.ops import adder_conv2d

X = torch.randn(4, 5, 6, 6, generator=torch.Generator().manual_seed(1))


def unit(reading: str = "block", combine: str = "sum", kind: str = "adder") -> WideConv:
    """n = 3 of 4 outputs from m = 2 of 5 inputs, both fully active."""
    torch.manual_seed(0)
    inputs, outputs = Axis("in", 2, (1.0, 2.5)), Axis("out", 3, (1.0, 4 / 3))
    inputs.activate(2.5)
    outputs.activate(4 / 3)
    layer = make_conv(kind, 2, 3, 3, padding=1, bias=False)
    return WideConv(layer, nn.BatchNorm2d(3), inputs, outputs, reading=reading, combine=combine)


def batch_norm(x: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize(
    ("reading", "p", "q"),
    [("block", 3, 2), ("output", 3, 5), ("input", 4, 2), ("free", 4, 5)],
)
def test_readings_as_written(reading: str, p: int, q: int) -> None:
    """Outputs :p from inputs :q are adders, the rest is a convolution, on the whole wide W."""
    hybrid = unit(reading)
    W = torch.cat([torch.cat([hybrid.layer.weight, hybrid.right], 1), hybrid.below])
    expected = F.conv2d(X, W, padding=1)
    expected[:, :p] = adder_conv2d(X[:, :q], W[:p, :q], padding=1)
    if q < 5:
        expected[:, :p] += F.conv2d(X[:, q:], W[:p, q:], padding=1)
    torch.testing.assert_close(hybrid(X), batch_norm(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("combine", ["norm", "scale", "sum"])
def test_addends_meet(combine: str) -> None:
    hybrid = unit(combine=combine)
    free = adder_conv2d(X[:, :2], hybrid.layer.weight, padding=1)
    cross = F.conv2d(X[:, 2:], hybrid.right, padding=1)
    if combine == "norm":
        expected = batch_norm(free) + batch_norm(cross)
    elif combine == "scale":
        # The norm's epsilon is what is left of the difference to "sum" of rescaled addends.
        expected = batch_norm(free / math.sqrt(2 * 9) + cross)
    else:
        expected = batch_norm(free + cross)
    torch.testing.assert_close(hybrid(X)[:, :3], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_target_widths_are_the_target(kind: str, reading: str) -> None:
    plain = small_target(kind).train()
    wide = augment(plain, AugmentConfig(reading=reading, depth=1)).train()
    assert torch.equal(wide(images()), plain(images()))
    with wide.configured(wide.largest):
        assert not torch.equal(wide(images()), plain(images()))
    assert torch.equal(wide(images()), plain(images()))


def test_norm_statistics_in_wide_order() -> None:
    hybrid = unit()
    hybrid.norm.target.momentum = hybrid.norm.rest.momentum = None
    with torch.no_grad():
        below = F.conv2d(X, hybrid.below, padding=1)
        hybrid(X)
    mean = hybrid.norm.rest.running_mean
    torch.testing.assert_close(mean, below.mean((0, 2, 3)))
    assert hybrid.norm.target.num_batches_tracked == 1


def test_gradients_from_both_passes() -> None:
    net = model("adder")
    optimizer = torch.optim.SGD(net.parameters())
    attached = attach_adaptive_lr(optimizer, net)
    assert len(attached) == 8  # the target's slices, nothing else
    net.train()
    gradients = []
    for configuration in (None, net.largest):
        net.zero_grad()
        net.activate(configuration)
        net(images()).square().sum().backward()
        gradients.append({k: p.grad for k, p in net.named_parameters()})
    inner = [k for k in gradients[0] if ".layer.weight" in k]
    assert len(inner) > 5
    for name in inner:
        assert gradients[0][name].abs().sum() > 0, name
        assert gradients[1][name].abs().sum() > 0, name
    right = [k for k in gradients[0] if k.endswith((".right", ".below"))]
    assert all(gradients[0][name] is None for name in right)
    assert all(gradients[1][name].abs().sum() > 0 for name in right)


def test_normalised_over_the_target_slice_before_the_chain_rule() -> None:
    """RMS η at R(W), whatever number of passes; W is to move R(W) by just that."""
    net = model("adder", remap="rescale")
    layers = [u for u in net.modules() if isinstance(u, WideConv) and u.is_multiplication_free]
    assert all(u.layer.adaptive_lr == "off" for u in layers)
    net.train()
    for part in layers:
        part.shared.begin()
    (1000 * net(images()).square().sum()).backward()
    with net.configured(net.largest):
        net(images()).square().sum().backward()
    for part in layers:
        leaf = part.shared._leaf.grad
        before = part.right.grad.clone()
        part.shared.finish()
        weight = part.layer.weight
        slope = math.sqrt(2) * math.sqrt(0.5) / weight.detach().std(correction=0)
        rms = (weight.grad * slope).square().mean().sqrt()
        torch.testing.assert_close(rms, torch.tensor(0.2), rtol=1e-4, atol=0)
        torch.testing.assert_close(
            weight.grad / weight.grad.norm(), leaf / leaf.norm(), rtol=1e-3, atol=1e-5
        )
        assert torch.equal(part.right.grad, before)


def test_remapped_outside_of_a_step_is_normalised_too() -> None:
    net = model("adder", remap="rescale")
    net.train()
    net(images()).square().sum().backward()
    part = next(u for u in net.modules() if isinstance(u, WideConv) and u.is_multiplication_free)
    slope = 1 / part.layer.weight.detach().std(correction=0)
    rms = (part.layer.weight.grad * slope).square().mean().sqrt()
    torch.testing.assert_close(rms, torch.tensor(0.2), rtol=1e-4, atol=0)


def test_learned_scale_takes_the_share_of_the_step_along_the_weights() -> None:
    """b moves R(W) by the projection on R(W) of the step that an adder layer would make."""
    net = model("adder", remap="analytic")
    net.train()
    part = next(u for u in net.modules() if isinstance(u, WideConv) and u.is_multiplication_free)
    part.shared.begin()
    net(images()).square().sum().backward()
    leaf = part.shared._leaf
    step = leaf.grad * (0.2 * math.sqrt(leaf.numel()) / leaf.grad.norm())
    part.shared.finish()
    expected = (step * leaf.detach()).sum() / leaf.numel()
    torch.testing.assert_close(part.shared.remap.log_scale.grad, expected, rtol=1e-4, atol=1e-7)


def test_mutation_from_convolution_to_adder() -> None:
    mutation = Mutation(start=1, every=1, blend=1)
    net = model("adder", mutation=mutation)
    assert [mutation.share(1, epoch) for epoch in range(5)] == [0, 0, 0.5, 1, 1]
    assert mutation.last_epoch(3) == 4
    net.train()
    calls = []
    for layer in net.modules():
        if isinstance(layer, AdderConv2d):
            forward = layer._conv_forward
            layer._conv_forward = lambda *a, f=forward: (calls.append(1), f(*a))[1]
    counts = []
    outputs = []
    for epoch in range(5):
        net.set_epoch(epoch)
        calls.clear()
        outputs.append(net(images()).detach())
        counts.append(len(calls))
    # one adder block per epoch; stage 1 has two adder layers, the others a shortcut more
    assert counts == [0, 2, 5, 8, 8]
    assert net.mutated.tolist() == [1, 1, 1]
    assert not torch.equal(outputs[0], outputs[4])


def test_blend_is_linear() -> None:
    net = model("adder", mutation=Mutation(start=0, blend=3))
    part = next(u for u in net.modules() if isinstance(u, WideConv) and u.mutates)
    x = torch.randn(4, part.inputs.target, 6, 6)
    with torch.no_grad():
        outputs = []
        for share in (0.0, 1.0, 0.25):
            part.share = share
            outputs.append(part(x))
    torch.testing.assert_close(outputs[2], 0.75 * outputs[0] + 0.25 * outputs[1])


def test_mutated_share_travels_with_the_state() -> None:
    net, other = (model("adder", mutation=Mutation(start=0, every=1, blend=1)) for _ in range(2))
    net.set_epoch(1)
    other.load_state_dict(net.state_dict())
    assert [block[0].share for block in other.mutating] == [1.0, 0.5, 0.0]


def test_the_refusal_names_every_network_that_can_be_augmented() -> None:
    with pytest.raises(UsageError) as refused:
        augment(nn.Linear(2, 2))
    for name in list_models():
        can = type(create_model(name, 10)) in WIDENERS
        assert bool(re.search(rf"\b{name}\b", str(refused.value))) == can, name


def test_a_model_can_be_pickled() -> None:
    net = model("adder", mutation=Mutation(start=0, every=1, blend=1))
    net.set_epoch(1)
    again = pickle.loads(pickle.dumps(net))
    again.load_state_dict(net.state_dict())
    assert [block[0].share for block in again.mutating] == [1.0, 0.5, 0.0]


def test_drawing() -> None:
    net = model(depth=2)
    draws = [net.draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    state = torch.random.get_rng_state()
    narrow = net.draw(torch.Generator().manual_seed(1), width=False)
    assert torch.equal(state, torch.random.get_rng_state())  # its own generator only
    inner = {axis.name for axis in net.axes if axis.is_inner}
    assert all(narrow.multiples[name] == draws[0].multiples[name] for name in inner)
    assert all(m == 1 for name, m in narrow.multiples.items() if name not in inner)
    seen = {net.draw(torch.Generator().manual_seed(s)).depths["stage1.0"] for s in range(40)}
    assert seen == {0, 1, 2}


def test_middle_follows_the_active_width() -> None:
    outer = Axis("o", 8, (1.0, 1.8))
    inner = Axis("i", 48, (1.0, 1.6), outer)
    assert (outer.largest, inner.largest) == (14, 134)  # round(6 · 1.6 · 14)
    outer.activate(1.8)
    inner.activate(1.0)
    assert inner.active == 84


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AugmentConfig(width=(2.0,)), "width must be a tuple"),
        (lambda: AugmentConfig(width=(True, 2.0)), "width must be a tuple"),
        (lambda: augment(small_target().requires_grad_(False)), "target is frozen"),
        (lambda: model("shift", remap="shift", remap_spread=2.0), "remap_spread"),
        (lambda: AugmentConfig(reading="half"), "reading must be one of"),
        (lambda: AugmentConfig(remap="magic"), "remap must be one of"),
        (lambda: AugmentConfig(depth=-1), "depth must be"),
        (lambda: Mutation(start=-1), "start must be"),
        (lambda: AugmentConfig(mutation=3), "mutation must be a Mutation or None; got 3"),
        (lambda: augment(nn.Linear(2, 2)), "target must be create_model.*got Linear"),
        (lambda: augment(create_model("resnet8"), {}), "config must be an AugmentConfig; got {}"),
        (lambda: augment(create_model("resnet8", conv="shiftadd")), "got Sequential"),
        (lambda: model().activate(2.0), "configuration must be a Configuration.*; got 2.0"),
        (lambda: sort_channels(nn.Linear(2, 2)), "sort_channels takes the model .*; got Linear"),
        (lambda: export(nn.Linear(2, 2)), "export takes the model .*; got Linear"),
        (lambda: augment(create_model("resnet20", conv="shift-ps")), "got ShiftPSConv2d"),
        (lambda: model("adder", remap="shift"), "for shift targets"),
        (lambda: model()(torch.ones(2, 5, 8, 8)), r"must be \[B, 3, H, W\]; got \[2, 5, 8, 8\]"),
        (lambda: model()(torch.ones(3, 8, 8)), r"must be \[B, 3, H, W\]; got \[3, 8, 8\]"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
