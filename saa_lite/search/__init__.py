"""Two-stage search of networks under a budget: SuperNet → SubNet → TargetNet."""

from saa_lite.search.budget import METRICS, Budget, cheapest, counted, predict
from saa_lite.search.space import Block, Candidate, Inside, Space, StageChoice
from saa_lite.search.study import Search, SearchConfig, winner_of
from saa_lite.search.supernet import (
    InheritedAccuracy,
    SuperNetTraining,
    configuration,
    inherit,
    make_supernet,
    trained_inside,
)

__all__ = [
    "METRICS",
    "Block",
    "Budget",
    "Candidate",
    "InheritedAccuracy",
    "Inside",
    "Search",
    "SearchConfig",
    "Space",
    "StageChoice",
    "SuperNetTraining",
    "cheapest",
    "configuration",
    "counted",
    "inherit",
    "make_supernet",
    "predict",
    "trained_inside",
    "winner_of",
]
