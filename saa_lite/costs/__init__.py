"""Floor 3: what a network costs in operations, energy, time and memory.

``count(model, 160)`` runs any ``nn.Module`` without numbers and returns operations by kind and
width per layer, parameters, peak activation memory, bytes moved, and energy under three
accountings. ``trace.py`` says how, ``operations.py`` what a tap costs, ``rules.py`` which of
torch's operators are known, ``energy.py`` what the accountings are.
"""

from saa_lite.costs.count import count
from saa_lite.costs.energy import ACCOUNTINGS, Energy, price, price_list
from saa_lite.costs.operations import KINDS, Operation, Product
from saa_lite.costs.result import Costs, LayerCost

__all__ = [
    "ACCOUNTINGS",
    "KINDS",
    "Costs",
    "Energy",
    "LayerCost",
    "Operation",
    "Product",
    "count",
    "price",
    "price_list",
]
