"""Accuracies that may be compared between a target trained alone and one trained inside.

The statistics of batch norm that a network keeps while it trains lag behind its weights. Alone, a
target is tested with those; inside an augmented model they are measured anew before every test, as
in NetAug's code, because two passes share them. In a short training that alone can decide who
wins: a ResNet-8 of adder layers that classified 68 % of its training batches was right on 10 % of
the test images with the statistics it had kept. So what is compared is the accuracy with fresh
statistics on both sides: ``accuracy_reestimated`` of a target trained alone, ``accuracy`` of one
trained inside. :func:`setback` says how far such an accuracy fell back during a training.
"""

from collections.abc import Iterable
from dataclasses import replace

from saa_lite.items.recipes import RECIPES
from saa_lite.records import Record

FAIR = "accuracy_reestimated"


def lags(method: str) -> bool:
    """Whether training tests the method's target with the statistics it kept while it trained."""
    recipe = RECIPES[method]
    return recipe.augmentation is None or recipe.training.get("alpha", 1.0) == 0


def fair(records: Iterable[Record]) -> list[Record]:
    """Records of :data:`FAIR` for every method: measured, or the accuracy where it is the same.

    Runs alone that have not been measured so are left out. Settings that never measure anew
    (``batch_norm_images=0``) compare kept statistics on the augmented side.

    The log of the training comes along, for drawings.
    """
    known = [record for record in records if record.method in RECIPES]
    logs = {_run(r): r.log for r in known if r.metric == "accuracy"}
    found = [replace(r, log=r.log or logs.get(_run(r))) for r in known if r.metric == FAIR]
    inside = (r for r in known if r.metric == "accuracy" and not lags(r.method))
    return [*found, *(replace(r, metric=FAIR) for r in inside)]


def _run(record: Record) -> tuple[str, str, str, int, str]:
    return record.dataset, record.model, record.method, record.seed, record.config_hash


def setback(record: Record) -> float:
    """Largest fall of test accuracy from one epoch to a later one, in points (ours).

    A network trained alone is tested with the statistics of batch norm that it kept, so a fall may
    be of the statistics alone; and a network that never rises cannot fall.

    Args:
        record: of metric "accuracy", with a log per epoch.
    """
    highest, largest = 0.0, 0.0
    for row in record.log or []:
        value = 100 * float(row["test_accuracy"] or 0)
        highest = max(highest, value)
        largest = max(largest, highest - value)
    return largest
