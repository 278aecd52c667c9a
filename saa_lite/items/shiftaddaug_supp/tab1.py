"""In-place distillation: what the augmented network teaches its target (supplement, Table 1).

The table prints four accuracies below that of augmentation without distillation, and below that of
the shift network alone; it names neither the data set nor whether the teacher is detached. Where
it is, its two criteria have the same gradient and one seed gives one training, see
:mod:`saa_lite.train.distillation`: so beside the printed arms stand others that tell them apart,
and a teacher trained by itself, which tells whether distillation hurts or this teacher does. Two
seeds of cross-entropy are enough to show that it is the same.

What is compared is fixed in :mod:`saa_lite.protocols`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean, stdev

from saa_lite.items import campaign
from saa_lite.items.base import Context, built
from saa_lite.items.contrasts import arm_of
from saa_lite.items.fairness import FAIR, fair
from saa_lite.items.interval import t_interval
from saa_lite.items.output import Table
from saa_lite.items.recipes import DISTILLED
from saa_lite.items.select import ENOUGH
from saa_lite.items.teachers import likeness
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.augmented import name_of

ITEM_ID = "shiftaddaug-supp/tab1"
PROTOCOL = "distil-d"
PRINTED = {
    "aug-shift": "origin", "aug-shift-kl-0.3": "KLLoss 0.3", "aug-shift-kl-0.9": "KLLoss 0.9",
    "aug-shift-ce-0.3": "CELoss 0.3", "aug-shift-ce-0.9": "CELoss 0.9",
}  # fmt: skip
WITHOUT = {"aug-shift": "shift", "netaug": "conv", **DISTILLED}
"""Arms → the same without what they are about."""
TRIED = ("shift", "aug-shift", "aug-shift-kl-0.9", "shift-external-0.3")
COLUMNS = (
    "method", "published (%)", "ours (%), ± standard deviation", "seeds", "against",
    "difference (points), 95 % interval", "the teacher (%)", "errors shared with it (%)",
)  # fmt: skip
NOTHING = "—"


def run(settings: campaign.Settings, context: Context) -> Iterator[Record]:
    """The protocols' trainings; see :func:`saa_lite.items.campaign.run`."""
    yield from campaign.run(settings, context, tried=TRIED, further=likeness)


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """One row per method: published, ours, against the same without distillation, its teacher."""
    printed = {number.row: number.printed for number in published if not number.related}
    chosen = [record for record in records if _protocol(record) == PROTOCOL] or records
    chosen = [record for record in chosen if arm_of(record) == record.method]  # none is longer
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in [*fair(chosen), *(r for r in chosen if r.metric not in ("accuracy", FAIR))]:
        values[record.method][record.metric][record.seed] = record.value
    methods = dict.fromkeys(("conv", "netaug", "shift", *PRINTED, *DISTILLED))
    rows = [
        _row(method, printed.get(PRINTED.get(method, ""), NOTHING), values)
        for method in methods
        if method in PRINTED or values[method][FAIR]
    ]
    return Table(COLUMNS, tuple(rows))


def _row(
    method: str, printed: str, values: Mapping[str, Mapping[str, Mapping[int, float]]]
) -> tuple[str, ...]:
    own, without = values[method][FAIR], WITHOUT.get(method, "")
    taught = "teacher" if "external" in method else "wide"
    teacher, shared = (
        values[method][f"{taught}_{name}"].values() for name in ("accuracy", "shared_errors")
    )
    return (
        name_of(method),
        printed,
        _mean(own.values()),
        str(len(own)) if own else NOTHING,
        name_of(without) if without else NOTHING,
        _difference(own, values[without][FAIR]),
        _mean(teacher),
        _mean(shared),
    )


def _difference(first: Mapping[int, float], second: Mapping[int, float]) -> str:
    """Paired over seeds; no interval below three."""
    found = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if not found:
        return NOTHING
    if len(found) < ENOUGH:
        return f"{fmean(found):+.2f}"
    low, high = t_interval(tuple(found))
    return f"{fmean(found):+.2f} [{low:+.2f}, {high:+.2f}]"


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    if not found:
        return NOTHING
    return f"{fmean(found):.2f}" + (f" ± {stdev(found):.2f}" if len(found) > 1 else "")


def _protocol(record: Record) -> str:
    return str(record.settings.get("protocol", "")).partition(" ")[0]


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
