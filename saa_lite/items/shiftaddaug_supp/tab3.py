"""Training speed and memory of MobileNetV2-w0.35 under every method (supplement, Table 3).

Ratios to Base are compared, not its speeds: it is another machine. Beside them stands what the
multiply-accumulates of the configurations that were drawn predict for a machine that pays for
arithmetic alone, as a processor nearly does and a half-idle GPU does not.

Runs with exactly the settings of protocol ``cost-cpu``, or on a GPU of ``cost-gpu``, carry its
label, so that their contrasts are judged; the laptop profile is that.

``step_ms`` is the mean over the fixed list of steps, ``slowdown`` its ratio to Base in the same
repeat, ``predicted_slowdown`` that of the multiply-accumulates; the table shows medians of the
repeats, of the slowdown quartiles too. Its batch is a resident tensor; ``loader_ms`` is what a
batch takes that is made as in training (shuffled, cropped, mirrored, normalised), before the step
and by the same thread or on the same GPU, so that the two add. ``parted_ms`` is a step under
observation, with its parts in the log, see :mod:`saa_lite.items.shiftaddaug_supp.step_cost`.

``memory_mb`` is the peak of the ten steps with the largest maps, beyond the set-up, where freed
memory goes back to the system at once: what the tensors need. So is what the largest of their
configurations needs by itself, in two readings: ``alone_memory_mb`` as a plain network of torch's
layers, ``pass_memory_mb`` as the largest of our augmented passes without the target's.
``training_memory_mb`` is the peak of all steps in their order, where holes between tensors count.

Times and the last of these are with the allocator of the process that runs the item;
``saa-lite run`` chooses it (:mod:`saa_lite.allocator`). It is one of the settings, so that numbers
with another one are never mixed with them.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from statistics import fmean, median

from tqdm.auto import tqdm

from saa_lite.allocator import in_force
from saa_lite.bench.rounds import spread
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context, Unit
from saa_lite.items.output import Table
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.items.shiftaddaug_supp.step_cost import (
    PARTS,
    Stepper,
    fetch_seconds,
    part_seconds,
    predicted_slowdowns,
    step_seconds,
)
from saa_lite.items.shiftaddaug_supp.step_memory import (
    ALONE,
    Part,
    cuda_memory_mb,
    largest,
    step_memory_mb,
)
from saa_lite.protocols import load_protocol
from saa_lite.published import PublishedNumber
from saa_lite.records import Record, record_table

ROWS = {
    "conv": "Base", "shift": "Shift", "adder": "Add", "shiftadd": "ShiftAddNet",
    "netaug": "NetAug", "aug-shift": "AugShift", "aug-adder": "AugAdd",
}  # fmt: skip
AUGMENTED = ("netaug", "aug-shift", "aug-adder")
TIMES = ("step_ms", "slowdown", "predicted_slowdown")
OBSERVED = ("loader_ms", "parted_ms")
OBSERVED_STEPS = 3
PROTOCOLS = {"cpu": "cost-cpu", "cuda": "cost-gpu"}
MEMORY = ("memory_mb", "alone_memory_mb", "pass_memory_mb", "training_memory_mb")
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
    "laptop": Settings(image_size=160, batch_size=32, steps=20, warm_up=3, seeds=5),
    "full": Settings(image_size=160, batch_size=32, steps=100, warm_up=20, seeds=5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Time all methods of a repeat in turns; memory, which does not scatter, once."""
    steps = list(range(settings.steps))
    for seed in range(settings.seeds):
        units = {method: _unit(context, settings, method, seed) for method in ROWS}
        if not all(unit.done(*TIMES) for unit in units.values()):
            yield from _time(units, settings, steps)
        for unit in units.values():
            if not unit.done(*OBSERVED):
                yield from _observe(unit, settings, steps)
    first = [_unit(context, settings, method, 0) for method in ROWS]
    if missing := [unit for unit in first if not unit.done("memory_mb")]:
        measure = _measured(settings, steps, context.device)
        shown = tqdm(missing, "memory", unit="method", disable=not context.progress)
        for unit in shown:
            yield from _memory(unit, measure)


def _unit(context: Context, settings: Settings, method: str, seed: int) -> Unit:
    shared = {k: v for k, v in asdict(settings).items() if k not in ("seeds", "network")}
    return context.unit(
        method=method,
        model=settings.network,
        dataset="random images",
        seed=seed,
        settings={
            **shared,
            **_protocol(settings, context.device),
            "device": context.device,
            "allocator": in_force(),
        },
    )


def _protocol(settings: Settings, device: str) -> dict[str, str]:
    """The label of the protocol that these settings are, if they are one's."""
    protocol = load_protocol(PROTOCOLS[device.partition(":")[0]])
    asked = {**protocol.settings, "seeds": len(protocol.seeds)}
    return {"protocol": protocol.label} if asked.items() <= asdict(settings).items() else {}


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


def _observe(unit: Unit, settings: Settings, steps: list[int]) -> Iterator[Record]:
    """The loader alone, and the parts of a few steps: neither is compared between methods."""
    stepper = Stepper(unit.method, training(settings), unit.context.device)
    stepper.step(steps[0])
    yield unit.record("loader_ms", 1000 * fmean(fetch_seconds(stepper, len(steps))), "ms")
    rows = [part_seconds(stepper, index) for index in steps[:OBSERVED_STEPS]]
    means = {part: 1000 * fmean(row[part] for row in rows) for part in PARTS}
    yield unit.record("parted_ms", sum(means.values()), "ms", log=[means])


