"""Inference speed: one forward pass of ResNet-20, adder against CNN, on this machine.

Both networks take the same batch in evaluation mode. Each seed is a fresh pair of networks; its
rounds time one pass of each in turn, so that a drift of the machine falls on both, and the median
is kept. The CNN runs in the faster of its two memory layouts, as a user would run it.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from saa_lite.bench.rounds import interleaved
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.select import one_configuration
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.speed import latency_figure

METHODS = ("conv", "adder")
LATENCY = "latency_ms"
Variant = tuple[str, str]  # method and memory layout
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Settings:
    """``batches`` are the batch sizes timed; ``seeds`` counts fresh pairs of networks."""

    batches: tuple[int, ...]
    rounds: int
    seeds: int
    image_size: int = 32
    warm_up: int = 2


PROFILES = {
    "smoke": Settings(batches=(2,), rounds=2, seeds=1),
    "laptop": Settings(batches=(1, 32), rounds=15, seeds=5),
    "full": Settings(batches=(1, 128), rounds=50, seeds=5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Time both networks of each pair; a pair that is not complete is timed again."""
    for batch in settings.batches:
        for seed in range(settings.seeds):
            units = {
                method: context.unit(
                    method=method,
                    model="resnet20",
                    dataset="normal numbers",
                    seed=seed,
                    settings={
                        "batch": batch,
                        "image_size": settings.image_size,
                        "rounds": settings.rounds,
                        "device": context.device,
                        "threads": torch.get_num_threads(),
                    },
                )
                for method in METHODS
            }
            if not all(unit.done(LATENCY) for unit in units.values()):
                yield from _measure(units, settings, batch)


def _measure(units: Mapping[str, Unit], settings: Settings, batch: int) -> Iterator[Record]:
    passes = forward_passes(next(iter(units.values())), settings, batch)
    times = interleaved(passes, settings.rounds, settings.warm_up)
    medians = {name: statistics.median(times[name]) for name in passes}
    for method, unit in units.items():
        layouts = [name for name in medians if name[0] == method]
        best = min(layouts, key=medians.__getitem__)
        log: list[dict[str, float | None]] = [{"ms": 1e3 * t} for t in times[best]]
        yield unit.record(LATENCY, 1e3 * medians[best], "ms", log=log)


@torch.no_grad()
def forward_passes(
    unit: Unit, settings: Settings, batch: int
) -> dict[Variant, Callable[[], Tensor]]:
    """One forward pass by method and memory layout, on networks that share their seed."""
    device = torch.device(unit.context.device)
    generator = torch.Generator().manual_seed(unit.seed)
    images = torch.randn(batch, 3, *(settings.image_size,) * 2, generator=generator)
    passes = {}
    for method in METHODS:
        for name, layout in LAYOUTS.items():
            torch.manual_seed(unit.seed)
            model = create_model("resnet20", 10, method).eval()
            model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
            passes[method, name] = forward_pass(model, images.to(device, memory_format=layout))
    return passes


def forward_pass(model: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """A call that returns when the logits are there, on a GPU too."""

    def call() -> Tensor:
        with torch.no_grad():
            logits = model(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        return logits

    return call


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Latency per batch size of one device, the one with the most seeds."""
    chosen = one_configuration(records, LATENCY, METHODS)[0]
    same = ("device", "threads", "image_size", "rounds")
    wanted = [chosen.settings[name] for name in same]
    shown = [r for r in records if [r.settings.get(name) for name in same] == wanted]
    return latency_figure([r for r in shown if r.device == chosen.device])


ITEM = built("addernet-impacts/claim-speed", profiles=PROFILES, run=run, draw=draw, timed=True)
