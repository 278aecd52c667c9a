"""What Tables 4 and 5 print: how much accuracy quantising costs, in points.

A change is the test accuracy of the quantised network minus that of the same network in full
precision; a loss is negative, as printed. Where batch norm takes its statistics anew after
quantising, the full-precision network's are taken anew from the same images, too: our reading,
so that a change is quantisation's alone.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy

from torch import Tensor

from saa_lite.items.adder_quant.networks import Network, Training
from saa_lite.items.base import Context, Unit
from saa_lite.items.interval import signed_mean
from saa_lite.records import Record
from saa_lite.train import reestimate_batch_norm


def change_metric(bits: int) -> str:
    """Name of the change at so many bits, of weights and activations."""
    return f"change_{bits}_bits"


def unit_of(context: Context, settings: Training, method: str, seed: int) -> Unit:
    """The unit of one row and seed."""
    return context.unit(
        method=method,
        model=settings.model,
        dataset=settings.dataset,
        seed=seed,
        epochs=settings.epochs,
        settings=settings.shared(),
    )


def fresh_accuracy(network: Network, images: Sequence[Tensor]) -> float:
    """Test accuracy in % of the full-precision network with statistics from ``images``."""
    fresh = deepcopy(network.model)
    reestimate_batch_norm(fresh, images)
    return network.accuracy(network.logits(fresh))


def full_precision(unit: Unit, network: Network, images: Sequence[Tensor]) -> Iterator[Record]:
    """As trained, and with statistics of batch norm from the calibration images."""
    yield unit.record("accuracy", network.accuracy(network.logits()), "%")
    yield unit.record("accuracy_reestimated", fresh_accuracy(network, images), "%")


def values_of(records: Sequence[Record], method: str, metric: str) -> tuple[float, ...]:
    """One number per seed."""
    return tuple(r.value for r in records if (r.method, r.metric) == (method, metric))


def points(records: Sequence[Record], method: str, bits: int) -> str:
    """A cell of the tables: mean change with its interval, in points."""
    return f"{signed_mean(values_of(records, method, change_metric(bits)))} points"


def setting_of(records: Sequence[Record]) -> str:
    """What was trained, on what, for how long."""
    first, seeds = records[0], len({record.seed for record in records})
    return f"{first.model}, {first.dataset}, {first.epochs} epochs, {seeds} seeds"
