"""The networks of the grid of comparisons, each made once; nothing is trained."""

from functools import lru_cache

from torch import Tensor

from saa_lite.deploy import Graph
from saa_lite.deploy.agreement import sample_graph, sample_network
from saa_lite.deploy.agreement import sample_images as images

__all__ = ["exported", "images", "logits", "network"]

network = lru_cache(sample_network)
exported = lru_cache(sample_graph)


def logits(graph: Graph, given: Tensor) -> Tensor:
    """Codes of the logits by PyTorch, of the network as it is called, not of its parts."""
    step = graph.logits.grid.step
    codes = graph.network(given.double()) / step
    assert bool((codes - codes.round()).abs().max() < 1e-9)
    return codes.round().long()
