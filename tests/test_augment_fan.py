"""Where a wide network starts, and which channels its first sort exchanges, as in NetAug's code.

NetAug draws the widest network as one (``utils/init.py``): ``kaiming_uniform_(a=√5)`` for each
convolution, ``trunc_normal_(std=0.02)`` for the classifier. The target is a corner of it.
"""

import math

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentConfig, AugmentedNet, augment, plain_network, sort_channels
from saa_lite.models import create_model

NAMES = ("mobilenet_v2_w035", "resnet20")


def wide(name: str, kind: str = "conv", fan: str = "wide", remap: str | None = None):
    torch.manual_seed(0)
    target = create_model(name, 10, kind, small_input=True)
    return augment(target, AugmentConfig(fan=fan, remap=remap))


def weights(net: AugmentedNet) -> list[tuple[str, nn.Module, nn.Module]]:
    """Name, layer of the widest network and of the target, each cut out as a plain network."""
    largest, target = (plain_network(net, c) for c in (net.largest, None))
    small = dict(target.named_modules())
    kinds = (nn.Conv2d, nn.Linear)
    return [(k, m, small[k]) for k, m in largest.named_modules() if isinstance(m, kinds)]


def reach(values: torch.Tensor, bound: float) -> float:
    """Largest of a uniform sample, over what is to be expected of the largest of so many."""
    return float(values.detach().abs().max()) / (bound * (1 - 1 / (values.numel() + 1)))


@pytest.mark.parametrize("name", NAMES)
def test_every_convolution_has_the_fan_of_its_widest_form(name: str) -> None:
    """Within the bound and up to it, inside the target and around it: one uniform draw."""
    seen = 0
    for path, layer, inside in weights(wide(name)):
        if not isinstance(layer, nn.Conv2d):
            continue
        fan, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
        bound = nn.init.calculate_gain("leaky_relu", math.sqrt(5)) * math.sqrt(3 / fan)
        assert bound == pytest.approx(1 / math.sqrt(fan))
        rows, columns = inside.weight.shape[:2]
        assert torch.equal(layer.weight[:rows, :columns], inside.weight), path
        for part in (inside.weight, layer.weight[rows:], layer.weight[:rows, columns:]):
            if part.numel() > 50:
                assert 0.9 < reach(part, bound) <= 1 + 1 / part.numel(), path
                seen += 1
    assert seen > 40


def test_own_fan_leaves_the_target_as_it_was() -> None:
    torch.manual_seed(0)
    alone = create_model("mobilenet_v2_w035", 10, small_input=True).state_dict()
    for path, _, inside in weights(wide("mobilenet_v2_w035", fan="own")):
        assert torch.equal(inside.weight, alone[f"{path}.weight"]), path


def test_the_classifier_starts_as_netaugs() -> None:
    found = weights(wide("mobilenet_v2_w035"))
    ((_, layer, inside),) = (row for row in found if isinstance(row[1], nn.Linear))
    for part in (inside.weight, layer.weight[:, inside.in_features :]):
        # trunc_normal_ cuts at ±2, far outside: a normal deviate to three digits.
        assert part.std().item() == pytest.approx(0.02, rel=0.02)
        assert part.mean().item() == pytest.approx(0, abs=5e-4)
    assert not layer.bias.any()


def test_adder_weights_keep_their_own_start() -> None:
    torch.manual_seed(0)
    alone = create_model("resnet20", 10, "adder", small_input=True).state_dict()
    for path, _, inside in weights(wide("resnet20", "adder")):
        if path.startswith("stage"):
            assert torch.equal(inside.weight, alone[f"{path}.weight"]), path


def exchanged(net: AugmentedNet) -> float:
    """Share of the target's inner channels that the first sort throws out."""
    orders = sort_channels(net)
    axes = [axis for axis in net.axes if axis.is_inner]
    lost = sum(int((orders[a.name][: a.target] >= a.target).sum()) for a in axes)
    return lost / sum(axis.target for axis in axes)


def by_chance(net: AugmentedNet) -> float:
    """What a random order throws out: 1 − target/largest of each axis."""
    axes = [axis for axis in net.axes if axis.is_inner]
    kept = sum(axis.target**2 / axis.largest for axis in axes)
    return 1 - kept / sum(axis.target for axis in axes)


def test_the_first_sort_of_one_draw_is_a_random_permutation() -> None:
    """Of 2.6 · 2.8 times as many channels, 1 in 7.28 stays; with its own fan the target wins."""
    net = wide("mobilenet_v2_w035")
    assert by_chance(net) == pytest.approx(1 - 1 / 7.28, abs=0.002)
    assert exchanged(net) == pytest.approx(0.86, abs=0.03)
    assert exchanged(wide("mobilenet_v2_w035", fan="own")) < 0.01


def test_shift_targets_are_exchanged_as_convolutions_are() -> None:
    """Remapped weights were one draw before; those that are not, only since ``fan="wide"``."""
    for fan, remap, share in (("own", "analytic", 0.86), ("wide", None, 0.86), ("own", None, 0)):
        net = wide("mobilenet_v2_w035", "shift", fan, remap)
        assert exchanged(net) == pytest.approx(share, abs=0.05), (fan, remap)
