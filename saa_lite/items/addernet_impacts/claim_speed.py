"""Inference speed: one forward pass of ResNet-20, adder against CNN, on this machine.

Both networks take the same batch in evaluation mode. Each seed is a fresh pair of networks; its
rounds time one pass of each in turn, so that a drift of the machine falls on both, and the median
is kept. The CNN runs in the faster of its two memory layouts, as a user would run it.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from saa_lite.bench.rounds import interleaved
from saa_lite.items.base import Context, Unit
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, LABELS, counted, headline, panels, styled

METHODS = ("conv", "adder")


@styled
def latency_figure(records: Sequence[Record]) -> Figure:
    """One panel per batch size: a point per seed and method, pairs joined, the ratio in the title.

    Args:
        records: of "latency_ms" with ``batch`` in their settings, methods "conv" and "adder".
    """
    batches = sorted({record.settings["batch"] for record in records})
    tables = {batch: _pairs(records, batch) for batch in batches}
    tables = {batch: table for batch, table in tables.items() if table.size}
    figure, axes = panels(1, len(tables), height=2.6)
    for axis, (batch, table) in zip(axes, tables.items(), strict=True):
        axis.plot(table, [0, 1], color="#bbbbbb", linewidth=0.8)
        for row, method in enumerate(METHODS):
            axis.plot(table[row], [row] * len(table[row]), "o", color=COLOURS[method], alpha=0.8)
        axis.set_yticks([0, 1], [LABELS[method] for method in METHODS])
        axis.set(ylim=(1.5, -0.5), xlim=(0, 1.08 * table.max()), xlabel="one forward pass (ms)")
        ratio = np.median(table[1] / table[0])
        axis.set_title(f"{counted(batch, 'image')}: adder ÷ CNN = {ratio:.1f}")
    first, pairs = records[0], max(table.shape[1] for table in tables.values())
    headline(
        figure,
        f"ResNet-20, {first.settings['image_size']}² images, {first.device}, "
        f"{counted(pairs, 'pair')} of networks",
    )
    return figure


def _pairs(records: Sequence[Record], batch: int) -> NDArray[np.float64]:
    """Latencies [2, pairs], CNN and adder, of the seeds that both methods have run."""
    runs = [
        {r.seed: r.value for r in records if (r.settings["batch"], r.method) == (batch, method)}
        for method in METHODS
    ]
    seeds = sorted(set(runs[0]) & set(runs[1]))
    return np.array([[run[seed] for seed in seeds] for run in runs])


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
