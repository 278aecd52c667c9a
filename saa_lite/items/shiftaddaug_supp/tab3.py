"""Training speed and memory of MobileNetV2-w0.35 under every method (supplement, Table 3).

Ratios to Base are compared, not its speeds: it is another machine. Beside them stands what the
multiply-accumulates of the configurations that were drawn predict for a machine that pays for
arithmetic alone, as a processor nearly does and a half-idle GPU does not.

``step_ms`` is the mean over the fixed list of steps, ``slowdown`` its ratio to Base in the same
repeat, ``predicted_slowdown`` that of the multiply-accumulates; the table shows medians of the
repeats, of the slowdown quartiles too. Memory is that of the costliest steps. ``memory_mb`` is the
peak beyond the set-up, ``least_memory_mb`` that of the augmented passes alone, one after the other:
what the largest of these configurations needs by itself. For both, freed memory goes back to the
system at once. ``kept_memory_mb`` is the peak as ``saa-lite`` trains, where it stays
(:mod:`saa_lite.allocator`).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean, median

from saa_lite.allocator import has_tunables
from saa_lite.bench.rounds import spread
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.select import one_configuration
from saa_lite.items.shiftaddaug_supp.step_cost import (
    Stepper,
    costliest,
    cuda_memory_mb,
    predicted_slowdowns,
    step_memory_mb,
    step_seconds,
)
from saa_lite.items.table import Table
from saa_lite.published import PublishedNumber
from saa_lite.records import Record

ROWS = {
    "conv": "Base", "shift": "Shift", "adder": "Add", "shiftadd": "ShiftAddNet",
    "netaug": "NetAug", "aug-shift": "AugShift", "aug-adder": "AugAdd",
}  # fmt: skip
AUGMENTED = ("netaug", "aug-shift", "aug-adder")
TIMES = ("step_ms", "slowdown", "predicted_slowdown")
MEMORY = ("memory_mb", "least_memory_mb", "kept_memory_mb")
MEMORY_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """``steps`` distinct steps, timed in ``seeds`` repeats after ``warm_up`` more."""

    image_size: int
    batch_size: int
    steps: int
    warm_up: int
    seeds: int
    network: str = "mobilenet_v2_w035"


PROFILES = {
    "smoke": Settings(image_size=32, batch_size=2, steps=1, warm_up=1, seeds=1),
    "laptop": Settings(image_size=160, batch_size=32, steps=6, warm_up=1, seeds=3),
    "full": Settings(image_size=160, batch_size=32, steps=100, warm_up=20, seeds=5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Time all methods of a repeat in turns; memory, which does not scatter, once."""
    steps = list(range(settings.steps))
    for seed in range(settings.seeds):
        units = {method: _unit(context, settings, method, seed) for method in ROWS}
        if not all(unit.done(*TIMES) for unit in units.values()):
            yield from _time(units, settings, steps)
    first = [_unit(context, settings, method, 0) for method in ROWS]
    if missing := [unit for unit in first if not unit.done("memory_mb")]:
        largest = costliest(training(settings), steps, MEMORY_STEPS)
        for unit in missing:
            yield from _memory(unit, settings, largest)


def _unit(context: Context, settings: Settings, method: str, seed: int) -> Unit:
    shared = {k: v for k, v in asdict(settings).items() if k not in ("seeds", "network")}
    return context.unit(
        method=method,
        model=settings.network,
        dataset="random images",
        seed=seed,
        settings={**shared, "device": context.device},
    )


def training(settings: Settings) -> Training:
    """The recipe of the accuracy items, on random images of this size."""
    return Training(
        "random", settings.network, settings.image_size, settings.image_size <= 32,
        0, 0, epochs=1, seeds=1, batch_size=settings.batch_size, warmup_epochs=0.0,
        width_epochs=1.0,
    )  # fmt: skip


