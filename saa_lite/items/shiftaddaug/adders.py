"""What moves the accuracy of an adder network: its step, its start, remedies, or learning at all?

AdderNet scales the gradient of each adder layer to the root mean square η, 0.2 in its code, for
weights that start as N(0, 1). Learning rate, η and the number of updates decide how far a weight
travels; in a short training that is a fraction of where it started. Before an arm with adders is
compared with anything, each start gets the step it does best with; and since most of a *calm*
network's adder weights never reach their inputs, controls whose adder weights never learn tell how
much of its accuracy they earned. What is compared is fixed in :mod:`saa_lite.protocols`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items import campaign
from saa_lite.items.base import Context
from saa_lite.items.contrasts import protocol_of
from saa_lite.items.interval import t_interval
from saa_lite.items.registry import built
from saa_lite.items.select import ENOUGH, FAIR, fair, of_seeds
from saa_lite.items.training import Settings
from saa_lite.protocols import load_protocol
from saa_lite.published import PublishedNumber
from saa_lite.records import Record, record_table
from saa_lite.viz.augmented import name_of
from saa_lite.viz.starts import Sweep, steps_figure
from saa_lite.viz.style import counted

ITEM_ID = "shiftaddaug/adders"
OWN = Settings.eta  # AdderNet's step
STEPS = "steps-digits"  # the protocol that chooses a step for every arm
GROUPS = {
    "trained alone": ("adder", "adder-calm", "adder-annealed", "adder-normalised"),
    "inside an augmented network": (
        "aug-adder", "aug-adder-raw", "aug-adder-raw-pass", "aug-adder-calm-raw",
    ),
}  # fmt: skip
TRAVELLED = "travel-"  # how the names of the protocols begin whose records the picture shows
SWEPT = ("adder", "adder-calm")
CONTROLS = ("conv", "signs-frozen", "adder-calm-frozen", "adder-frozen")


def run(settings: campaign.Settings, context: Context) -> Iterator[Record]:
    """The protocols' trainings; see :func:`saa_lite.items.campaign.run`."""
    yield from campaign.run(settings, context, tried=("adder", "aug-adder-raw"))


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Accuracy against η from both starts, one panel per length of training."""
    known = [r for r in fair(records) if r.metric == FAIR]
    chosen = [r for r in known if protocol_of(r).startswith(TRAVELLED)] or known
    if not chosen:
        raise UsageError(f"{ITEM_ID} cannot be drawn: no training has ended with an accuracy")
    first = chosen[0]
    sweeps, levels = {}, {}
    for epochs in sorted({record.epochs for record in chosen}):
        found = [record for record in chosen if record.epochs == epochs]
        heading = f"{epochs} epochs, {epochs * updates_per_epoch(found[0])} updates"
        sweeps[heading] = sweeps_of(found, SWEPT)
        levels[heading] = means_of(found, CONTROLS)
    title = f"{first.model} of {first.settings['net_width']} channels on {first.dataset}"
    tested = "test images" if first.settings["test_images"] else "validation images"
    part = missing_seeds([r for r in chosen if r.method in (*SWEPT, *CONTROLS)]) or "seeds"
    return steps_figure(sweeps, f"{title}: mean and 95 % interval over {part}", tested, levels)


def draw_arms(records: Sequence[Record]) -> Figure:
    """Accuracy against η of every arm that ``steps-digits`` sweeps, alone and augmented.

    Raises:
        UsageError: it has no record yet.
    """
    chosen = [r for r in fair(records) if protocol_of(r) == STEPS]
    if not chosen:
        raise UsageError(f"{ITEM_ID}: no training of {STEPS} has ended with an accuracy")
    first = chosen[0]
    title = f"{first.model} of {first.settings['net_width']} channels on {first.dataset}"
    sweeps = {heading: sweeps_of(chosen, arms) for heading, arms in GROUPS.items()}
    heading = ", ".join(filter(None, (title, f"{first.epochs} epochs", missing_seeds(chosen))))
    return steps_figure(sweeps, heading, "validation images")


def best_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """Per arm that ``steps-digits`` sweeps: the best η, AdderNet's, and the worst so far."""
    chosen = [r for r in fair(records) if protocol_of(r) == STEPS]
    grid, rows = load_protocol(STEPS).grid["eta"], []
    for sweep in sweeps_of(chosen, [arm for arms in GROUPS.values() for arm in arms]):
        means = mean_per_step(sweep)
        best, worst = (choose(means, key=lambda eta: means[eta]) for choose in (max, min))
        rows.append(
            {
                "arm": name_of(sweep.arm),
                "values of η": f"{len(sweep.etas)} of {len(grid)}",
                "seeds of each": _seeds([r for r in chosen if r.method == sweep.arm]),
                "best η": f"{means[best]:.1f} % (η = {best:g})",
                f"η = {OWN:g}": f"{means[OWN]:.1f} %" if OWN in means else "",
                "worst η": f"{means[worst]:.1f} % (η = {worst:g})",
            }
        )
    return rows


