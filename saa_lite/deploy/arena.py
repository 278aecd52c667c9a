"""Where each map lies in the one static array, which is as small as the liveness of ``costs`` says.

The graph is written down as the steps that :mod:`saa_lite.costs.liveness` reads: what is the peak
there is what the arena must hold here. A layer of filters also needs room for one window, and for
its best sums where it pools; both count, as they lie in the arena, too.
"""

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from saa_lite.costs.liveness import Place, peak_activation, places
from saa_lite.costs.trace import Buffer, Step
from saa_lite.deploy.graph import Graph, Layer, Map

WORD = 4


class Scratch(NamedTuple):
    """Bytes that a layer needs while it runs."""

    window: int
    best: int


@dataclass(frozen=True)
class Arena:
    """Offsets in bytes, multiples of 4.

    Attributes:
        bytes: size of the array.
        predicted: peak of the liveness; ``bytes`` is never less.
        peak_layer: the layer that runs then.
        maps: map index → offset.
        windows, best: layer index → offset of its window and of its best sums.
        held: bytes that are needed while each layer runs.
    """

    bytes: int
    predicted: int
    peak_layer: str
    maps: dict[int, int]
    windows: dict[int, int]
    best: dict[int, int]
    held: tuple[int, ...]


def scratch(layer: Layer) -> Scratch:
    """The window of one pixel, all groups, and int32 sums per filter where the layer pools."""
    if layer.weight is None:
        return Scratch(0, 0)
    rows, columns = layer.weight.shape[2:]
    channels = layer.inputs[0].channels
    packed = layer.inputs[0].type == "bits"
    # A pixel of signs takes as many bytes again for the mask that tells padding from pixels.
    pixel = -(-channels // 8) + 1 if packed else channels
    # Windows are read in words of up to 32 weights, so the last may reach beyond.
    window = rows * columns * pixel + (0 if packed else 32)
    return Scratch(window, 4 * len(layer.weight) if layer.pool != (1, 1) else 0)


def plan(graph: Graph) -> Arena:
    """Offsets for every map: the first fit in several orders, the best of them."""
    steps = _steps(graph)
    peak = peak_activation(steps)
    place_of = places(steps)
    best, size = _lay_out(list(dict.fromkeys(place_of.values())), int(peak.bytes))
    at = {storage: best[place] for storage, place in place_of.items()}
    count = len(graph.maps)
    layers = range(len(graph.layers))
    held = [sum(p.bits // 8 for p in best if p.born <= 2 * index + 2 <= p.read) for index in layers]
    return Arena(
        bytes=size,
        predicted=int(peak.bytes),
        peak_layer=peak.layer,
        maps={m.index: at[m.index] for m in graph.maps},
        windows={i: at[count + 2 * i] for i in layers if count + 2 * i in at},
        best={i: at[count + 2 * i + 1] for i in layers if count + 2 * i + 1 in at},
        held=tuple(held),
    )


ORDERS = (
    lambda place: (-place.bits, place.born),
    lambda place: (place.born - place.read, -place.bits),
    lambda place: (place.born, -place.bits),
    lambda place: (-place.bits * (1 + place.read - place.born), place.born),
)
REPAIRS = 1000  # of an order, at most


def _lay_out(given: list[Place], peak: int) -> tuple[dict[Place, int], int]:
    """Offsets, and the bytes that they take: seldom more than the peak, never less.

    Where every order wastes room, the best is repaired: again and again, something of what reaches
    too far is laid out earlier, and what made it no worse is kept. Its numbers are drawn from a
    seed, so the same graph gives the same offsets.
    """
    tried = [_laid(sorted(given, key=order)) for order in ORDERS]
    ordered, offsets, size = min(tried, key=lambda one: one[2])
    draw = Random(0)
    for _ in range(REPAIRS):
        if size == peak:
            break
        far = [at for at, p in enumerate(ordered) if offsets[p] + p.bits // 8 > peak]
        moved = draw.choice(far)
        changed = [*ordered[:moved], *ordered[moved + 1 :]]
        changed.insert(draw.randrange(moved + 1), ordered[moved])
        found = _laid(changed)
        if found[2] <= size:
            ordered, offsets, size = found
    return offsets, size


def _laid(ordered: list[Place]) -> tuple[list[Place], dict[Place, int], int]:
    offsets = _first_fit(ordered)
    return ordered, offsets, max(offsets[place] + place.bits // 8 for place in ordered)


def _steps(graph: Graph) -> list[Step]:
    """Two steps per layer: its scratch comes into being, it runs.

    Storages are maps by their index, then two of scratch per layer.
    """
    count = len(graph.maps)
    steps = [Step("", "move", (), (_buffer(graph.input),))]
    for index, layer in enumerate(graph.layers):
        sizes = enumerate(scratch(layer), count + 2 * index)
        room = tuple(Buffer(storage, _words(size), 8) for storage, size in sizes if size)
        reads = (*map(_buffer, layer.inputs), *room)
        writes = tuple(_buffer(output.map) for output in layer.outputs)
        steps.append(Step(layer.name, "move", (), room))
        steps.append(Step(layer.name, CATEGORIES[layer.kind], reads, writes))
    steps.append(Step("", "move", (_buffer(graph.logits),), ()))
    return steps


CATEGORIES = {"add": "elementwise_add", "mean": "reduction"}
CATEGORIES |= dict.fromkeys(("adder", "shift", "binary", "multiply"), "product")


def _buffer(found: Map) -> Buffer:
    return Buffer(found.index, _words(found.bytes), 8)


def _words(size: int) -> int:
    return -(-size // WORD) * WORD


def _first_fit(ordered: list[Place]) -> dict[Place, int]:
    """Each at the lowest offset where it meets none that is needed at the same time."""
    offsets: dict[Place, int] = {}
    for place in ordered:
        taken = sorted(
            (offsets[other], offsets[other] + other.bits // 8)
            for other in offsets
            if other.born <= place.read and place.born <= other.read
        )
        offset = 0
        for begin, end in taken:
            if offset + place.bits // 8 <= begin:
                break
            offset = max(offset, end)
        offsets[place] = offset
    return offsets