def _time(units: dict[str, Unit], settings: Settings, steps: list[int]) -> Iterator[Record]:
    recipe = training(settings)
    steppers = {m: Stepper(m, recipe, unit.context.device) for m, unit in units.items()}
    progress = units["conv"].context.progress
    seconds = step_seconds(steppers, steps, settings.warm_up, progress=progress)
    base = fmean(seconds["conv"])
    slowdowns = predicted_slowdowns(recipe, steps)
    for method, unit in units.items():
        rows = [
            {"step": i, "ms": 1000 * t, "predicted": p}
            for i, t, p in zip(steps, seconds[method], slowdowns, strict=True)
        ]
        mean = fmean(seconds[method])
        yield unit.record("step_ms", 1000 * mean, "ms", log=rows, seconds=sum(seconds[method]))
        yield unit.record("slowdown", mean / base, "times")
        predicted = fmean(slowdowns) if method in AUGMENTED else 1.0
        yield unit.record("predicted_slowdown", predicted, "times")


def _memory(unit: Unit, settings: Settings, steps: list[int]) -> Iterator[Record]:
    recipe, device = training(settings), unit.context.device
    on_gpu = device.startswith("cuda")

    def measured(passes: str, *, keep: bool = False) -> float:
        if on_gpu:
            return cuda_memory_mb(Stepper(unit.method, recipe, device), steps, passes=passes)
        return step_memory_mb(unit.method, recipe, steps, passes=passes, keep=keep)

    if unit.method in AUGMENTED:
        yield unit.record("least_memory_mb", measured("augmented"), "MB")
    if not on_gpu and has_tunables():
        yield unit.record("kept_memory_mb", measured("all", keep=True), "MB")
    yield unit.record("memory_mb", measured("all"), "MB")


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """One row per method: ratios to Base, published beside measured, and what predicts them."""
    found = one_configuration(records, "slowdown", tuple(ROWS))
    values = {
        (method, metric): list_of
        for method in ROWS
        for metric in (*TIMES, *MEMORY)
        if (list_of := [r.value for r in found if (r.method, r.metric) == (method, metric)])
    }
    printed = {(n.row, n.column): n.value or 0.0 for n in published}
    rows = [_row(method, values, printed) for method in ROWS]
    columns = (
        "method", "step (ms)", "time / Base", "MACs / Base", "time / MACs",
        "published time / Base", "memory (MB)", "memory / Base", "memory / largest pass",
        "published memory / Base", "memory in training (MB)",
    )  # fmt: skip
    return Table(columns, tuple(rows))


def _row(
    method: str, values: dict[tuple[str, str], list[float]], printed: dict[tuple[str, str], float]
) -> tuple[str, ...]:
    name = ROWS[method]
    value = {key: median(repeats) for key, repeats in values.items()}
    predicted = value[method, "predicted_slowdown"]
    speed = printed["Base", "speed"] / printed[name, "speed"]
    memory = printed[name, "memory"] / printed["Base", "memory"]
    used, base = value.get((method, "memory_mb")), value.get(("conv", "memory_mb"))
    least, kept = (value.get((method, f"{which}_memory_mb")) for which in ("least", "kept"))
    return (
        name,
        f"{value[method, 'step_ms']:.0f}",
        _quartiles(values[method, "slowdown"]),
        f"{predicted:.2f}",
        f"{value[method, 'slowdown'] / predicted:.2f}",
        f"{speed:.2f}",
        f"{used:.0f}" if used else "—",
        f"{used / base:.2f}" if used and base else "—",
        f"{used / least:.2f}" if used and least else "—",
        f"{memory:.2f}",
        f"{kept:.0f}" if kept else "—",
    )


def _quartiles(repeats: list[float]) -> str:
    """Median, and first and third quartile where there are several repeats."""
    found = spread(repeats)
    several = f" [{found.low:.2f}, {found.high:.2f}]" if len(repeats) > 1 else ""
    return f"{found.median:.2f}{several}"


def matches(number: PublishedNumber, record: Record) -> bool:
    """Memory stands beside memory; the table's speeds are those of another machine."""
    return (
        number.column == "memory"
        and record.metric == "memory_mb"
        and ROWS[record.method] == number.row
    )


ITEM = built("shiftaddaug-supp/tab3", profiles=PROFILES, run=run, draw=draw, matches=matches)
