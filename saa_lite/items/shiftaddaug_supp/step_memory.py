"""Peak memory of training steps, and of the largest drawn configuration by itself.

"By itself" has two readings. One is what torch takes to train the configuration as a plain
multiplicative network (:func:`saa_lite.augment.plain_network`) with the same recipe. The other,
stricter since our layers save memory that torch's do not, is our own augmented pass without the
target's: the peak over those of several steps, the largest of them.

:class:`LiveBytes` says where the memory goes: bytes of all tensors that are alive after each
operator, whatever the allocator makes of them. They are counted, not measured: the same on every
machine.
"""

import multiprocessing
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saa_lite.allocator import HAND_BACK, allocator
from saa_lite.augment import AugmentedNet, plain_network
from saa_lite.augment.config import Configuration
from saa_lite.augment.depthwise import WideDepthwise
from saa_lite.augment.unit import WideConv
from saa_lite.items.augmented import Settings
from saa_lite.items.base import peak_memory_mb
from saa_lite.items.shiftaddaug_supp.step_cost import Stepper, run_once
from saa_lite.train import backward_pass

Part = Literal["step", "pass"]
ALONE = "alone"  # in place of a method: the plain network of the first step's configuration


def largest(settings: Settings, steps: Sequence[int], count: int) -> list[int]:
    """The ``count`` steps whose augmented passes write the largest maps, the largest first."""
    net = Stepper("netaug", settings)
    model = net.run.model
    assert isinstance(model, AugmentedNet)
    written = {i: map_numbers(model, net.configuration(i), settings.image_size) for i in steps}
    return sorted(steps, key=written.__getitem__, reverse=True)[:count]


def map_numbers(model: AugmentedNet, configuration: Configuration, size: int) -> int:
    """Numbers in the outputs of all wide layers, for one image of ``size``²."""
    written: list[int] = []

    def note(_: nn.Module, __: object, out: Tensor) -> None:
        written.append(out.numel())

    layers = [m for m in model.modules() if isinstance(m, (WideConv, WideDepthwise))]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        run_once(model, configuration, size)
    finally:
        for handle in handles:
            handle.remove()
    return sum(written)


def stepper(method: str, settings: Settings, steps: Sequence[int], device: str = "cpu") -> Stepper:
    """The method, or with ``ALONE`` the first step's configuration as a network of its own."""
    if method != ALONE:
        return Stepper(method, settings, device)
    net = Stepper("netaug", settings)
    model = net.run.model
    assert isinstance(model, AugmentedNet)
    network = plain_network(model, net.configuration(steps[0]))
    return Stepper("conv", settings, device, network)


def augmented_pass(stepper: Stepper, index: int) -> None:
    """The augmented pass of a step and the optimiser: no pass of the target, no bookkeeping."""
    model, run = stepper.run.model, stepper.run
    assert isinstance(model, AugmentedNet)
    run.optimizer.zero_grad()
    with model.configured(stepper.configuration(index)):
        backward_pass(run, stepper.images, stepper.labels)
    run.optimizer.step()
    stepper.wait()


def step_memory_mb(
    method: str,
    settings: Settings,
    steps: Sequence[int],
    *,
    part: Part = "step",
    hand_back: bool = True,
) -> float:
    """Peak memory in MB of the given steps beyond what the set-up takes, in a fresh process.

    Args:
        method: or ``ALONE``.
        part: whole steps, or their augmented passes alone.
        hand_back: the C library, if it is GNU's, hands freed tensors back at once. Otherwise it
            does with them what it does in this process, and holes between tensors count.
    """
    treatment = allocator(HAND_BACK) if hand_back else nullcontext()
    with treatment, multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (method, settings, list(steps), part, torch.get_num_threads()))


def _memory(method: str, settings: Settings, steps: list[int], part: Part, threads: int) -> float:
    torch.set_num_threads(threads)
    trained = stepper(method, settings, steps)
    before = peak_memory_mb()
    _train(trained, steps, part)
    return peak_memory_mb() - before


def _train(trained: Stepper, steps: Sequence[int], part: Part) -> None:
    for index in steps:
        if part == "pass":
            augmented_pass(trained, index)
        else:
            trained.step(index)


def cuda_memory_mb(
    method: str, settings: Settings, steps: Sequence[int], device: str, *, part: Part = "step"
) -> float:
    """Peak memory in MB that torch allocates on the GPU during the given steps."""
    trained = stepper(method, settings, steps, device)
    torch.cuda.reset_peak_memory_stats(device)
    _train(trained, steps, part)
    return peak_memory_mb(device)


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
