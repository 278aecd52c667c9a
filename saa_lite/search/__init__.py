"""Two-stage search of networks under a budget: SuperNet → SubNet → TargetNet."""

from saa_lite.search.budget import METRICS, Budget, cheapest, counted, predict
from saa_lite.search.space import Block, Candidate, Space, StageChoice

__all__ = [
    "METRICS",
    "Block",
    "Budget",
    "Candidate",
    "Space",
    "StageChoice",
    "cheapest",
    "counted",
    "predict",
]
