"""In-place distillation: what the augmented network teaches its target (supplement, Table 1).

The table prints four accuracies below that of augmentation without distillation, and below that of
the shift network alone; it names neither the data set nor whether the teacher is detached. Where
it is, its two criteria have the same gradient and one seed gives one training, see
:mod:`saa_lite.train.distillation`: so beside the printed arms stand others that tell them apart,
and a teacher trained by itself, which tells whether distillation hurts or this teacher does. Two
seeds of cross-entropy are enough to show that it is the same.

The supplement explains why it hurts: the target learns the augmented network's mistakes. So beside
accuracies stands the share of the target's errors on test images on which the teacher gives the
very same wrong answer.

What is compared is fixed in :mod:`saa_lite.protocols`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from statistics import fmean, stdev

import torch
from torch import Tensor, nn

from saa_lite.augment import AugmentedNet
from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.items import augmented, campaign
from saa_lite.items.augmented import Settings, Trained
from saa_lite.items.base import Context, Unit
from saa_lite.items.contrasts import arm_of, protocol_of
from saa_lite.items.interval import t_interval
from saa_lite.items.output import Table
from saa_lite.items.recipes import DISTILLED, RECIPES
from saa_lite.items.registry import built
from saa_lite.items.select import ENOUGH, FAIR, fair
from saa_lite.items.targets import measure_anew
from saa_lite.protocols import Protocol, load_protocol
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import evaluation_mode
from saa_lite.viz.augmented import name_of

ITEM_ID = "shiftaddaug-supp/tab1"
PROTOCOL, LONGER = "distil-d", "distil-d-long"
PRINTED = {
    "aug-shift": "origin", "aug-shift-kl-0.3": "KLLoss 0.3", "aug-shift-kl-0.9": "KLLoss 0.9",
    "aug-shift-ce-0.3": "CELoss 0.3", "aug-shift-ce-0.9": "CELoss 0.9",
}  # fmt: skip
WITHOUT = {"aug-shift": "shift", "netaug": "conv", **DISTILLED}
"""Arms → the same without what they are about."""
TRIED = ("shift", "aug-shift", "aug-shift-kl-0.9", "shift-external-0.3")
COLUMNS = (
    "method", "epochs", "published (%)", "ours (%), ± standard deviation", "seeds", "against",
    "difference (points), 95 % interval", "the teacher (%)", "errors shared with it (%)",
)  # fmt: skip
NOTHING = "—"


def run(settings: campaign.Settings, context: Context) -> Iterator[Record]:
    """The protocols' trainings; see :func:`saa_lite.items.campaign.run`."""
    yield from campaign.run(
        settings, context, tried=TRIED, finish=partial(augmented.finish, further=likeness)
    )


def likeness(unit: Unit, settings: Settings, run: Trained) -> Iterator[Record]:
    """Accuracy of each teacher that there is or might be, and the errors that its student shares.

    ``wide_…`` is of the largest configuration around the target, whether it has taught it or not;
    ``teacher_…`` of the network trained before it.
    """
    others: dict[str, nn.Module] = {}
    if isinstance(run.model, AugmentedNet):
        wide = deepcopy(run.model)
        wide.activate(wide.largest)
        measure_anew(wide, run.train_set, run.config, settings.batch_norm_images)
        others["wide"] = wide
    if run.teacher is not None:
        others["teacher"] = run.teacher
    labels = run.test_set.labels
    student = answers(run.model, run.train_set, run.test_set)
    for name, model in others.items():
        found = answers(model, run.train_set, run.test_set)
        right = 100 * (found == labels).double().mean().item()
        yield unit.record(f"{name}_accuracy", right, "%")
        if (shared := shared_errors(student, found, labels)) is not None:
            yield unit.record(f"{name}_shared_errors", shared, "%")


def shared_errors(student: Tensor, teacher: Tensor, labels: Tensor) -> float | None:
    """Of the images [N] that the student gets wrong, those (in %) with the teacher's answer.

    None where the student gets nothing wrong.
    """
    wrong = student != labels
    if not wrong.any():
        return None
    return 100 * (student == teacher)[wrong].double().mean().item()


@torch.no_grad()
def answers(model: nn.Module, train_set: ImageSet, test_set: ImageSet) -> Tensor:
    """Class of each test image, int64 [N], as a network in evaluation mode says."""
    mean, std = normalization(train_set)
    device = next(model.parameters()).device
    batches = Batches(test_set, 500, mean=mean, std=std, device=device)
    with evaluation_mode(model):
        return torch.cat([model(images).argmax(1).cpu() for _, images, _ in batches.epoch(0)])


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """One row per method and protocol: published, ours, against none of it, and the teacher.

    A protocol's difference is shown when all its seeds are there, as on the scorecard.
    """
    printed = {number.row: number.printed for number in published if not number.related}
    rows: list[tuple[str, ...]] = []
    for name in (PROTOCOL, LONGER):
        fixed = [record for record in records if protocol_of(record) == name]
        if fixed:
            rows += _rows(fixed, printed, load_protocol(name))
    return Table(COLUMNS, tuple(rows or _rows(records, printed, None)))


def _rows(
    records: list[Record], printed: Mapping[str, str], protocol: Protocol | None
) -> Iterator[tuple[str, ...]]:
    """Rows of the methods that a protocol trains; without one, of those that have records."""
    chosen = [record for record in records if arm_of(record) == record.method]  # none is longer
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in [*fair(chosen), *(r for r in chosen if r.metric not in ("accuracy", FAIR))]:
        values[record.method][record.metric][record.seed] = record.value
    epochs = str(chosen[0].epochs) if chosen else NOTHING
    for method in dict.fromkeys(("conv", "netaug", "shift", *PRINTED, *DISTILLED)):
        if values[method][FAIR] or (method in PRINTED and not protocol):
            asked = len(protocol.seeds_of(method)) if protocol else 0
            cell = printed.get(PRINTED.get(method, ""), NOTHING)
            yield name_of(method), epochs, cell, *_cells(method, values, asked)


def _cells(
    method: str, values: Mapping[str, Mapping[str, Mapping[int, float]]], asked: int
) -> tuple[str, ...]:
    """What was measured of a method; ``asked``: how many seeds its difference waits for."""
    own, without = values[method][FAIR], WITHOUT.get(method, "")
    taught = "teacher" if RECIPES[method].teacher else "wide"
    teacher, shared = (
        values[method][f"{taught}_{name}"].values() for name in ("accuracy", "shared_errors")
    )
    return (
        _mean(own.values()),
        str(len(own)) if own else NOTHING,
        name_of(without) if without else NOTHING,
        _difference(own, values[without][FAIR], asked),
        _mean(teacher),
        _mean(shared),
    )


def _difference(first: Mapping[int, float], second: Mapping[int, float], asked: int) -> str:
    """Paired over seeds; no interval below three, nothing below ``asked``."""
    found = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if not found:
        return NOTHING
    if len(found) < asked:
        return f"{len(found)} of {asked} seeds so far"
    if len(found) < ENOUGH:
        return f"{fmean(found):+.2f}"
    low, high = t_interval(tuple(found))
    return f"{fmean(found):+.2f} [{low:+.2f}, {high:+.2f}]"


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    if not found:
        return NOTHING
    return f"{fmean(found):.2f}" + (f" ± {stdev(found):.2f}" if len(found) > 1 else "")


ITEM = built(ITEM_ID, profiles=campaign.profiles_of(ITEM_ID), run=run, draw=draw)
