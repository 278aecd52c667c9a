"""The networks of the grid of comparisons, each made once; nothing is trained."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from saa_lite.deploy import Graph, integer_network, lower
from saa_lite.deploy.agreement import sample_graph, sample_network
from saa_lite.deploy.agreement import sample_images as images
from saa_lite.nn import AdderConv2d

__all__ = ["exported", "grouped", "images", "logits", "network"]

network = lru_cache(sample_network)
exported = lru_cache(sample_graph)


def grouped() -> Graph:
    """Depthwise and grouped filters, which spread a window over its groups."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        AdderConv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 1, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return lower(integer_network(network, [images(8)], bits=4), (3, 16, 16))


def logits(graph: Graph, given: Tensor) -> Tensor:
    """Codes of the logits by PyTorch, of the network as it is called, not of its parts."""
    step = graph.logits.grid.step
    codes = graph.network(given.double()) / step
    assert bool((codes - codes.round()).abs().max() < 1e-9)
    return codes.round().long()
