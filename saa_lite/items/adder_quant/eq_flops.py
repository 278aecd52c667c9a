"""Equations 1 to 5: what g group scales add to the operations of an adder layer.

``identities_failed``: the equations compared symbolically. ``layers_missed``: how many of some
random layers of any stride, padding and kernel a closed form miscounts, compared with walking
through them operation by operation; ``by input size`` has one size for input and output, as
equation 2 does.
``overhead`` and ``simplified_overhead``: r at the sizes of ResNet-20 and ResNet-18, exactly and as
1/(6c + 1). ``network_overhead``: the same share over all adder layers of a real network, counted.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from saa_lite.costs import Product, count
from saa_lite.costs.row_stationary import (
    QuantisedLayer,
    overhead,
    overhead_of_four,
    overhead_without_weights,
)
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.costs import overhead_figure

GROUPS = 4
SIZES = (
    (32, 16),
    (8, 64),
    (7, 512),
)  # k and c: first and last stage of ResNet-20, last of ResNet-18


@dataclass(frozen=True)
class Settings:
    """``layers`` random layers are walked through."""

    layers: int


PROFILES = {"smoke": Settings(4), "laptop": Settings(40), "full": Settings(200)}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Symbols, random layers, the published sizes, a network."""
    unit = _unit(context, "equations", {})
    if not unit.done("identities_failed"):
        held = identities()
        yield unit.record("identities_failed", sum(not ok for ok in held.values()), "identities")
    for way in ("by output size", "by input size"):
        unit = _unit(context, "random layers", {"layers": settings.layers, "formula": way})
        if not unit.done("layers_missed"):
            missed = sum(miscounts(seed, way) for seed in range(settings.layers))
            yield unit.record("layers_missed", missed, f"of {settings.layers} layers")
    for k, c in SIZES:
        unit = _unit(context, f"{c} channels, {k}×{k}", {"groups": GROUPS})
        if not unit.done("simplified_overhead"):
            yield unit.record("overhead", 100 * overhead(c, k, GROUPS), "%")
            yield unit.record("simplified_overhead", 100 * overhead_of_four(c), "%")
    unit = _unit(context, "resnet20", {"groups": GROUPS})
    if not unit.done("network_overhead"):
        yield _network(unit)


def _unit(context: Context, model: str, settings: dict[str, object]) -> Unit:
    return context.unit(method="adder", model=model, dataset="one image", seed=0, settings=settings)


def identities() -> dict[str, bool]:
    """Every statement about the equations, and whether it is true for all sizes."""
    import sympy  # noqa: PLC0415  (comes with torch; slow to import)

    c, k, g = sympy.symbols("c k g", positive=True)
    layer = QuantisedLayer(c, c, k)
    one, many = layer.operations(), QuantisedLayer(c, c, k, groups=g).operations()
    r, simple = overhead(c, k, g), overhead_without_weights(c, k, g)
    statements = {
        "one scale costs 18k²c² + 9c² + 4k²c": one - (18 * k**2 * c**2 + 9 * c**2 + 4 * k**2 * c),
        "equation 2 is equation 3 for kernel 3, stride 1, padding 1": layer.by_input_size() - one,
        "r is what the groups add over one scale": (many - one) / one - r,
        "without 9c, k cancels": simple - (g - 1) / (18 * c + 4),
        "leaving 9c out costs 1/(2k²) for many channels": sympy.limit(simple / r - 1, c, sympy.oo)
        - 1 / (2 * k**2),
        "1/(6c + 1) takes the 4 of 18c + 4 for 3": overhead_of_four(c) - 3 / (18 * c + 3),
    }
    return {text: sympy.simplify(left) == 0 for text, left in statements.items()}


def random_layer(seed: int) -> QuantisedLayer:
    """A small layer whose sizes follow from ``seed``."""
    draw = random.Random(seed)
    kernel = draw.choice((1, 3, 5))
    return QuantisedLayer(
        c_in=draw.randint(1, 4),
        c_out=draw.randint(1, 5),
        size=draw.randint(kernel, 8),
        kernel=kernel,
        stride=draw.randint(1, 3),
        padding=draw.randint(0, kernel // 2),
        groups=draw.randint(1, 4),
    )


def miscounts(seed: int, way: str) -> bool:
    """Whether a formula misses the operations of a random layer."""
    layer = random_layer(seed)
    formula = layer.by_input_size() if way == "by input size" else layer.operations()
    return bool(formula != layer.counted_one_by_one())


def _network(unit: Unit) -> Record:
    """r over all adder layers, strides included, from the counted products."""
    costs = count(create_model("resnet20", 10, "adder"), 32)
    products = [p for layer in costs.layers for p in layer.products if p.operator == "adder"]
    added = sum((GROUPS - 1) * p.input_elements for p in products)
    once = sum(map(one_scale, products))
    log: list[dict[str, float | None]] = [
        {
            "channels": float(p.loops.channels),
            "size": float(p.loops.input_size[0]),
            "overhead": 100 * (GROUPS - 1) * p.input_elements / one_scale(p),
        }
        for p in products
    ]
    return unit.record("network_overhead", 100 * added / once, "%", log=log)


def one_scale(product: Product) -> int:
    """Operations of a counted adder layer with one scale: layer, weights, input."""
    layer = 2 * product.taps + 3 * product.output_elements
    return layer + product.weight_elements + product.input_elements


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """r over channels for several groups and sizes, with the layers of ResNet-20."""
    return overhead_figure([r for r in records if r.metric == "network_overhead"])


ITEM = built("adder-quant/eq-flops", profiles=PROFILES, run=run, draw=draw)
