"""Claims on what a training step costs (supplement, Table 3).

Metrics: ``slowdown`` of a step over the multiplicative network's in the same repeat,
``predicted_slowdown``, the same of the multiply-accumulates of the sampled configurations. Memory:
``memory_mb`` at the peak of the largest steps where freed memory goes back at once, and what their
largest configuration needs in the same sense, as a plain network (``alone_memory_mb``) and as our
augmented pass by itself (``pass_memory_mb``); ``training_memory_mb``, the peak as training runs.

The table's own ratios belong to a GPU that these small networks leave half idle, so only their
order can be asked of a processor; beside them stand the bounds that we set ourselves.
"""

from collections.abc import Callable

from saa_lite.items.base import Claim, Exact, Samples
from saa_lite.items.select import best_group, budget, paired
from saa_lite.published import find_published
from saa_lite.records import Record

ITEM = "shiftaddaug-supp/tab3"
SETTING = "MobileNetV2-w0.35, 160², batch 32, one GPU"
ARITHMETIC = {
    "netaug": ("NetAug", 1.15),
    "aug-shift": ("AugShift", 1.25),
    "aug-adder": ("AugAdd", 1.5),
}
MEMORY = 1.1  # times what the largest sampled configuration takes by itself
STEPS = 100  # at least, of the training whose memory is judged


def _printed(row: str) -> float:
    """Time of a step over Base's, as the table prints it."""
    base, other = (find_published(ITEM, name, "speed").value or 0.0 for name in ("Base", row))
    return base / other


def _dearer(name: str, first: tuple[str, str], second: tuple[str, str]) -> Claim:
    """Both as (method, row)."""

    def samples(records: list[Record]) -> Samples | None:
        return paired(records, "slowdown", (first[0], second[0]), "above")

    return Claim(
        f"{ITEM}:{name}",
        f"A training step of {first[1]} takes longer than one of {second[1]}, in steps of Base",
        ITEM,
        f"{_printed(first[1]):.2f} − {_printed(second[1]):.2f} times Base",
        SETTING,
        samples,
    )


def _of_arithmetic(method: str, bound: float) -> Callable[[list[Record]], Samples | None]:
    """Slowdown over what the multiply-accumulates predict, per repeat."""

    def samples(records: list[Record]) -> Samples | None:
        group = best_group(records, "slowdown", (method,))
        if group is None:
            return None
        measured = group.by_method[method]
        predicted = {
            r.seed: r.value
            for r in records
            if r.metric == "predicted_slowdown"
            and (r.method, r.config_hash) == (method, group.records[0].config_hash)
        }
        seeds = group.seeds((method,))
        values = tuple(measured[seed].value / predicted[seed] for seed in seeds)
        return Samples(values, "times", "below", bound, False, budget(group.records))

    return samples


def _bounded(method: str) -> Claim:
    name, bound = ARITHMETIC[method]
    return Claim(
        f"{ITEM}:arithmetic-{method}",
        f"Bound of ours: {name}'s step costs at most {bound} times what the multiply-accumulates "
        "of its sampled configurations predict",
        ITEM,
        "no such number printed",
        "a CPU",
        _of_arithmetic(method, bound),
    )


USES = {
    "training_memory_mb": "as training runs",
    "memory_mb": "the largest steps by themselves",
}


def _lean(need: str) -> Callable[[list[Record]], Exact | None]:
    """Peak of whole steps over what the largest configuration needs; the worst use decides.

    There is no verdict without a number for training as it runs (the other is the easier one), of
    every method in one run, over :data:`STEPS` steps: in fewer the memory has fewer holes.
    """

    def exact(records: list[Record]) -> Exact | None:
        runs: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
        for r in records:
            if r.settings.get("steps", 0) >= STEPS:
                runs.setdefault((r.config_hash, r.device), {})[r.method, r.metric] = r.value
        wanted = {(method, metric) for method in ARITHMETIC for metric in (*USES, need)}
        ratios = [
            (found[method, use] / found[method, need], method, use)
            for found in runs.values()
            if found.keys() >= wanted
            for method in ARITHMETIC
            for use in USES
        ]
        if not ratios:
            return None
        ratio, method, use = max(ratios)
        text = f"at most {ratio:.2f} times ({ARITHMETIC[method][0]}, {USES[use]})"
        return Exact(ratio <= MEMORY, text, f"at least {STEPS} steps", everywhere=False)

    return exact


def _little(name: str, need: str, words: str) -> Claim:
    return Claim(
        f"{ITEM}:{name}",
        f"Bound of ours: augmented training takes at most {MEMORY} times the memory that its "
        f"largest sampled configuration needs {words}",
        ITEM,
        "no such number printed",
        "a CPU",
        _lean(need),
    )


ADD, NETAUG = ("adder", "Add"), ("netaug", "NetAug")
AUG_SHIFT, AUG_ADD = ("aug-shift", "AugShift"), ("aug-adder", "AugAdd")
COST = (
    _dearer("hybrid", AUG_SHIFT, NETAUG),
    _dearer("hybrid-add", AUG_ADD, AUG_SHIFT),
    _dearer("augmented", NETAUG, ADD),
    _dearer("layers", ("shiftadd", "ShiftAddNet"), AUG_ADD),
    *(_bounded(method) for method in ARITHMETIC),
    _little("memory", "alone_memory_mb", "as a plain network of torch's layers"),
    _little("memory-pass", "pass_memory_mb", "in our augmented passes alone, without the target's"),
)
