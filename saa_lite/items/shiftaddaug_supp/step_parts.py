"""Where the time and the memory of one training step go.

Time: marks are set where the passes of a step begin and end, so its parts add up to the whole. A
pass backwards counts as over when the first layer's gradients are there. What is left before,
between and behind the passes is making R(W) from the stored weights, handing its gradient on, and
bookkeeping: ``"weights"``.

Memory: bytes of all tensors that are alive after each operator, whatever the allocator makes of
them. They are counted, not measured: the same on every machine.
"""

import weakref
from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saa_lite.items.shiftaddaug_supp.step_cost import Stepper, clock_of

PARTS = (
    "data", "target forwards", "target backwards", "wide forwards", "wide backwards", "weights",
    "optimiser",
)  # fmt: skip
EARLIEST = 4  # parameters at the input; which of them gets the last gradient depends on the pass
Mark = Callable[[str], Callable[..., None]]


def part_seconds(stepper: Stepper, index: int) -> dict[str, float]:
    """Seconds of each of :data:`PARTS` in one step, its batch fetched as in training.

    A network by itself has no wide passes, and 0 there. On a GPU every mark waits for it, so the
    parts add up to more than a step that runs unobserved.
    """
    run, marks = stepper.run, list[tuple[str, float]]()
    clock = clock_of(stepper.device)

    def mark(part: str) -> Callable[..., None]:
        def set_mark(*_: object) -> None:
            stepper.wait()
            marks.append((part, clock()))

        return set_mark

    handles = _hooks(run.model, run.optimizer, mark)
    mark("start")()
    stepper.fetch()
    mark("data")()
    try:
        stepper.step(index)
    finally:
        for handle in handles:
            handle.remove()
    mark("weights")()
    found = dict.fromkeys(PARTS, 0.0)
    passes = iter(("target", "wide"))
    now = ""
    for (_, before), (part, after) in pairwise(marks):
        if part == "weights before":
            now = next(passes, now)
        name = f"{now} {part}" if part in ("forwards", "backwards") else part
        found["weights" if part.startswith("weights") else name] += after - before
    return found


def _hooks(model: nn.Module, optimizer: torch.optim.Optimizer, mark: Mark) -> list[Any]:
    """Marks at the ends of the parts of a step; of a plain and of an augmented network alike."""
    earliest = islice(model.parameters(), EARLIEST)
    return [
        *(p.register_post_accumulate_grad_hook(mark("backwards")) for p in earliest),
        model.register_forward_pre_hook(mark("weights before")),
        model.register_forward_hook(mark("forwards")),
        optimizer.register_step_pre_hook(mark("weights")),
        optimizer.register_step_post_hook(mark("optimiser")),
    ]


class LiveBytes(TorchDispatchMode):
    """Inside, after every operator: the bytes of tensors made inside that are still alive.

    Attributes:
        curve: one number per operator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curve: list[int] = []
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves(args) if isinstance(x, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor, given)
        self.curve.append(self._now)
        return out

    def _count(self, tensor: Tensor, given: set[int]) -> None:
        """What an operator wrote into, or has a view of, is not made by it."""
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not size or address in self._known or address in given:
            return
        self._known.add(address)
        self._now += size
        weakref.finalize(storage, self._drop, address, size)

    def _drop(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._now -= size


def live_megabytes(stepper: Stepper, index: int) -> list[float]:
    """MB (10^6 bytes) that one step holds beyond what there is before it, operator by operator."""
    with LiveBytes() as counted:
        stepper.step(index)
    return [value / 1e6 for value in counted.curve]
