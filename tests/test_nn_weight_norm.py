"""Adder weights that take the deviation of their inputs in training, and only there."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d, AdderLinear, normalise_weights


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    options = {"bias": False, "adaptive_lr": "off"}
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), AdderConv2d(6, 4, 3, **options),
        nn.BatchNorm2d(4), nn.Flatten(), AdderLinear(16, 5, **options),
    )  # fmt: skip


IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def inputs_of(model: nn.Sequential) -> dict[int, np.ndarray]:
    """What each adder layer read in one pass, seen behind the normalisation."""
    seen: dict[int, np.ndarray] = {}
    handles = [
        model[i].register_forward_hook(
            lambda _, x, y, i=i: seen.__setitem__(i, x[0].detach().numpy().copy())
        )
        for i in (3, 6)
    ]
    model(IMAGES)
    for handle in handles:
        handle.remove()
    return seen


def test_weights_are_as_wide_as_their_inputs_around_their_own_mean() -> None:
    model = network()
    model[6].weight.data += 3
    before = [model[i].weight.detach().numpy().copy() for i in (3, 6)]
    handles = normalise_weights(model)
    seen = inputs_of(model)
    for old, i in zip(before, (3, 6), strict=True):
        weight = model[i].weight.detach().numpy()
        assert weight.std() == pytest.approx(seen[i].std(), rel=1e-5)
        assert weight.mean() == pytest.approx(old.mean(), abs=1e-6)
        shape = (weight - weight.mean()) / weight.std()
        np.testing.assert_allclose(shape, (old - old.mean()) / old.std(), rtol=1e-3, atol=1e-4)
    assert abs(seen[3].std() - before[0].std()) > 0.2  # there was something to do
    for handle in handles:
        handle.remove()
    kept = model[3].weight.detach().clone()
    model(2 * IMAGES)
    assert torch.equal(model[3].weight, kept)


def test_the_gradient_is_that_of_the_weights_it_left() -> None:
    model = network()
    normalise_weights(model)
    model(IMAGES).square().sum().backward()
    plain = network()
    plain.load_state_dict(model.state_dict())
    plain(IMAGES).square().sum().backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_evaluation_leaves_the_weights() -> None:
    model = network()
    normalise_weights(model)
    kept = model[3].weight.detach().clone()
    with torch.no_grad():
        model(IMAGES)
    model.eval()(IMAGES)
    assert torch.equal(model[3].weight, kept)


def test_copies_go_on_with_it() -> None:
    model = network()
    normalise_weights(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        kept = twin[3].weight.detach().clone()
        twin(IMAGES)
        assert not torch.equal(twin[3].weight, kept)
    assert torch.equal(model[3].weight, network()[3].weight)


def test_inputs_without_deviation_leave_the_weights() -> None:
    layer = AdderConv2d(2, 3, 1, adaptive_lr="off")
    normalise_weights(layer)
    kept = layer.weight.detach().clone()
    layer(torch.ones(2, 2, 4, 4))
    torch.testing.assert_close(layer.weight.detach(), kept)
    assert layer.weight.isfinite().all()


def test_what_it_refuses() -> None:
    with pytest.raises(UsageError, match="models with adder layers; there is none"):
        normalise_weights(nn.Conv2d(1, 1, 1))


def test_a_replica_whose_weights_are_copies_is_refused() -> None:
    layer = AdderConv2d(2, 3, 3)
    normalise_weights(layer)
    replica = layer._replicate_for_data_parallel()
    replica.weight, replica.bias = layer.weight.clone(), None  # as DataParallel has it
    with pytest.raises(UsageError, match="of a DataParallel replica are copies"):
        replica(torch.ones(2, 2, 4, 4))
    replica.eval()(torch.ones(2, 2, 4, 4))
