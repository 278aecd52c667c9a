"""Sorting channels: what stays the same, what moves along, where a hybrid jumps."""

import pytest
import torch
from augment_samples import images, model, warm_up
from torch import Tensor
from torch.nn import functional as F

from saa_lite.augment import AugmentConfig, augment, sort_channels
from saa_lite.augment.sort import importance
from saa_lite.augment.unit import WideConv
from saa_lite.models.resnet import CifarResNet

LABELS = torch.arange(8) % 4


def trained(kind: str, **options) -> tuple:
    """A model after a few steps with momentum, so that there is state to move."""
    net = model(kind, **options)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for part in (p for p in net.modules() if getattr(p, "adaptive_lr", "") == "step"):
        part.adaptive_lr = "backward"
    for _ in range(3):
        step(net, optimizer)
    warm_up(net)
    return net, optimizer


def step(net, optimizer) -> None:
    net.train()
    optimizer.zero_grad()
    with net.configured(net.largest):
        F.cross_entropy(net(images()), LABELS).backward()
    optimizer.step()
    net.eval()


@torch.no_grad()
def outputs(net) -> tuple[Tensor, Tensor]:
    small = net(images())
    with net.configured(net.largest):
        return small, net(images())


def close(left: Tensor, right: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((left - right).abs().max() <= tolerance * left.abs().max())


def test_homogeneous_network_computes_the_same_and_trains_on_as_before() -> None:
    net, optimizer = trained("conv")
    other, other_optimizer = trained("conv")
    before = outputs(net)[1]
    orders = sort_channels(net, optimizer)
    assert all(sorted(o.tolist()) == list(range(len(o))) for o in orders.values())
    assert any(o.tolist() != sorted(o.tolist()) for o in orders.values())
    assert close(before, outputs(net)[1])
    for _ in range(3):
        step(net, optimizer)
        step(other, other_optimizer)
    assert close(outputs(other)[1], outputs(net)[1], 1e-4)
    forgetful, state = trained("conv")
    sort_channels(forgetful)  # as NetAug: the momentum stays where it was
    for _ in range(3):
        step(forgetful, state)
    assert not close(outputs(other)[1], outputs(forgetful)[1], 1e-3)


def test_most_important_first() -> None:
    net, optimizer = trained("conv")
    sort_channels(net, optimizer)
    for axis in net.axes:
        if axis.is_inner:
            scores = importance(net, axis)
            assert bool((scores.diff() <= 1e-6).all()), axis.name


@torch.no_grad()
def promote_outsiders(net) -> None:
    """Make every other channel outside of the target the most important one."""
    for unit in net.modules():
        if isinstance(unit, WideConv) and unit.inputs.is_inner and unit.right is not None:
            unit.right[:, ::2] *= 100


@pytest.mark.parametrize("measure", ["weight", "remapped"])
@pytest.mark.parametrize("kind", ["shift", "adder"])
def test_one_scale_inside_and_outside(kind: str, measure: str) -> None:
    """A remapped W begins as one convolution, so channels of both sides win about as often."""
    torch.manual_seed(0)
    plain = CifarResNet(1, 4, kind, 8)
    wide = {"width": (1.0,), "expand": (1.0, 2.0), "remap": "analytic", "importance": measure}
    net = augment(plain, AugmentConfig(**wide))
    axes = {axis.name: axis for axis in net.axes if axis.is_inner}
    orders = sort_channels(net)
    inside = sum(int((orders[k][: a.target] < a.target).sum()) for k, a in axes.items())
    assert 0.35 < inside / sum(axis.target for axis in axes.values()) < 0.65


@pytest.mark.parametrize("kind", ["shift", "adder"])
@pytest.mark.parametrize("remap", [None, "analytic"])
def test_hybrid_stays_the_same_within_its_sides_only(kind: str, remap: str | None) -> None:
    net, optimizer = trained(kind, remap=remap, importance="remapped")
    promote_outsiders(net)
    before = outputs(net)
    sort_channels(net, optimizer, within=True)
    after = outputs(net)
    assert close(before[0], after[0], 1e-4)
    assert close(before[1], after[1], 1e-4)
    # The jump: channels that change sides change their operator.
    orders = sort_channels(net, optimizer)
    targets = {axis.name: axis.target for axis in net.axes}
    assert any((o[: targets[name]] >= targets[name]).any() for name, o in orders.items())
    jump = (outputs(net)[1] - after[1]).norm() / after[1].norm()
    assert jump > 1e-3


@pytest.mark.parametrize("name", ["SGD", "RAdam"])
def test_moments_follow_their_weights(name: str) -> None:
    """Mark the moments with the weights themselves; both must still agree afterwards."""
    net = model("conv")
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01, **options)
    step(net, optimizer)
    key = "momentum_buffer" if name == "SGD" else "exp_avg"
    for parameter, state in optimizer.state.items():
        state[key].copy_(parameter)
    sort_channels(net, optimizer)
    for parameter, state in optimizer.state.items():
        assert torch.equal(state[key], parameter)
    step(net, optimizer)


def test_blocks_without_gradient_get_a_state() -> None:
    net = model("conv")
    optimizer = torch.optim.RAdam(net.parameters(), lr=0.01)
    F.cross_entropy(net.train()(images()), LABELS).backward()  # the target's pass alone
    optimizer.step()
    sort_channels(net, optimizer)
    step(net, optimizer)
