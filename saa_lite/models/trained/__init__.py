"""Trained networks that come with the package: what they are, and reading and writing their files.

``create_model(name, conv=…, weights=…)`` returns one; ``index.json`` lists them with their SHA-256.
"""

from saa_lite.models.trained.files import (
    fill,
    list_weights,
    read_trained,
    stored,
    weights_info,
    write_trained,
)
from saa_lite.models.trained.info import WeightsInfo, WeightsName, probe_pixels

__all__ = [
    "WeightsInfo",
    "WeightsName",
    "fill",
    "list_weights",
    "probe_pixels",
    "read_trained",
    "stored",
    "weights_info",
    "write_trained",
]
