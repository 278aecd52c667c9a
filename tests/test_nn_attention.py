"""Attention's two products: distances, their gradients, the identity term."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from saa_lite.nn import AdderScores, DotScores, WeightedValues, adder_scores

SHAPES = [(2, 3, 7, 5, 4), (1, 1, 65, 65, 64), (3, 2, 1, 4, 8), (1, 2, 6, 1, 1)]  # B, H, N, M, d


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    images, heads, queries, keys, features = shape
    query = torch.randn(images, heads, queries, features, dtype=dtype)
    return query, torch.randn(images, heads, keys, features, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_distances(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    query, key = pair(shape, dtype)
    expected = -(query[..., :, None, :] - key[..., None, :, :]).abs().sum(-1)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    actual = adder_scores(query, key)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_clipped_differences(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """AdderNet eq. 6–7 for both sides: towards the other vector, at most 1 per element."""
    query, key = (tensor.requires_grad_() for tensor in pair(shape, dtype))
    upstream = torch.randn(*shape[:4], dtype=dtype)
    adder_scores(query, key).backward(upstream)
    towards = (key[..., None, :, :] - query[..., :, None, :]).clamp(-1, 1).detach()
    weighted = upstream[..., None] * towards  # [B,H,N,M,d]
    tolerance = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-4}
    torch.testing.assert_close(query.grad, weighted.sum(3), **tolerance)
    torch.testing.assert_close(key.grad, -weighted.sum(2), **tolerance)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_the_wanted_gradient(wanted: tuple[bool, bool]) -> None:
    query, key = pair(SHAPES[0])
    query.requires_grad_(wanted[0])
    key.requires_grad_(wanted[1])
    adder_scores(query, key).sum().backward()
    assert (query.grad is not None, key.grad is not None) == wanted


def test_inputs_may_be_views() -> None:
    """As they come out of the joint projection of queries, keys and values."""
    torch.manual_seed(0)
    joint = torch.randn(2, 7, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    query, key, _ = joint.permute(2, 0, 3, 1, 4)
    adder_scores(query, key).sum().backward()
    expected = -torch.cdist(query, key, p=1)
    torch.testing.assert_close(adder_scores(query, key), expected, rtol=0, atol=1e-12)
    assert joint.grad[:, :, :2].any()
    assert not joint.grad[:, :, 2].any()


def test_half_precision_is_computed_in_single() -> None:
    query, key = pair(SHAPES[1], torch.float32)
    query, key = query.bfloat16().requires_grad_(), key.bfloat16()
    scores = adder_scores(query, key)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, -torch.cdist(query.float(), key.float(), p=1))
    with torch.autocast("cpu", torch.bfloat16):
        adder_scores(query, key).sum().backward()
    assert query.grad.dtype == torch.bfloat16


def test_scores_start_at_the_scale_of_the_dot_product() -> None:
    """τ = 1/√d makes scores of normal vectors spread by about 1, as q·k/√d does."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 200, 64)
    adder, dot = AdderScores(64), DotScores()
    assert adder.temperature.item() == 1 / math.sqrt(64)
    spreads = [layer(query, key).std().item() for layer in (adder, dot)]
    assert 0.5 < spreads[0] < 1.5
    assert 0.9 < spreads[1] < 1.1
    adder(query, key).sum().backward()
    distances = torch.cdist(query, key, p=1)
    torch.testing.assert_close(adder.temperature.grad, -distances.sum())


def test_dot_scores() -> None:
    query, key = pair(SHAPES[0])
    expected = torch.einsum("bhnd,bhmd->bhnm", query, key) / 2  # √4
    torch.testing.assert_close(DotScores()(query, key), expected)


def test_identity_term_keeps_the_rank() -> None:
    """Weights that are nearly uniform mix all tokens into one; the identity keeps them apart."""
    torch.manual_seed(0)
    values = torch.randn(1, 1, 10, 16, dtype=torch.float64)
    weights = torch.full((1, 1, 10, 10), 0.1, dtype=torch.float64)
    plain, with_identity = WeightedValues()(weights, values), WeightedValues(True)(weights, values)
    torch.testing.assert_close(with_identity, plain + values)
    ranks = [int(torch.linalg.matrix_rank(mixed[0, 0])) for mixed in (plain, with_identity)]
    assert ranks == [1, 10]
    assert repr(WeightedValues(True)) == "WeightedValues(identity=True)"


def test_result_is_the_same_for_every_pair_alone() -> None:
    """Images and heads do not mix."""
    query, key = pair(SHAPES[0])
    together = adder_scores(query, key)
    for image, head in itertools.product(range(2), range(3)):
        alone = adder_scores(query[image, head][None, None], key[image, head][None, None])
        assert torch.equal(alone[0, 0], together[image, head])
