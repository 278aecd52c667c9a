"""A trained network as C99 without a multiplication, which computes the same bits.

:func:`integer_network` makes the integer twin in PyTorch, :func:`lower` the small graph,
:func:`write_source` the C.
"""

from saa_lite.deploy.graph import Graph
from saa_lite.deploy.lower import lower
from saa_lite.deploy.network import integer_network
from saa_lite.deploy.source import Source, write_source

__all__ = ["Graph", "Source", "integer_network", "lower", "write_source"]
