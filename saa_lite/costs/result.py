"""What counting a network gives: costs per layer and their sum."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from saa_lite.costs.energy import ACCOUNTINGS, Energy, energy
from saa_lite.costs.liveness import Peak
from saa_lite.costs.operations import CATEGORIES, KINDS, Operation, Product
from saa_lite.errors import check_choice


@dataclass(frozen=True)
class LayerCost:
    """One module: its products, and everything else that ran in it and in no module below it.

    Attributes:
        name: as in ``model.named_modules()``; empty for the network itself.
        type: the class.
        calls: how often it ran.
        products: one entry per convolution, linear map or attention product.
        other: elementary operations by category (``batch_norm``, ``activation``, ``pooling``, …).
        own: what the module's ``count_operations`` said; it stands in place of ``products``.
        unknown: operators that no rule knows, and how often they ran. They are not counted.
        parameters: trained numbers of the module itself.
        folded: of these, what is left when a batch norm becomes one summand per channel.
    """

    name: str
    type: str
    calls: int = 0
    products: tuple[Product, ...] = ()
    other: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    folded: int = 0

    @cached_property
    def operations(self) -> Counter[Operation]:
        """Arithmetic of the products by kind, number and width."""
        return sum((product.operations() for product in self.products), Counter())

    def count(self, kind: str) -> int:
        """Operations of one of KINDS in the products, or elementary ones of a category."""
        if kind in KINDS:
            in_products = sum(n for op, n in self.operations.items() if op.kind == kind)
            return in_products + self.own.get(kind, 0)
        return self.other.get(kind, 0) + self.own.get(kind, 0)

    @property
    def taps(self) -> int:
        """Multiply-accumulates, or what stands in their place."""
        return sum(product.taps for product in self.products)

    @property
    def bytes_moved(self) -> float:
        """Inputs, weights and outputs of the products, each once, at their own width."""
        return sum(product.bytes_moved for product in self.products)

    def energy(self, accounting: str) -> Energy | None:
        """Compute and memory energy; ``None`` where the accounting has no price.

        A layer that counts itself says nothing of widths and traffic: it has none.
        """
        priced = energy(self.products, accounting)
        return None if any(self.own.get(kind) for kind in KINDS) else priced


@dataclass(frozen=True)
class Costs:
    """Costs of one forward pass of a network.

    ``unused`` names modules with parameters that the pass never ran.
    """

    layers: tuple[LayerCost, ...]
    peak: Peak
    unused: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> LayerCost:
        """The layer of that name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def count(self, kind: str) -> int:
        """Sum over layers of :meth:`LayerCost.count`.

        Raises:
            UsageError: there is no such kind or category, and no layer has named one so.
        """
        check_choice("kind", kind, dict.fromkeys((*KINDS, *CATEGORIES, *self.other)))
        return sum(layer.count(kind) for layer in self.layers)

    @property
    def multiply(self) -> int:
        """Multiplications in convolutions, linear layers and attention products."""
        return self.count("multiply")

    @property
    def add(self) -> int:
        """Additions in the products."""
        return self.count("add")

    @property
    def shift(self) -> int:
        """Bit shifts in the products."""
        return self.count("shift")

    @property
    def xnor(self) -> int:
        """One-bit agreements in the products."""
        return self.count("xnor")

    @property
    def taps(self) -> int:
        """Multiply-accumulates, or what stands in their place."""
        return sum(layer.taps for layer in self.layers)

    @property
    def operations(self) -> Counter[Operation]:
        """Arithmetic of all products by kind, number and width."""
        return sum((layer.operations for layer in self.layers), Counter())

    @property
    def other(self) -> Counter[str]:
        """Everything beside the products, by category."""
        found: Counter[str] = Counter()
        for layer in self.layers:
            found.update(layer.other)
            found.update({k: n for k, n in layer.own.items() if k not in KINDS})
        return found

    @property
    def parameters(self) -> int:
        """Trained numbers, shared ones once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def parameters_folded(self) -> int:
        """Parameters when every batch norm is one summand per channel, as papers often count."""
        return sum(layer.folded for layer in self.layers)

    @property
    def bytes_moved(self) -> float:
        """Sum over layers of inputs, weights and outputs, each once."""
        return sum(layer.bytes_moved for layer in self.layers)

    @property
    def unknown(self) -> dict[str, list[str]]:
        """Operators that were not counted, with the layers that ran them."""
        found: dict[str, list[str]] = {}
        for layer in self.layers:
            for operator in layer.unknown:
                found.setdefault(operator, []).append(layer.name or "(network)")
        return found

    def energy(self, accounting: str) -> Energy | None:
        """Energy of all products; ``None`` if the accounting has no price for one of them."""
        if any(layer.energy(accounting) is None for layer in self.layers):
            return None
        return energy([p for layer in self.layers for p in layer.products], accounting)

    def without(self, names: Iterable[str]) -> "Costs":
        """The same costs with the named layers left out; the peak stays that of the whole."""
        left_out = set(names)
        return replace(self, layers=tuple(x for x in self.layers if x.name not in left_out))

    def as_operator(
        self, operator: str, chosen: Callable[[LayerCost], bool] = lambda layer: True
    ) -> "Costs":
        """What the network would cost if the chosen layers' multiplications were ``operator``."""
        layers = [_as_operator(x, operator) if chosen(x) else x for x in self.layers]
        return replace(self, layers=tuple(layers))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``total``, ``layers``, and what was not counted."""
        return {
            "total": {**_row(self, self.other), "peak_activation_bytes": self.peak.bytes,
                      "peak_layer": self.peak.layer, "parameters_folded": self.parameters_folded},
            "layers": [
                {"name": x.name, "type": x.type, "calls": x.calls, **_row(x, x.other)}
                for x in self.layers
            ],
            "unknown": self.unknown,
            "unused": list(self.unused),
        }  # fmt: skip


def _as_operator(layer: LayerCost, operator: str) -> LayerCost:
    products = [
        product.as_operator(operator) if product.operator == "multiply" else product
        for product in layer.products
    ]
    return replace(layer, products=tuple(products))


def _row(cost: Costs | LayerCost, other: Mapping[str, int]) -> dict[str, Any]:
    by_width = {f"{op.kind} {op.number} {op.bits}": n for op, n in sorted(cost.operations.items())}
    priced = {name: cost.energy(name) for name in ACCOUNTINGS}
    return {
        **{kind: cost.count(kind) for kind in KINDS},
        **dict(sorted(other.items())),
        "by_width": by_width,
        "parameters": cost.parameters,
        "bytes_moved": cost.bytes_moved,
        "energy_mJ": {name: e and e.total for name, e in priced.items()},
    }
