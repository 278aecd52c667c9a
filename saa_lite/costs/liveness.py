"""Peak activation memory: the most that must be held at one moment of a forward pass.

A result lives from the operator that makes it to the last one that reads it; an operator needs its
inputs and its output at once. Norms, activations and other elementwise steps write over an input
that nothing else needs, as every inference engine does. Weights are not counted, nor scratch space
of a kernel, nor a further result that nobody reads (the places of max pooling's maxima); depthwise
convolutions are not done in place. Views share their memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from saa_lite.costs.operations import IN_PLACE
from saa_lite.costs.trace import Buffer, Step


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment, and the layer that runs then."""

    bytes: float
    layer: str


@dataclass(eq=False)
class Place:
    """Memory that one or several buffers use after each other.

    Attributes:
        born, read: indices of the first and the last step that need it.
        bits: the largest of the buffers.
    """

    born: int
    read: int
    bits: int


def peak_activation(steps: Sequence[Step]) -> Peak:
    """The peak of a traced pass; its first step brings the inputs, its last reads the results."""
    change = [0] * (len(steps) + 1)
    for place in set(places(steps).values()):
        change[place.born] += place.bits
        change[place.read + 1] -= place.bits
    held, worst, moment = 0, 0, 0
    for index in range(len(steps)):
        held += change[index]
        if held > worst:
            worst, moment = held, index
    return Peak(worst / 8, steps[moment].layer if steps else "")


def places(steps: Sequence[Step]) -> dict[int, Place]:
    """The place of each storage; those that share one are never needed at once."""
    last = _last_reads(steps)
    place_of: dict[int, Place] = {}
    for index, step in enumerate(steps):
        for position, buffer in enumerate(step.writes):
            if buffer.storage in place_of:  # a view, or the result of an in-place operator
                continue
            if index and position and last[buffer.storage] == index:  # nobody reads it
                continue
            place = _free_place(step, buffer, index, place_of)
            if place is None:
                place = Place(index, index, buffer.elements * buffer.bits)
            place.read = max(place.read, last[buffer.storage])
            place_of[buffer.storage] = place
    return place_of


def _last_reads(steps: Sequence[Step]) -> dict[int, int]:
    """Index of the last step that touches each storage."""
    touched = {}
    for index, step in enumerate(steps):
        for buffer in (*step.reads, *step.writes):
            touched[buffer.storage] = index
    return touched


def _free_place(step: Step, output: Buffer, index: int, place_of: dict[int, Place]) -> Place | None:
    """The place of an input as large as the output that is read here for the last time."""
    if step.category not in IN_PLACE:
        return None
    for buffer in step.reads:
        place = place_of.get(buffer.storage)
        if place and place.read == index and buffer.elements == output.elements:
            place.bits = max(place.bits, output.elements * output.bits)
            return place
    return None