def length_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """Per length of training, mean accuracies of both starts at their best η and of controls."""
    chosen = [r for r in fair(records) if protocol_of(r).startswith(TRAVELLED)]
    rows = []
    for epochs in sorted({record.epochs for record in chosen}):
        found = [record for record in chosen if record.epochs == epochs]
        shown = [r for r in found if r.method in (*SWEPT, *CONTROLS)]
        row = {"trained for": counted(epochs, "epoch"), "seeds": _seeds(shown)}
        for arm in SWEPT:
            means = {k: v for s in sweeps_of(found, (arm,)) for k, v in mean_per_step(s).items()}
            best = max(means, key=lambda eta: means[eta], default=0.0)
            row[f"{name_of(arm)}, η = {OWN:g}"] = f"{means[OWN]:.1f} %" if OWN in means else ""
            row[f"{name_of(arm)}, best η"] = f"{means[best]:.1f} % (η = {best:g})" if means else ""
        levels = means_of(found, CONTROLS)
        row |= {name_of(arm): f"{levels[arm]:.1f} %" if arm in levels else "" for arm in CONTROLS}
        rows.append(row)
    return rows


def worth_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """Per length of training, what η, start, operator and learning are worth, in points.

    Paired over seeds. *Best* is the η with the highest mean among the very same records, so
    what a best η is worth is a little overstated.
    """
    chosen = [r for r in fair(records) if protocol_of(r).startswith(TRAVELLED)]
    rows = []
    for epochs in sorted({record.epochs for record in chosen}):
        found = [record for record in chosen if record.epochs == epochs]
        steps = record_table(found).groupby(["method", [eta_of(r) for r in found]])
        runs = {step: dict(zip(g["seed"], g["value"], strict=True)) for step, g in steps}
        best = {
            arm: runs[arm, max(means, key=lambda eta: means[eta])]
            for arm in SWEPT
            for means in [{k: fmean(v.values()) for (name, k), v in runs.items() if name == arm}]
            if means
        }
        add, calm = (best.get(arm, {}) for arm in SWEPT)
        conv, frozen = (runs.get((arm, OWN), {}) for arm in ("conv", "adder-calm-frozen"))
        asked = seeds_asked(found)
        rows.append(
            {
                "trained for": counted(epochs, "epoch"),
                f"η: best − {OWN:g}": _paired(add, runs.get(("adder", OWN), {}), asked),
                "start: calm − N(0, 1), both at best": _paired(calm, add, asked),
                "operator: convolution − N(0, 1) at best": _paired(conv, add, asked),
                "learning: calm at best − its frozen twin": _paired(calm, frozen, asked),
            }
        )
    return rows


def missing_seeds(records: Sequence[Record]) -> str:
    """How many seeds are behind the means of each arm, step and length, as long as some lack."""
    counts = Counter((r.method, eta_of(r), r.epochs) for r in records)
    return of_seeds(counts.values(), seeds_asked(records))


def seeds_asked(records: Sequence[Record]) -> int:
    """How many seeds the protocols of the records ask for; 0 without a protocol."""
    names = {name for record in records if (name := protocol_of(record))}
    return max((len(load_protocol(name).seeds) for name in names), default=0)


def _seeds(records: Sequence[Record]) -> str:
    return missing_seeds(records) or str(seeds_asked(records))


def _paired(first: Mapping[int, float], second: Mapping[int, float], asked: int) -> str:
    """Mean difference over common seeds with its interval; nothing below three."""
    values = tuple(first[seed] - second[seed] for seed in sorted(first.keys() & second.keys()))
    if len(values) < ENOUGH:
        return ""
    low, high = t_interval(values)
    part = of_seeds([len(values)], asked)
    return f"{fmean(values):+.1f} [{low:+.1f}, {high:+.1f}]" + (f", {part}" if part else "")


def mean_per_step(sweep: Sweep) -> dict[float, float]:
    """η → mean accuracy over seeds, in %."""
    return dict(zip(sweep.etas, map(fmean, sweep.values), strict=True))


def updates_per_epoch(record: Record) -> int:
    """Batches of the record's training images; the last, smaller one counts, too.

    (The text of ``travel-digits`` forgets it: there are 32, not 31.)
    """
    return math.ceil(record.settings["train_images"] / record.settings["batch_size"])


def means_of(records: Sequence[Record], arms: Sequence[str]) -> dict[str, float]:
    """Mean accuracy over seeds, in %, of the arms that have records."""
    values = {arm: [r.value for r in records if r.method == arm] for arm in arms}
    return {arm: fmean(found) for arm, found in values.items() if found}


def sweeps_of(records: Sequence[Record], arms: Sequence[str]) -> list[Sweep]:
    """One per arm that has records, its seeds pooled at each step."""
    known = [record for record in records if record.metric == FAIR]
    steps = record_table(known).groupby(["method", [eta_of(r) for r in known]])
    found = steps["value"].apply(tuple)
    sweeps = []
    for arm in (arm for arm in arms if arm in found.index):
        values = found[arm]
        intervals = tuple(t_interval(v) if len(v) > 1 else None for v in values)
        sweeps.append(Sweep(arm, tuple(values.index), tuple(values), intervals))
    return sweeps


def eta_of(record: Record) -> float:
    """The step that the record's training took."""
    return float(record.settings.get("eta", OWN))


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
