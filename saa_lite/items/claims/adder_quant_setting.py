"""ResNet-20 on CIFAR-100, the setting of Tables 3 and 5, and which records are judged.

A claim is judged on CIFAR-100 where enough seeds were run there; else on whatever says most about
it, see :func:`~saa_lite.items.select.best_group`. Notebooks judge every data set by itself.
"""

from collections.abc import Callable

from saa_lite.items.base import Samples
from saa_lite.items.select import ENOUGH
from saa_lite.records import Record

DATASET, MODEL = "cifar100", "resnet20"
IMAGES, EPOCHS = 50_000, 400
Judged = Callable[[list[Record]], Samples | None]


def printed(record: Record) -> bool:
    """Trained as in the source; a shorter training has other weights to lose."""
    return (
        (record.dataset, record.model) == (DATASET, MODEL)
        and record.epochs >= EPOCHS
        and record.settings.get("train_images") == IMAGES
    )


def on_cifar100_first(judged: Judged) -> Judged:
    """``judged`` on CIFAR-100 alone if that has enough seeds, else on all records."""

    def samples(records: list[Record]) -> Samples | None:
        found = judged([record for record in records if record.dataset == DATASET])
        if found is not None and len(found.values) >= ENOUGH:
            return found
        return judged(records)

    return samples
