"""Networks to export: norms of either sign, statistics of a few batches, nothing trained."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.deploy import Graph, integer_network, lower
from saa_lite.models import create_model


def images(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def settled(network: nn.Module, given: Tensor) -> nn.Module:
    """Norms get factors of either sign and the statistics of ``given``."""
    torch.manual_seed(1)
    for part in network.modules():
        if isinstance(part, _BatchNorm):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias, std=0.3)
    with torch.no_grad():
        for _ in range(10):
            network.train()(given)
    return network.eval()


@lru_cache
def network(name: str, conv: str, size: int = 16) -> nn.Module:
    torch.manual_seed(0)
    small = name.startswith("mobilenet")
    return settled(create_model(name, conv=conv, small_input=small), images(8, size))


@lru_cache
def exported(name: str, conv: str, bits: int = 4, size: int = 16) -> Graph:
    twin = integer_network(network(name, conv, size), [images(8, size)], bits=bits)
    return lower(twin, (3, size, size))


def logits(graph: Graph, given: Tensor) -> Tensor:
    """Codes of the logits by PyTorch, of the network as it is called, not of its parts."""
    step = graph.logits.grid.step
    codes = graph.network(given.double()) / step
    assert bool((codes - codes.round()).abs().max() < 1e-9)
    return codes.round().long()
