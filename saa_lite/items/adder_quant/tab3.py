"""The outlier clamp: accuracy over α, the quantile of the inputs that the codes reach.

Each α quantises the same trained adder network from the same calibration images in three ways,
because Table 3 does not say how it quantised and its numbers contradict Table 5's:

============================= =================================================================
accuracy                       post-training, statistics of batch norm taken anew (released code)
accuracy_without_reestimation  post-training, batch norm as trained
accuracy_trained               quantisation-aware: so quantised, then trained for a few epochs
============================= =================================================================

The network itself has the same three numbers under the method ``adder``: with statistics from the
calibration images, as trained, and after as many more epochs in full precision. Its differences to
these are what quantisation costs; against the network as trained, every protocol with fresh
statistics or more epochs gains something that has nothing to do with quantisation.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from torch import Tensor, nn

from saa_lite.items.adder_quant.networks import Network, Training, trained_network
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.interval import signed_mean
from saa_lite.items.select import one_configuration
from saa_lite.items.table import Table
from saa_lite.items.training import train_unit
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize
from saa_lite.records import Record
from saa_lite.train import reestimate_batch_norm

FULL = "adder"  # the network before quantisation
PROTOCOLS = {
    "accuracy": "post-training",
    "accuracy_without_reestimation": "post-training, old batch norm",
    "accuracy_trained": "quantisation-aware",
}


@dataclass(frozen=True)
class Settings(Training):
    """The networks, the sweep, and the epochs of quantisation-aware training.

    ``tuned_epochs`` start at the rate ``tuned_lr``; our reading, the source has no number.
    """

    bits: int = 4
    groups: int = 4
    alphas: tuple[float, ...] = (0.9985, 0.999, 0.9995, 1.0)
    tuned_epochs: int = 2
    tuned_lr: float = 0.01


PROFILES = {
    "smoke": Settings(
        "digits",
        "lenet5_bn",
        100,
        50,
        4,
        1,
        batch_size=10,
        flip=False,
        alphas=(0.999, 1.0),
        tuned_epochs=1,
    ),
    "laptop": Settings(
        "digits", "resnet20", 1_297, 500, 15, 5, 16, batch_size=64, crop_padding=1, flip=False
    ),
    "full": Settings(
        "cifar100", "resnet20", 50_000, 10_000, 400, 5, batch_size=256, nesterov=False
    ),
}


def method_of(alpha: float) -> str:
    """As Table 3's rows are called in ``published``."""
    return f"alpha {alpha:.4f}" if alpha < 1 else "alpha 1.0"


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train once, then quantise the same network at every α."""
    methods: dict[str, float | None] = {FULL: None}
    methods |= {method_of(alpha): alpha for alpha in settings.alphas}
    for seed in range(settings.seeds):
        units = {name: _unit(context, settings, name, seed) for name in methods}
        left = [name for name, unit in units.items() if not unit.done(*PROTOCOLS)]
        if not left:
            continue
        network = trained_network(settings, context, "adder", seed)
        images = network.calibration(settings)
        for name in left:
            unit = _unit(context, settings, name, seed)  # its clock starts now
            yield from _measure(unit, settings, network, images, methods[name])


def _unit(context: Context, settings: Settings, method: str, seed: int) -> Unit:
    return context.unit(
        method=method,
        model=settings.model,
        dataset=settings.dataset,
        seed=seed,
        epochs=settings.epochs,
        settings=settings.shared(),
    )


def _measure(
    unit: Unit, settings: Settings, network: Network, images: list[Tensor], alpha: float | None
) -> Iterator[Record]:
    fresh, old = (_copy(network.model, images, settings, alpha, new) for new in (True, False))
    yield unit.record("accuracy", network.accuracy(fresh), "%")
    yield unit.record("accuracy_without_reestimation", network.accuracy(old), "%")
    tuned = replace(settings.config(unit.seed), epochs=settings.tuned_epochs, lr=settings.tuned_lr)
    train_unit(unit, fresh, network.train_set, network.test_set, tuned)
    yield unit.record("accuracy_trained", network.accuracy(fresh), "%")


def _copy(
    model: nn.Module, images: list[Tensor], settings: Settings, alpha: float | None, fresh: bool
) -> nn.Module:
    """Quantised with the clamp at α, or in full precision where α is None."""
    if alpha is not None:
        return quantize(
            model,
            images,
            bits=settings.bits,
            groups=settings.groups,
            alpha=alpha,
            reestimate=fresh,
        )
    copied = deepcopy(model)
    if fresh:
        reestimate_batch_norm(copied, images)
    return copied


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """A row per α: published accuracy, ours in three protocols, each minus full precision's."""
    methods = tuple(dict.fromkeys(number.row for number in published if not number.related))
    swept = [name for name in methods if any(record.method == name for record in records)]
    chosen = one_configuration(records, "accuracy_trained", (FULL, *swept))
    printed = {number.row: f"{number.printed} %" for number in published}
    header = ["α", "published (ResNet-20, CIFAR-100)"]
    header += [f"{name}: {what}" for name in PROTOCOLS.values() for what in ("ours", "cost")]
    rows = [("full precision", "67.59 %", *_cells(chosen, FULL))]
    rows += [(name.removeprefix("alpha "), printed[name], *_cells(chosen, name)) for name in swept]
    first, seeds = chosen[0], len({record.seed for record in chosen})
    budget = f"{first.model}, {first.dataset}, {first.epochs} epochs, {seeds} seeds"
    return Table((*header, "setting of ours"), tuple((*row, budget) for row in rows))


def _cells(records: Sequence[Record], method: str) -> Iterator[str]:
    """Mean accuracy and mean cost with its 95 % interval, per protocol."""
    for metric in PROTOCOLS:
        value = {(r.method, r.seed): r.value for r in records if r.metric == metric}
        seeds = sorted(seed for name, seed in value if name == method)
        yield f"{sum(value[method, seed] for seed in seeds) / len(seeds):.2f} %"
        costs = tuple(value[method, seed] - value[FULL, seed] for seed in seeds)
        yield "—" if method == FULL else signed_mean(costs)


def matches(number: PublishedNumber, record: Record) -> bool:
    """Beside a printed accuracy: post-training as released, on the published network and set."""
    same = (record.model, record.dataset) == ("resnet20", "cifar100")
    return same and (number.row, number.column) == (record.method, record.metric)


ITEM = built("adder-quant/tab3", profiles=PROFILES, run=run, draw=draw, matches=matches)
