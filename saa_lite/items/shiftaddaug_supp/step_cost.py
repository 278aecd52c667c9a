"""What one training step of every method costs in time, taken in turns, and where the time goes.

A step is complete: passes forwards and backwards, weight generation, optimiser. Images are random
and already in memory. The configurations of the augmented passes are one fixed list, the same for
every method, because they are drawn from (seed, epoch, step) alone.

**Its parts** (:func:`part_seconds`): marks are set where the passes of a step begin and end, so
the parts add up to the whole. A pass backwards counts as over when the first layer's gradients are
there. What is left before, between and behind the passes is making R(W) from the stored weights,
handing its gradient on, and bookkeeping: ``"weights"``.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, pairwise
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from saa_lite.augment import AugmentedNet
from saa_lite.augment.config import Configuration
from saa_lite.augment.method import AugmentedTraining
from saa_lite.bench.rounds import interleaved
from saa_lite.data import ImageSet
from saa_lite.data.batches import Batch
from saa_lite.items.augmented import Settings, build, train_config, training_method
from saa_lite.train.loop import train_step
from saa_lite.train.run import Run

PARTS = (
    "data", "target forwards", "target backwards", "wide forwards", "wide backwards", "weights",
    "optimiser",
)  # fmt: skip
EARLIEST = 4  # parameters at the input; which of them gets the last gradient depends on the pass
Mark = Callable[[str], Callable[..., None]]

CLASSES = 100
SETS = {"train": 4, "test": 1}  # batches; only the first one of the training set is used


@dataclass
class Stepper:
    """One method, set up for training on random images, that makes the same step again.

    ``network`` takes the place of the method's own, if given.
    """

    method: str
    settings: Settings
    device: str = "cpu"
    network: nn.Module | None = None

    def __post_init__(self) -> None:
        train_set, test_set = (random_images(self.settings, split) for split in SETS)
        model = self.network
        if model is None:
            model = build(self.method, self.settings, train_set, seed=0)
        method = training_method(self.method, self.settings)
        config = train_config(self.settings, self.method, seed=0)
        self.run = Run(
            model, train_set, test_set, config, device=self.device, folder=None, method=method
        )
        self.run.model.train()
        self.run.method.begin_epoch(self.run)
        self._loader = self._batches()
        _, self.images, self.labels = next(self.run.batches.epoch(0))

    def _batches(self) -> Iterator[Batch]:
        for epoch in count():
            yield from self.run.batches.epoch(epoch)

    def fetch(self) -> None:
        """The next batch, made as in training: shuffled, cropped, mirrored, normalised."""
        _, self.images, self.labels = next(self._loader)
        self.wait()

    def step(self, index: int) -> None:
        """The step number ``index``, which decides what the augmented pass runs."""
        self.run.step = index
        train_step(self.run, self.images, self.labels)
        self.wait()

    def configuration(self, index: int) -> Configuration:
        """What the augmented pass of step ``index`` runs."""
        self.run.step = index
        method = self.run.method
        assert isinstance(method, AugmentedTraining)
        drawn: Configuration = method.configuration(self.run)
        return drawn

    def wait(self) -> None:
        """Until the GPU is done."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


def random_images(settings: Settings, split: str) -> ImageSet:
    """Noise with as many classes as CIFAR-100."""
    number, size = SETS[split] * settings.batch_size, settings.image_size
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (number, 3, size, size), dtype=torch.uint8, generator=random)
    names = tuple(str(label) for label in range(CLASSES))
    return ImageSet("random", split, images, torch.arange(number) % CLASSES, names)


def multiply_accumulates(model: AugmentedNet, configuration: Configuration, size: int) -> int:
    """Multiply-accumulates of one image of ``size``² in a configuration of a multiplicative net."""
    with FlopCounterMode(display=False) as counter:
        run_once(model, configuration, size)
    return int(counter.get_total_flops()) // 2


@torch.no_grad()
def run_once(model: AugmentedNet, configuration: Configuration, size: int) -> None:
    """One black image of ``size``² through a configuration, in evaluation mode."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with model.configured(configuration):
        model(torch.zeros(1, 3, size, size, device=device))
    model.train(was_training)


def predicted_slowdowns(settings: Settings, steps: Sequence[int]) -> list[float]:
    """Per step, (MACs of the target + MACs of its configuration) / MACs of the target."""
    base, wide = step_macs(settings, steps)
    return [(base + macs) / base for macs in wide]


def step_macs(settings: Settings, steps: Sequence[int]) -> tuple[int, list[int]]:
    """Multiply-accumulates of the target and of the configuration of each step."""
    net = Stepper("netaug", settings)
    model = net.run.model
    assert isinstance(model, AugmentedNet)
    target = Configuration({axis.name: 1.0 for axis in model.axes}, {})
    size = settings.image_size
    wide = [multiply_accumulates(model, net.configuration(i), size) for i in steps]
    return multiply_accumulates(model, target, size), wide


def clock_of(device: str) -> Callable[[], float]:
    """Seconds of processor time on one CPU thread, which other work on the machine disturbs less;
    otherwise of wall time."""
    alone = torch.get_num_threads() == 1 and not device.startswith("cuda")
    return time.process_time if alone else time.perf_counter


def fetch_seconds(stepper: Stepper, count: int) -> list[float]:
    """Seconds of each of ``count`` batches, one after the other."""
    return interleaved({"loader": stepper.fetch}, count, 1, clock=clock_of(stepper.device))[
        "loader"
    ]


def step_seconds(
    steppers: Mapping[str, Stepper], steps: Sequence[int], warm_up: int, *, progress: bool
) -> dict[str, list[float]]:
    """Seconds of each step by method, see :func:`clock_of`; the methods take turns, under a bar."""
    clock = clock_of(next(iter(steppers.values())).device)
    order = [steps[0]] * warm_up + list(steps)
    waiting = {name: iter(order) for name in steppers}
    calls = {name: lambda name=name: steppers[name].step(next(waiting[name])) for name in steppers}
    with tqdm(total=len(order), unit="round", disable=not progress) as bar:
        return interleaved(calls, len(steps), warm_up, clock=clock, after_round=bar.update)


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