Measure = Callable[[str, str], float]  # (method, metric) → MB


def _measured(settings: Settings, steps: list[int], device: str) -> Measure:
    """Peak memory of the steps; what the plain network takes is measured once for all methods."""
    recipe = training(settings)
    memory_steps = largest(recipe, steps, MEMORY_STEPS)

    def of(method: str, part: Part = "step", *, all_steps: bool = False) -> float:
        chosen = steps if all_steps else memory_steps
        if device.startswith("cuda"):
            return cuda_memory_mb(method, recipe, chosen, device, part=part)
        return step_memory_mb(method, recipe, chosen, part=part, hand_back=not all_steps)

    alone = cache(lambda: of(ALONE))

    def measure(method: str, metric: str) -> float:
        if metric == "alone_memory_mb":
            return alone()
        part: Part = "pass" if metric == "pass_memory_mb" else "step"
        return of(method, part, all_steps=metric == "training_memory_mb")

    return measure


def _memory(unit: Unit, measure: Measure) -> Iterator[Record]:
    """``memory_mb`` last, since it tells that the others are there."""
    for metric in reversed(MEMORY):
        alone = metric in ("alone_memory_mb", "pass_memory_mb")
        if unit.done(metric) or (alone and unit.method not in AUGMENTED):
            continue
        yield unit.record(metric, measure(unit.method, metric), "MB")


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """One row per method: the source's columns, ours on a processor and on a GPU, and ratios."""
    printed = {(n.row, n.column): n.value or 0.0 for n in published}
    on = {kind: _values(records, kind) for kind in PROTOCOLS}
    rows = [_row(method, on["cpu"], printed, _on_gpu(method, on["cuda"])) for method in ROWS]
    columns = (
        "method", "published it/s", "it/s", "it/s with loader", "step (ms)", "time / Base",
        "MACs / Base", "time / MACs", "published time / Base", "published memory (MB)",
        "memory (MB)", "memory / Base", "published memory / Base", "largest alone (MB)",
        "its pass (MB)", "in training (MB)", "in training / largest alone",
        "in training / its pass", *GPU_COLUMNS,
    )  # fmt: skip
    return Table(columns, tuple(rows))


GPU_COLUMNS = ("GPU it/s", "GPU time / Base", "GPU memory / Base")
Values = dict[tuple[str, str], list[float]]


def _values(records: list[Record], kind: str) -> Values:
    """Repeats by method and metric, of one configuration on a processor or on a GPU."""
    here = [r for r in records if r.settings.get("device", "cpu").partition(":")[0] == kind]
    found = record_table(one_configuration(here, "slowdown", tuple(ROWS)) if here else [])
    return dict(found.groupby(["method", "metric"])["value"].apply(list))


def _on_gpu(method: str, values: Values) -> tuple[str, ...]:
    if (method, "step_ms") not in values:
        return ("not run",) * len(GPU_COLUMNS)
    memory = [
        median(values[m, "memory_mb"]) for m in (method, "conv") if (m, "memory_mb") in values
    ]
    return (
        f"{1000 / median(values[method, 'step_ms']):.2f}",
        _quartiles(values[method, "slowdown"]),
        _ratio(*memory) if len(memory) == 2 else "—",
    )


def _row(
    method: str,
    values: Values,
    printed: dict[tuple[str, str], float],
    on_gpu: tuple[str, ...],
) -> tuple[str, ...]:
    name = ROWS[method]
    value = {key: median(repeats) for key, repeats in values.items()}
    used, alone, own_pass, trained = (value.get((method, metric)) for metric in MEMORY)
    step, loader = (value.get((method, metric)) for metric in ("step_ms", "loader_ms"))
    slowdown, predicted = (value.get((method, metric)) for metric in TIMES[1:])
    base_speed, base_memory = (printed["Base", column] for column in ("speed", "memory"))
    return (
        name,
        f"{printed[name, 'speed']:.2f}",
        f"{1000 / step:.2f}" if step else "—",
        f"{1000 / (step + loader):.2f}" if step and loader else "—",
        f"{step:.0f}" if step else "—",
        _quartiles(values[method, "slowdown"]) if slowdown else "—",
        f"{predicted:.2f}" if predicted else "—",
        _ratio(slowdown, predicted),
        f"{base_speed / printed[name, 'speed']:.2f}",
        f"{printed[name, 'memory']:.0f}",
        _megabytes(used),
        _ratio(used, value.get(("conv", "memory_mb"))),
        f"{printed[name, 'memory'] / base_memory:.2f}",
        _megabytes(alone),
        _megabytes(own_pass),
        _megabytes(trained),
        _ratio(trained, alone),
        _ratio(trained, own_pass),
        *on_gpu,
    )


def _megabytes(value: float | None) -> str:
    return f"{value:.0f}" if value else "—"


def _ratio(part: float | None, whole: float | None) -> str:
    return f"{part / whole:.2f}" if part and whole else "—"


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


ITEM = built(
    "shiftaddaug-supp/tab3", profiles=PROFILES, run=run, draw=draw, matches=matches, timed=True
)
