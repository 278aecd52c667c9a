"""Two-stage search of networks under a budget: SuperNet → SubNet → TargetNet."""

from saa_lite.search.budget import METRICS, Budget, cheapest, counted, predict
from saa_lite.search.setting import SETTINGS, Setting, image_sets, trained_supernet
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
    "SETTINGS",
    "Block",
    "Budget",
    "Candidate",
    "InheritedAccuracy",
    "Inside",
    "Search",
    "SearchConfig",
    "Setting",
    "Space",
    "StageChoice",
    "SuperNetTraining",
    "cheapest",
    "configuration",
    "counted",
    "image_sets",
    "inherit",
    "make_supernet",
    "predict",
    "trained_inside",
    "trained_supernet",
    "winner_of",
]
