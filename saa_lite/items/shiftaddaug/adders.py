"""What moves the accuracy of an adder network: its step, its start, remedies, or learning at all?

AdderNet scales the gradient of each adder layer to the root mean square η, 0.2 in its code, for
weights that start as N(0, 1). Learning rate, η and the number of updates decide how far a weight
travels; in a short training that is a fraction of where it started. Before an arm with adders is
compared with anything, each start gets the step it does best with; and since most of a *calm*
network's adder weights never reach their inputs, controls whose adder weights never learn tell how
much of its accuracy they earned. What is compared is fixed in :mod:`saa_lite.protocols`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from saa_lite.errors import UsageError
from saa_lite.items import campaign
from saa_lite.items.base import Context, built
from saa_lite.items.fairness import FAIR, fair
from saa_lite.items.interval import t_interval
from saa_lite.items.settings import LATER
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.steps import Sweep, steps_figure

ITEM_ID = "shiftaddaug/adders"
SWEPT = "steps-"  # how the names of its protocols with a grid of steps begin
GROUPS = {
    "trained alone": ("adder", "adder-calm", "adder-annealed", "adder-normalised"),
    "inside an augmented network": (
        "aug-adder", "aug-adder-raw", "aug-adder-raw-pass", "aug-adder-calm-raw",
    ),
}  # fmt: skip


def run(settings: campaign.Settings, context: Context) -> Iterator[Record]:
    """The protocols' trainings; see :func:`saa_lite.items.campaign.run`."""
    yield from campaign.run(settings, context, tried=("adder", "aug-adder-raw"))


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Accuracy against η for every start and remedy, of the first protocol that sweeps it."""
    swept = sorted({name for r in records if (name := protocol_of(r)).startswith(SWEPT)})
    chosen = [r for r in fair(records) if protocol_of(r) == swept[0]] if swept else fair(records)
    if not chosen:
        raise UsageError(f"{ITEM_ID} cannot be drawn: no training has ended with an accuracy")
    first = chosen[0]
    title = f"{first.model} of {first.settings.get('net_width', 16)} channels on {first.dataset}"
    tested = "test images" if first.settings["test_images"] else "validation images"
    groups = {name: sweeps_of(chosen, arms) for name, arms in GROUPS.items()}
    return steps_figure(groups, f"{title}, {first.epochs} epochs", tested)


def sweeps_of(records: Sequence[Record], arms: Sequence[str]) -> list[Sweep]:
    """One per arm that has records, its seeds pooled at each step."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.metric == FAIR:
            found[record.method][eta_of(record)].append(record.value)
    sweeps = []
    for arm in (arm for arm in arms if arm in found):
        etas = tuple(sorted(found[arm]))
        values = tuple(tuple(found[arm][eta]) for eta in etas)
        intervals = tuple(t_interval(v) if len(v) > 1 else None for v in values)
        sweeps.append(Sweep(arm, etas, values, intervals))
    return sweeps


def eta_of(record: Record) -> float:
    """The step that the record's training took."""
    return float(record.settings.get("eta", LATER["eta"]))


def protocol_of(record: Record) -> str:
    """Name of the record's protocol, or ""."""
    return str(record.settings.get("protocol", "")).partition(" ")[0]


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
